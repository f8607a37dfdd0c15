//! SSH sessions: against a server that never comes up, and against a real dropbear that the fake QEMU starts on this host.
//!
//! The latter needs dropbear (package dropbear-bin) and the right to make a mount namespace; where a user may not make one,
//! those tests say so on standard error and pass.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ssh_key::private::KeypairData;
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use twinboot::vm::Vm;
use twinboot::vm::ssh::{self, Error, Event, Exit, Login, Session};

use crate::vm::fake_machine;

const AMPLE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(400);

fn key() -> PrivateKey {
    PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519).expect("makes a key")
}

fn login(user: &PrivateKey, host: &PrivateKey) -> Login {
    let name = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("is known").expect("has a name").name;
    Login {
        user: name,
        private_key: user.to_openssh(LineEnding::LF).expect("encodes").to_string(),
        public_key: None,
        host_key: host.public_key().to_bytes().expect("encodes"),
    }
}

/// dropbear's own format: the algorithm's name, then seed and public key as one string.
fn dropbear_key(key: &PrivateKey) -> Vec<u8> {
    let KeypairData::Ed25519(pair) = key.key_data() else { panic!("an ed25519 key") };
    let string = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&length[..], bytes].concat()
    };
    [string(b"ssh-ed25519"), string(&pair.to_bytes())].concat()
}

/// A machine whose SSH server is a dropbear on this host.
struct Guest {
    dir: TempDir,
    vm: Vm,
    user: PrivateKey,
    host: PrivateKey,
}

impl Guest {
    async fn new() -> Option<Self> {
        if !may_mount() {
            assert!(std::env::var_os("TWINBOOT_NO_SKIPS").is_none(), "TWINBOOT_NO_SKIPS is set, and unshare fails");
            let _ = writeln!(std::io::stderr(), "skipped: this user may not make a mount namespace (unshare --mount)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("vm").tempdir_in("/tmp").expect("a scratch folder");
        let file = |name: &str| dir.path().join(name);
        let (user, host) = (key(), key());
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(file(name), bytes).expect("writes");
            std::fs::set_permissions(file(name), std::fs::Permissions::from_mode(0o600)).expect("sets");
        };
        write("hostkey", &dropbear_key(&host));
        write("authorized_keys", user.public_key().to_openssh().expect("encodes").as_bytes());
        write("kernel", b"");
        let spec = fake_machine(dir.path(), format!("fake.ssh=server:{}", dir.path().display()), 1);
        let vm = Vm::start(&spec, dir.path(), &CancellationToken::new()).await.expect("starts");
        Some(Self { dir, vm, user, host })
    }

    async fn connect(&self, user: &PrivateKey, host: &PrivateKey) -> Result<Session, Error> {
        ssh::connect(self.vm.ssh_port(), &login(user, host), AMPLE).await
    }

    async fn session(&self) -> Session {
        match self.connect(&self.user, &self.host).await {
            Ok(session) => session,
            Err(error) => {
                let log = std::fs::read_to_string(self.file("qemu.log")).unwrap_or_default();
                panic!("no session with the host's dropbear (package dropbear-bin): {error}\n{log}")
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    let home = "$(getent passwd \"$(id -u)\" | cut -d: -f6)";
    command.args(["--mount", "sh", "-c", &format!("mount -t tmpfs none \"{home}\"")]);
    command.output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_port_that_refuses_is_tried_until_the_deadline() {
    let port = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("has one").port();
    let error = ssh::connect(port, &login(&key(), &key()), SHORT).await.err().expect("nobody there");
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_port_that_accepts_and_closes_is_tried_until_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("has one").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let error = ssh::connect(port, &login(&key(), &key()), SHORT).await.err().expect("nobody there");
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(error.to_string().contains("closed the connection"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_overruns_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("has one").port();
    let error = ssh::connect(port, &login(&key(), &key()), SHORT).await.err().expect("never answers");
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    drop(listener);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_guest() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("has one").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nSSH-2.0-x\r\n\0\0\0\x0cgarbage garbage");
        }
    });
    let error = ssh::connect(port, &login(&key(), &key()), SHORT).await.err().expect("no SSH");
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_comes_up_late_is_reached() {
    let Some(guest) = Guest::new().await else { return };
    // The fake takes the port before its dropbear listens, so early tries are refused.
    let session = guest.session().await;
    let output =
        session.exec("echo out; echo err >&2; exit 7", None).await.expect("runs").output().await.expect("ends");
    assert_eq!((&output.stdout[..], &output.stderr[..], output.exit), (&b"out\n"[..], &b"err\n"[..], Exit::Code(7)));
}

#[tokio::test]
async fn another_host_key_is_refused_at_once() {
    let Some(guest) = Guest::new().await else { return };
    let error = guest.connect(&guest.user, &key()).await.err().expect("not the guest");
    assert!(matches!(error, Error::HostKey { .. }), "{error}");
}

#[tokio::test]
async fn a_key_the_guest_does_not_know_is_refused_at_once() {
    let Some(guest) = Guest::new().await else { return };
    let error = guest.connect(&key(), &guest.host).await.err().expect("not admitted");
    assert!(matches!(error, Error::Login { .. }), "{error}");
}

#[tokio::test]
async fn input_is_sent_whole_and_need_not_be_read() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
    let path = guest.file("upload");
    let upload = session.exec(&format!("cat > {}", path.display()), Some(bytes.clone())).await.expect("runs");
    assert_eq!(upload.output().await.expect("ends").exit, Exit::Code(0));
    assert!(std::fs::read(&path).expect("is there") == bytes, "the upload differs");
    let ignored = session.exec("exit 3", Some(bytes)).await.expect("runs").output().await.expect("ends");
    assert_eq!(ignored.exit, Exit::Code(3));
}

#[tokio::test]
async fn much_output_comes_whole_and_a_signal_is_an_end() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let output = session.exec("seq 1 100000; printf half", None).await.expect("runs").output().await.expect("ends");
    let want: String = (1..=100_000).map(|n| format!("{n}\n")).chain(["half\n".to_owned()]).collect();
    assert!(output.stdout == want.as_bytes(), "{} bytes", output.stdout.len());
    let killed = session.exec("kill -9 $$", None).await.expect("runs").output().await.expect("ends");
    assert_eq!(killed.exit, Exit::Signal("KILL".to_owned()));
}

#[tokio::test]
async fn two_commands_run_side_by_side() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let fifo = guest.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("makes it");
    let reader = session.exec(&format!("cat {}", fifo.display()), None).await.expect("runs");
    let writer = session.exec(&format!("echo through > {}", fifo.display()), None).await.expect("runs");
    let (read, written) = tokio::join!(reader.output(), writer.output());
    assert_eq!(read.expect("ends").stdout, b"through\n");
    assert_eq!(written.expect("ends").exit, Exit::Code(0));
}

#[tokio::test]
async fn a_guest_that_dies_in_mid_line_loses_nothing_that_it_said() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    // The parent of the command's shell is the server's side of the connection.
    let command = "seq 1 20000; printf '{\"half'; sleep 1; kill -9 $PPID";
    let mut exec = session.exec(command, None).await.expect("runs");
    assert_eq!(exec.next().await, Some(Event::Out(b"1".to_vec())));
    // Nobody reads meanwhile, so lines and the loss wait together.
    tokio::time::sleep(5 * SHORT).await;
    let mut lines = Vec::new();
    let last = loop {
        match tokio::time::timeout(AMPLE, exec.next()).await.expect("bounded") {
            Some(Event::Out(line)) => lines.push(line),
            other => break other,
        }
    };
    assert!(matches!(last, Some(Event::Lost(_))), "{last:?}");
    assert_eq!(lines.len(), 20_000, "2 to 20000 and the half line");
    assert_eq!(lines.last().expect("not empty"), b"{\"half");
    assert_eq!(exec.next().await, None);
    assert!(matches!(session.exec("true", None).await.err(), Some(Error::Exec { .. })));
}

#[tokio::test]
async fn a_dropped_session_ends_its_commands() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let mut exec = session.exec("echo up; sleep 5", None).await.expect("runs");
    assert_eq!(exec.next().await, Some(Event::Out(b"up".to_vec())));
    drop(session);
    let last = tokio::time::timeout(AMPLE, exec.next()).await.expect("bounded");
    assert!(matches!(last, Some(Event::Lost(_))), "{last:?}");
}

