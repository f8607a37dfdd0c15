//! The guest's first process: sets the guest up as the host asks, starts the SSH server, reaps, and switches off.
//!
//! Whatever fails ends in one line on the console and a machine that is off, so that the host never waits for nothing.

use std::io::{self, Write};
use std::panic;
use std::process::{self, ExitCode};

use racer::error::chain;
use racer::guest::console::Console;
use racer::guest::{SetupError, net, seed, ssh, supervise, swap, system};
use racer::sys::power;

fn main() -> ExitCode {
    if process::id() != 1 {
        // Standard error may be closed; the exit code says it as well.
        let _ = writeln!(io::stderr(), "error: twinboot-init only works as process 1, the first one of a guest");
        return ExitCode::from(2);
    }
    // A panic must end process 1, not just a thread: the kernel then panics, and the host sees that.
    panic::set_hook(Box::new(|panic| {
        Console::open().fatal(&panic.to_string());
        process::abort();
    }));
    let mut console = Console::open();
    console.stage("start");
    if let Err(error) = live(&mut console) {
        console.fatal(&chain(&error));
    }
    power::off();
    // Only a kernel that refuses to switch off gets here.
    console.fatal("the kernel refused to power off");
    process::abort();
}

/// Sets the guest up and keeps it going until it is told to switch off.
fn live(console: &mut Console) -> Result<(), SetupError> {
    system::mount_all()?;
    system::show_leaks()?;
    // devtmpfs now covers the initramfs's own console node.
    *console = Console::open();
    console.stage("mounts");
    let config = system::load_config()?;
    seed::mix(config.seed)?;
    system::write_sysctls(&config.sysctl)?;
    net::check()?;
    let signals = supervise::take_signals()?;
    // Takes as long as everything else together, and there may be a CPU to spare for it.
    let mut server = ssh::start(signals)?;
    if let Some(device) = &config.swap {
        swap::enable(device)?;
    }
    console.stage("swap");
    ssh::await_listening(&mut server)?;
    console.stage("ssh");
    if config.pause {
        net::greet_gateway();
        // A clone has in common with its siblings all that the kernel's generator knew so far.
        seed::mix(console.pause()?)?;
        console.stage("awake");
    }
    console.ready();
    ssh::rehearse(signals);
    supervise::until_told(&signals, &server)
}
