//! A QEMU that boots nothing: it reads QEMU's arguments, connects to the monitor and console sockets, speaks QMP, plays a
//! guest's boot on the console and misbehaves on demand. For hermetic tests of everything that needs a machine.
//!
//! Wishes are words of the form `fake.<key>=<value>` on the kernel's command line (`-append`) or in the kernel file, where a
//! test can put them although it does not choose the command line. `+` stands for a space. A machine is saved as its initramfs,
//! which is all that a restored one needs. Keys and values:
//!
//! * `start`: `exit` (complains and exits 1), `no-monitor` (connects to the console alone), `mute-monitor` (never greets),
//!   `hang-up` (greets, then closes the monitor and lives on).
//! * `boot`: `ready`, `flood` (as `ready`, with 64 MiB of console, then a power-off), `hang`, `panic`, `fatal`, `exit` (exit status 3 in mid-boot), `reset`, `poweroff`; without an
//!   initramfs `panic` is the default, as for a real kernel.
//! * `kvm`: with `-accel kvm` only: `abort` (as where KVM is a trap), `hang` (no console output ever).
//! * `say`: a further console line once the guest is ready.
//! * `then`: what happens `after` (milliseconds, 100) the guest is ready: `poweroff`, `panic`, `die` (SIGKILL).
//! * `poweroff`: `ignore` (the guest's `poweroff` does nothing).
//! * `quit`: `ignore` (only TERM helps), `ignore-term` (only KILL helps).
//! * `ssh`: `closing` (accepts and closes, as QEMU does while nobody listens in the guest), `silent` (accepts and says
//!   nothing), `refused`, or `server:<dir>`: a real dropbear on this host whose key is `<dir>/hostkey` and that admits the
//!   keys in `<dir>/authorized_keys` for the current user. It runs commands on this host. `guest`: the same with keys and
//!   guest programs from the initramfs; see [`guest`].
//! * `load`: `fail` (cannot take in a saved state, as a QEMU of another make), `mute` (takes it in and never comes to life),
//!   `slow` (is still at it when it is first asked how it is; a guest that is told to run before it is done loses its input).
//! * `child`: `yes` starts a further process in QEMU's process group.

mod guest;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, kill, signal};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--version") {
        return write_out("QEMU emulator version 7.2.99 (fake)\n");
    }
    // The probe for a working sandbox.
    if args.windows(2).any(|pair| pair == ["-machine", "none"]) {
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(code) => code,
        Err(error) => complain(&error.to_string()),
    }
}

fn write_out(text: &str) -> ExitCode {
    if io::stdout().write_all(text.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "fake-qemu: {text}");
    ExitCode::FAILURE
}

/// What a saved state begins with.
const STATE: &[u8] = b"fake-qemu state\n";

struct Options {
    monitor: String,
    console: String,
    /// What the initramfs holds, where there is one.
    initrd: Option<Arc<[u8]>>,
    network: bool,
    kvm: bool,
    /// Goes on from the saved state on standard input.
    restored: bool,
    wishes: HashMap<String, String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let values = |option: &str| -> Vec<&str> {
            args.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
        };
        let last = |option: &str| values(option).last().copied();
        let socket = |id: &str| {
            let start = format!("socket,id={id},path=");
            let path = values("-chardev").into_iter().find_map(|value| value.strip_prefix(&start));
            path.map(|path| path.replace(",,", ",")).ok_or(format!("no character device `{id}`"))
        };
        if !values("-mon").contains(&"chardev=monitor,mode=control")
            || last("-serial") != Some("chardev:console")
            || !args.iter().any(|arg| arg == "-S")
        {
            return Err(
                "monitor or serial port is not wired to its character device, or the guest would not wait (-S)"
                    .to_owned(),
            );
        }
        let kernel = last("-kernel").ok_or("no -kernel")?;
        let kernel = std::fs::read(kernel).map_err(|error| format!("could not load kernel '{kernel}': {error}"))?;
        let text = format!("{} {}", String::from_utf8_lossy(&kernel), last("-append").unwrap_or_default());
        let wish = |word: &str| {
            let (key, value) = word.strip_prefix("fake.")?.split_once('=')?;
            Some((key.to_owned(), value.replace('+', " ")))
        };
        Ok(Self {
            monitor: socket("monitor")?,
            console: socket("console")?,
            initrd: last("-initrd").map(|path| std::fs::read(path).unwrap_or_default().into()),
            network: values("-netdev").iter().any(|value| value.contains("hostfwd=tcp:127.0.0.1:0-:22")),
            restored: last("-incoming") == Some("fd:0"),
            kvm: last("-accel").is_some_and(|accel| accel.starts_with("kvm")),
            wishes: text.split_whitespace().filter_map(wish).collect(),
        })
    }

    fn wish(&self, key: &str) -> &str {
        self.wishes.get(key).map_or("", String::as_str)
    }
}

