//! From a [`Spec`] to QEMU's command line. Pure: nothing is looked up.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::spec::{Accel, Spec};

/// Kernel options every guest gets, as they stand on the command line.
///
/// * `panic=-1` reboots at once, which `-no-reboot` turns into QEMU's end; `oops=panic` because a kernel that lost a task
///   with its locks held can no longer be measured, only waited for. `WARN_ON` goes on: the console parser reports it.
/// * `loglevel=5` shows warnings and worse, and keeps the boot's chatter off the slow serial port.
/// * `earlycon` makes a kernel that dies before its serial driver is up say so.
/// * `random.trust_cpu=on` spares the guest the wait for entropy.
/// * `no_timer_check`: the kernel proves the timer's interrupt by busy-waiting for ten ticks, and panics when a software-emulated
///   CPU on a busy host does not get that far (`check_timer` in `arch/x86/kernel/apic/io_apic.c`). KVM guests skip it by themselves.
const KERNEL: [&str; 7] = [
    "console=ttyS0",
    "earlycon=uart8250,io,0x3f8",
    "panic=-1",
    "oops=panic",
    "loglevel=5",
    "random.trust_cpu=on",
    "no_timer_check",
];

/// The static address that QEMU's user network expects (`-netdev user`: 10.0.2.15, gateway 10.0.2.2), set by the
/// kernel itself (Documentation/admin-guide/nfs/nfsroot.rst, `ip=`).
const KERNEL_NETWORK: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off";

/// In software emulation all virtual CPUs read one time stamp counter, which the kernel does not trust for want of a bit that
/// the emulated CPU lacks (`unsynchronized_tsc` in `arch/x86/kernel/tsc.c`). It would keep time by the HPET then: an exit to
/// QEMU, under its big lock, for every look at the clock.
const ONE_TSC: &str = "tsc=reliable";

/// Keeps the kernel where its `vmlinux` says it is; a debugger has no other way to know.
const NO_RANDOM_BASE: &str = "nokaslr";

/// Where in the run directory QEMU finds the monitor socket that twinboot listens on.
pub(super) fn monitor_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("monitor")
}

/// Where in the run directory QEMU finds the console socket that twinboot listens on.
pub(super) fn console_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("console")
}

/// Where in the run directory QEMU listens for a debugger.
pub(super) fn gdb_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("gdb")
}

/// QEMU's arguments, without the program. `run_dir` holds the monitor's and the console's socket; QEMU is the one that
/// connects, so neither side has to poll for the other. The debugger's socket is QEMU's own: it is there before the
/// monitor answers.
pub fn args(spec: &Spec, run_dir: &Path) -> Vec<OsString> {
    let mut args = Arguments(Vec::new());
    // `-S`: the guest waits for the monitor's `cont`, so that no end of it can come before somebody listens.
    args.flags(&["-nodefaults", "-no-user-config", "-no-reboot", "-S"]);
    args.pair("-display", "none");
    // The kernel is left to finish its panic message; `panic=-1` ends the machine right after.
    args.pair("-action", "panic=none");
    match spec.accel {
        Accel::Kvm => {
            args.pair("-accel", "kvm");
            args.pair("-cpu", "host");
        }
        Accel::Tcg => {
            args.pair("-accel", "tcg,thread=multi");
            args.pair("-cpu", "max");
        }
    }
    args.pair("-machine", "q35");
    args.pair("-smp", spec.cpus.to_string());
    args.pair("-m", memory(spec.memory));
    args.pair("-chardev", socket("monitor", &monitor_socket(run_dir)));
    args.pair("-mon", "chardev=monitor,mode=control");
    args.pair("-chardev", socket("console", &console_socket(run_dir)));
    args.pair("-serial", "chardev:console");
    args.pair("-device", "pvpanic-pci");
    if spec.gdb {
        let mut listening = socket("gdb", &gdb_socket(run_dir));
        listening.push(",server=on,wait=off");
        args.pair("-chardev", listening);
        args.pair("-gdb", "chardev:gdb");
    }
    if spec.network {
        args.pair("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22");
        // No switch has to learn where a clone is, so it need not announce itself (virtio 1.2, 5.1.6.5.4).
        args.pair("-device", "virtio-net-pci,netdev=net,romfile=,guest_announce=off");
    }
    args.pair("-kernel", &spec.kernel);
    if let Some(initrd) = &spec.initrd {
        args.pair("-initrd", initrd);
    }
    args.pair("-append", cmdline(spec));
    if spec.incoming.is_some() {
        // Standard input is the saved state: every QEMU takes a descriptor, and no shell has to quote a path.
        args.pair("-incoming", "fd:0");
    }
    args.0
}