#[tokio::test]
async fn a_dropped_command_leaves_its_session_usable() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let mut exec = session.exec("while :; do echo y; done", None).await.expect("runs");
    assert_eq!(exec.next().await, Some(Event::Out(b"y".to_vec())));
    drop(exec);
    let output = session.exec("echo still here", None).await.expect("runs").output().await.expect("ends");
    assert_eq!(output.stdout, b"still here\n");
}

#[tokio::test]
async fn a_command_is_talked_to_until_its_input_is_dropped() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let (mut exec, input) = session
        .exec_interactive("while read line; do echo \"got $line\"; done; echo over; exit 4")
        .await
        .expect("runs");
    for turn in 0..50 {
        assert!(input.send(&format!("line {turn}")));
        let answer = tokio::time::timeout(AMPLE, exec.next()).await.expect("bounded");
        assert_eq!(answer, Some(Event::Out(format!("got line {turn}").into_bytes())));
    }
    // Another command is served meanwhile.
    let output = session.exec("echo aside", None).await.expect("runs").output().await.expect("ends");
    assert_eq!(output.stdout, b"aside\n");
    assert!(input.send("last"));
    drop(input);
    let output = exec.output().await.expect("ends");
    assert_eq!((&output.stdout[..], output.exit), (&b"got last\nover\n"[..], Exit::Code(4)));
}

#[tokio::test]
async fn input_to_a_command_that_has_ended_is_refused() {
    let Some(guest) = Guest::new().await else { return };
    let session = guest.session().await;
    let (exec, input) = session.exec_interactive("exit 0").await.expect("runs");
    assert_eq!(exec.output().await.expect("ends").exit, Exit::Code(0));
    // The session's thread lets go of the command right after it has told of its end.
    let refused = async {
        while input.send("anyone?") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(AMPLE, refused).await.expect("refused");
}
