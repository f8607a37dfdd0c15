//! The guest behind `fake.ssh=guest`: a real dropbear and the image's own guest programs, all on this host.
//!
//! The initramfs is read as a kernel would read it, one archive behind the other. Its host key and `authorized_keys` serve
//! the login as root, whoever the current user is, and what it has in `/usr/local/bin` is on the session's `PATH` before
//! the host's programs; tests put shell scripts there. Everything runs in a PID and a mount namespace, so that all of it
//! dies at once, as in a guest.
//!
//! A session finds in `$FAKE_GUEST` a pipe to the machine, which takes lines: `say <text>` prints on the console, and
//! `poweroff`, `panic`, `die`, `reset` and `exit` are the ends of the guest. `poweroff` is a command as well. `$FAKE_KERNEL`
//! is what the kernel file wished as `fake.kernel`, so that one test program can behave by the kernel it runs on.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};
use twinboot::build::initramfs::{AUTHORIZED_KEYS_PATH, HOST_KEY_PATH, PROGRAM_DIR};

/// Runs in the namespaces as their first process. The user database's root becomes the current user, who has his home and
/// shell in the guest's folder.
const SCRIPT: &str = r#"
    set -e
    mount --bind "$1/passwd" /etc/passwd
    mount --bind "$1/shells" /etc/shells
    exec dropbear -F -E -s -j -k -m -P "$1/pid" -r "$1/hostkey" -p "127.0.0.1:$2"
"#;

/// The pipe to the machine, in the guest's folder.
const WISHES: &str = "wishes";

/// A running guest; it ends with this process.
pub struct Guest {
    server: Child,
    port: u16,
    dir: PathBuf,
}

impl Guest {
    /// Unpacks what is needed of `initrd` into `dir`, which is made, and serves SSH on the loopback `port`.
    pub fn start(initrd: &[u8], kernel: &str, dir: &Path, port: u16) -> io::Result<Self> {
        for folder in [dir, &dir.join("bin"), &dir.join("home"), &dir.join("home/.ssh")] {
            fs::create_dir(folder)?;
            fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        let place = dir.display();
        let (uid, gid) = (geteuid(), getegid());
        write(&dir.join("passwd"), 0o644, format!("root:x:{uid}:{gid}:root:{place}/home:{place}/sh\n").as_bytes())?;
        write(&dir.join("shells"), 0o644, format!("{place}/sh\n").as_bytes())?;
        let shell = format!(
            "#!/bin/sh\nexport PATH='{place}/bin:/usr/bin:/bin' FAKE_GUEST='{}' FAKE_KERNEL='{kernel}'\nexec /bin/sh \"$@\"\n",
            dir.join(WISHES).display()
        );
        write(&dir.join("sh"), 0o755, shell.as_bytes())?;
        write(&dir.join("bin/poweroff"), 0o755, b"#!/bin/sh\necho poweroff > \"$FAKE_GUEST\"\n")?;
        unpack(initrd, dir)?;
        nix::unistd::mkfifo(&dir.join(WISHES), nix::sys::stat::Mode::S_IRWXU)?;
        Ok(Self { server: serve(dir, port)?, port, dir: dir.to_path_buf() })
    }

    /// Waits until somebody can log in, as an init does before it calls the guest ready; for ever where nobody ever can.
    pub fn await_listening(&self) {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the guest does to its machine, line by line. Never ends.
    pub fn wishes(&self) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
        // Open for writing too, so that a session that closes its end is no end of file.
        Ok(BufReader::new(File::options().read(true).write(true).open(self.dir.join(WISHES))?).lines())
    }

    /// Everything in the guest ends now, and its connections break. A guest's files are in its memory: they go with it.
    pub fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn serve(dir: &Path, port: u16) -> io::Result<Child> {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT, "sh"]).arg(dir);
    command.arg(port.to_string()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // SAFETY: prctl(2) is async-signal-safe and touches nothing that the parent shares with the child.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    command.spawn()
}

/// Whether the guest in this initramfs is to stop before it is ready, to be saved.
pub fn pauses(initrd: &[u8]) -> bool {
    let told = b"\"pause\": true";
    initrd.windows(told.len()).any(|window| window == told)
}

/// Takes keys and programs out of the archives that stand one behind the other.
fn unpack(mut archives: &[u8], dir: &Path) -> io::Result<()> {
    while !archives.is_empty() {
        let mut entry = cpio::NewcReader::new(archives)?;
        while !entry.entry().is_trailer() {
            let (name, mode) = (format!("/{}", entry.entry().name().trim_start_matches('/')), entry.entry().mode());
            let regular = mode & 0o170_000 == 0o100_000;
            if let Some(to) = place(&name, dir).filter(|_| regular) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                write(&to, mode & 0o777, &bytes)?;
            }
            entry = cpio::NewcReader::new(entry.finish()?)?;
        }
        archives = entry.finish()?;
    }
    Ok(())
}

/// Where the guest's file `name` goes.
fn place(name: &str, dir: &Path) -> Option<PathBuf> {
    match name {
        HOST_KEY_PATH => Some(dir.join("hostkey")),
        AUTHORIZED_KEYS_PATH => Some(dir.join("home/.ssh/authorized_keys")),
        other => {
            let program = other.strip_prefix(PROGRAM_DIR)?.strip_prefix('/')?;
            Some(dir.join("bin").join(program))
        }
    }
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}