/// The kernel's whole command line.
pub fn cmdline(spec: &Spec) -> String {
    let mut words: Vec<&str> = KERNEL.to_vec();
    if spec.network {
        words.push(KERNEL_NETWORK);
    }
    if spec.accel == Accel::Tcg {
        words.push(ONE_TSC);
    }
    if spec.gdb {
        words.push(NO_RANDOM_BASE);
    }
    words.extend(Some(spec.cmdline.trim()).filter(|extra| !extra.is_empty()));
    words.join(" ")
}

/// A command line that can be pasted into a shell.
pub fn shell_line(program: &Path, args: &[OsString]) -> String {
    let words = std::iter::once(program.as_os_str()).chain(args.iter().map(OsString::as_os_str));
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.0.push(option.into());
        self.0.push(value.as_ref().into());
    }
}

/// QEMU counts plain numbers in MiB; `k` keeps sizes exact that are not whole MiB.
fn memory(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{}M", bytes >> 20) } else { format!("{}k", bytes >> 10) }
}

/// A socket character device, QEMU being the client. QEMU splits option lists at commas; a doubled comma stands for itself.
fn socket(id: &str, path: &Path) -> OsString {
    let mut value = format!("socket,id={id},path=").into_bytes();
    for &byte in path.as_os_str().as_bytes() {
        value.push(byte);
        if byte == b',' {
            value.push(b',');
        }
    }
    OsString::from_vec(value)
}

/// One shell word: as it stands when it is plain, in single quotes otherwise.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            qemu: "qemu-system-x86_64".into(),
            accel: Accel::Tcg,
            kernel: "/cache/build/1/vmlinux".into(),
            initrd: Some("/cache/image/2/initramfs.gz".into()),
            incoming: None,
            cmdline: String::new(),
            cpus: 2,
            memory: 512 << 20,
            network: true,
            gdb: false,
            start_deadline: super::super::START_DEADLINE,
            console_log: "/results/console.log".into(),
            qemu_log: "/results/qemu.log".into(),
        }
    }

    fn lines(spec: &Spec, run_dir: &str) -> String {
        let args = args(spec, Path::new(run_dir));
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join("\n").replace("\n-", "\0-").replace('\n', " ").replace('\0', "\n")
    }

    #[test]
    fn a_guest_in_software_emulation() {
        insta::assert_snapshot!(lines(&spec(), "/run/user/1000/twinboot-a1"));
    }

    #[test]
    fn a_guest_on_kvm_with_its_own_options() {
        let spec = Spec {
            accel: Accel::Kvm,
            cpus: 4,
            memory: (512 << 20) + 4096,
            cmdline: " loglevel=8 transparent_hugepage=never ".into(),
            ..spec()
        };
        insta::assert_snapshot!(lines(&spec, "/run/user/1000/twinboot-b2"));
    }

    #[test]
    fn a_bare_kernel_without_network() {
        let spec = Spec { initrd: None, network: false, kernel: "/boot/bzImage".into(), ..spec() };
        insta::assert_snapshot!(lines(&spec, "/tmp/a,b"));
    }

    #[test]
    fn a_guest_with_a_debugger() {
        let spec = Spec { gdb: true, ..spec() };
        insta::assert_snapshot!(lines(&spec, "/run/user/1000/twinboot-c,3"));
    }

    #[test]
    fn a_clone_differs_from_its_original_in_nothing_but_where_it_comes_from() {
        let clone = Spec { initrd: None, incoming: Some("/cache/snapshots/3/state".into()), ..spec() };
        let (booted, cloned) = (lines(&spec(), "/tmp/a"), lines(&clone, "/tmp/a"));
        let told = |text: &str| {
            text.lines().filter(|line| !line.starts_with("-initrd")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!([told(&booted), vec!["-incoming fd:0".to_owned()]].concat(), told(&cloned));
    }

    #[test]
    fn the_command_line_survives_a_shell() {
        let line = shell_line(Path::new("/opt/my qemu"), &["-append".into(), "it's".into(), "".into(), "a=b".into()]);
        assert_eq!(line, r"'/opt/my qemu' -append 'it'\''s' '' a=b");
    }
}