fn run(args: &[String]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut options = Options::parse(args)?;
    if options.restored {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes)?;
        match bytes.strip_prefix(STATE) {
            Some(initrd) if options.wish("load") != "fail" => options.initrd = Some(initrd.into()),
            _ => return Ok(complain("load of migration failed: Invalid argument")),
        }
    }
    if options.wish("start") == "exit" {
        return Ok(complain("-device nonsense: 'nonsense' is not a valid device model name"));
    }
    if options.kvm && options.wish("kvm") == "abort" {
        complain("error: failed to set MSR 0x10a to 0x69");
        kill(nix::unistd::getpid(), Signal::SIGABRT)?;
    }
    if options.wish("quit") == "ignore-term" {
        // SAFETY: no handler runs; the signal is ignored from here on.
        unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }?;
    }
    // Stays in the process group and ends with it.
    let _child = match options.wish("child") {
        "yes" => Some(Command::new("sleep").arg("1000").spawn()?),
        _ => None,
    };
    let console = UnixStream::connect(&options.console)?;
    if options.wish("start") == "no-monitor" {
        sleep_forever();
    }
    let monitor = Monitor(Arc::new(Mutex::new(UnixStream::connect(&options.monitor)?)));
    if options.wish("start") == "mute-monitor" {
        sleep_forever();
    }
    let (port, server) = match options.wish("ssh") {
        _ if !options.network => (0, Server::None),
        "guest" => {
            let initrd = options.initrd.as_deref().ok_or("fake.ssh=guest takes an initramfs")?;
            let run_dir = Path::new(&options.monitor).parent().ok_or("the monitor's socket stands nowhere")?;
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            (port, Server::Guest(guest::Guest::start(initrd, options.wish("kernel"), &run_dir.join("guest"), port)?))
        }
        other => forward(other)?,
    };
    monitor.send(
        r#"{"QMP": {"version": {"qemu": {"micro": 99, "minor": 2, "major": 7}, "package": "fake"}, "capabilities": ["oob"]}}"#,
    );
    if options.wish("start") == "hang-up" {
        drop(monitor);
        sleep_forever();
    }
    let obeys = !options.wish("quit").starts_with("ignore");
    let initrd = options.initrd.clone();
    // Answers that a machine is still being restored which are left to give.
    let mut loading = if options.restored && options.wish("load") == "slow" { 3 } else { 0 };
    let reader = BufReader::new(monitor.lock().try_clone()?);
    let mut guest = Some((options, monitor.clone(), console, server));
    for line in reader.lines() {
        let line = line?;
        let command = serde_json::from_str::<serde_json::Value>(&line)?;
        let answer = match command["execute"].as_str().unwrap_or_default() {
            "query-status" if loading > 0 => {
                loading -= 1;
                r#"{"return": {"status": "inmigrate", "singlestep": false, "running": false}}"#.to_owned()
            }
            "query-status" => r#"{"return": {"status": "running", "singlestep": false, "running": true}}"#.to_owned(),
            "query-version" => {
                r#"{"return": {"qemu": {"micro": 99, "minor": 2, "major": 7}, "package": "fake"}}"#.to_owned()
            }
            "human-monitor-command" => serde_json::json!({ "return": usernet(port) }).to_string(),
            "quit" if !obeys => continue,
            "migrate" => match save(&command["arguments"]["uri"], initrd.as_deref()) {
                Ok(()) => r#"{"return": {}}"#.to_owned(),
                Err(error) => {
                    serde_json::json!({ "error": { "class": "GenericError", "desc": error.to_string() } }).to_string()
                }
            },
            "query-migrate" => r#"{"return": {"status": "completed"}}"#.to_owned(),
            "qmp_capabilities" | "quit" | "stop" | "cont" => r#"{"return": {}}"#.to_owned(),
            other => {
                let desc = format!("The command {other} has not been found");
                serde_json::json!({ "error": { "class": "CommandNotFound", "desc": desc } }).to_string()
            }
        };
        monitor.send(&answer);
        // `-S`: the guest waits for the first `cont`.
        if command["execute"] == "cont"
            && let Some((options, monitor, console, server)) = guest.take()
            && loading == 0
        {
            std::thread::spawn(move || play(&options, &monitor, console, server));
        }
        if command["execute"] == "quit" {
            monitor.event("SHUTDOWN", r#"{"guest": false, "reason": "host-qmp-quit"}"#);
            return Ok(ExitCode::SUCCESS);
        }
    }
    sleep_forever()
}

/// Sends the machine's state where `uri` says.
fn save(uri: &serde_json::Value, initrd: Option<&[u8]>) -> io::Result<()> {
    let path = uri.as_str().and_then(|uri| uri.strip_prefix("unix:")).ok_or(io::ErrorKind::InvalidInput)?;
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(STATE)?;
    stream.write_all(initrd.ok_or(io::ErrorKind::NotFound)?)
}

fn usernet(port: u16) -> String {
    format!(
        "net (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
         TCP[HOST_FORWARD]  13       127.0.0.1 {port}       10.0.2.15    22     0     0\r\n"
    )
}

#[derive(Clone)]
struct Monitor(Arc<Mutex<UnixStream>>);

impl Monitor {
    fn lock(&self) -> std::sync::MutexGuard<'_, UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, line: &str) {
        // A monitor that has gone away does not stop a QEMU.
        let _ = self.lock().write_all(format!("{line}\r\n").as_bytes());
    }

    fn event(&self, name: &str, data: &str) {
        self.send(&format!(
            r#"{{"timestamp": {{"seconds": 1, "microseconds": 2}}, "event": "{name}", "data": {data}}}"#
        ));
    }
}

/// Who answers on the forwarded port.
enum Server {
    /// Nobody, or a thread of this process.
    None,
    /// A dropbear that ends with the process group.
    Dropbear(#[expect(dead_code, reason = "kept for as long as the machine runs")] Child),
    /// Keys and programs of the image.
    Guest(guest::Guest),
}

/// Plays the guest.
fn play(options: &Options, monitor: &Monitor, mut console: UnixStream, mut server: Server) {
    let keyboard = console.try_clone();
    let mut say = |text: &str| drop(console.write_all(text.as_bytes()));
    if options.kvm && options.wish("kvm") == "hang" {
        sleep_forever();
    }
    // QEMU tells more than any one schema knows, and nobody may stumble over it.
    monitor.event("EVENT_FROM_THE_FUTURE", r#"{"answer": 42}"#);
    monitor.event("RTC_CHANGE", r#"{"offset": 0, "qom-path": "/machine"}"#);
    if options.restored {
        if options.wish("load") == "mute" || !woken(keyboard) {
            sleep_forever();
        }
        return live(options, monitor, &mut say, server);
    }
    say("\u{1b}[0m[    0.000000] Linux version 6.1.0-fake (fake@fake)\r\n[    0.100000] fake: up\r\n");
    let boot = match options.wish("boot") {
        "" if options.initrd.is_some() => "ready",
        "" => "panic",
        other => other,
    };
    match boot {
        "ready" | "flood" => {}
        "fatal" => {
            say("twinboot-init: fatal: cannot create zram0: no such device\r\n");
            return end_of_guest("poweroff", monitor, &mut say, &mut server);
        }
        other => return end_of_guest(other, monitor, &mut say, &mut server),
    }
    if let Server::Guest(guest) = &server {
        guest.await_listening();
    }
    say("twinboot-init: mounted\r\n");
    if options.initrd.as_deref().is_some_and(guest::pauses) {
        say("twinboot-init: paused\r\n");
        if !woken(keyboard) {
            sleep_forever();
        }
    }
    if boot == "flood" {
        say("twinboot-init: ready\r\n");
        let line = format!("[    2.000000] {}\r\n", "x".repeat(1006));
        for _ in 0..64 << 10 {
            say(&line);
        }
        say("[    9.000000] the last line\r\n");
        return end_of_guest("poweroff", monitor, &mut say, &mut server);
    }
    live(options, monitor, &mut say, server);
}

/// Waits for the order to go on.
fn woken(keyboard: io::Result<UnixStream>) -> bool {
    let Ok(keyboard) = keyboard else { return false };
    let mut lines = BufReader::new(keyboard).lines().map_while(Result::ok);
    lines.any(|line| line.strip_prefix("wake ").is_some_and(|seed| seed.parse::<u64>().is_ok()))
}

/// Plays the guest from its init's `ready` on.
fn live(options: &Options, monitor: &Monitor, say: &mut impl FnMut(&str), mut server: Server) {
    if let Server::Guest(guest) = &server {
        guest.await_listening();
    }
    say("twinboot-init: re");
    say("ady\r\n");
    if !options.wish("say").is_empty() {
        say(&format!("{}\r\n", options.wish("say")));
    }
    if !options.wish("then").is_empty() {
        let after = options.wish("after").parse().unwrap_or(100);
        std::thread::sleep(Duration::from_millis(after));
        end_of_guest(options.wish("then"), monitor, say, &mut server);
    }
    let wishes = match &server {
        Server::Guest(guest) => guest.wishes().ok(),
        Server::None | Server::Dropbear(_) => None,
    };
    for wish in wishes.into_iter().flatten().map_while(Result::ok) {
        match wish.split_once(' ') {
            Some(("say", text)) => say(&format!("{text}\r\n")),
            _ if wish == "poweroff" && options.wish("poweroff") == "ignore" => {}
            _ => end_of_guest(&wish, monitor, say, &mut server),
        }
    }
    // Keeps the console open: its end is the machine's end.
    sleep_forever();
}

#[expect(clippy::exit, reason = "the guest's end is the end of the whole process, from whatever thread")]
fn end_of_guest(how: &str, monitor: &Monitor, say: &mut impl FnMut(&str), server: &mut Server) {
    let mut cut_off = || match server {
        Server::Guest(guest) => guest.stop(),
        Server::None | Server::Dropbear(_) => {}
    };
    let code = match how {
        "exit" => 3,
        "die" => {
            cut_off();
            let _ = kill(nix::unistd::getpid(), Signal::SIGKILL);
            return;
        }
        "poweroff" => {
            say("[    0.900000] reboot: Power down\r\n");
            monitor.event("SHUTDOWN", r#"{"guest": true, "reason": "guest-shutdown"}"#);
            0
        }
        "reset" => {
            monitor.event("SHUTDOWN", r#"{"guest": true, "reason": "guest-reset"}"#);
            0
        }
        "panic" => {
            say(
                "[    0.900000] Kernel panic - not syncing: fake trouble\r\n[    0.900001] CPU: 0 PID: 1 Comm: init\r\n",
            );
            monitor.event("GUEST_PANICKED", r#"{"action": "run"}"#);
            say("[    0.900002] ---[ end Kernel panic - not syncing: fake trouble ]---\r\n");
            monitor.event("SHUTDOWN", r#"{"guest": true, "reason": "guest-reset"}"#);
            0
        }
        // `hang`, and whatever a test misspelled: its deadline will tell.
        _ => sleep_forever(),
    };
    cut_off();
    std::process::exit(code);
}

/// Takes a free port and serves it as wished.
fn forward(ssh: &str) -> io::Result<(u16, Server)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    if let Some(dir) = ssh.strip_prefix("server:") {
        drop(listener);
        return Ok((port, Server::Dropbear(serve(Path::new(dir), port)?)));
    }
    let silent = ssh == "silent";
    if ssh != "refused" {
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                if silent {
                    kept.push(stream);
                }
            }
        });
    }
    Ok((port, Server::None))
}

/// Runs dropbear in a mount namespace where the user's home folder is an empty one with the wanted `authorized_keys`:
/// it finds the home in the user database and nowhere else.
fn serve(dir: &Path, port: u16) -> io::Result<Child> {
    let script = r#"
        set -e
        home=$(getent passwd "$(id -u)" | cut -d: -f6)
        keys=$(cat "$1/authorized_keys")
        mount -t tmpfs -o mode=0755 none "$home"
        mkdir -m 0700 "$home/.ssh"
        echo "$keys" > "$home/.ssh/authorized_keys"
        exec dropbear -F -E -s -P "$1/pid" -r "$1/hostkey" -p "127.0.0.1:$2"
    "#;
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.arg("--mount").args(["sh", "-c", script, "sh"]).arg(dir).arg(port.to_string());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").process_group(nix::unistd::getpgrp().as_raw()).spawn()
}

fn sleep_forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
