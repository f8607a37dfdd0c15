//! What guests and plans say reaches a terminal as text and as nothing else.

use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::Stdio;

use super::house::{HONEST, House, expect, no_guest};

/// A pseudo-terminal: twinboot's side and ours.
fn terminal() -> (OwnedFd, std::fs::File) {
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both descriptors are written to, and the null pointers ask for no name and no settings (openpty(3)).
    let done = unsafe { nix::libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), null.cast()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: openpty(3) has just made both, and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(theirs), std::fs::File::from_raw_fd(ours)) }
}

/// All that is written to a terminal until nobody writes to it any more, which reading tells by EIO.
fn shown(mut ours: std::fs::File) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = ours.read(&mut buffer) {
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_guests_console_cannot_drive_the_terminal_and_is_exact_in_a_pipe() {
    let house = House::single("fake.boot=fatal", HONEST, "");
    let boot = || house.twinboot(&["boot", "plan.yaml", "--accel", "tcg", "--only", "*single*"]);
    let piped = boot().output().expect("runs");
    assert!(String::from_utf8_lossy(&piped.stdout).contains("\u{1b}[0m[    0.000000] Linux version"), "{piped:?}");

    let (theirs, ours) = terminal();
    let mut command = boot();
    let mut child = command.stdout(Stdio::from(theirs)).stderr(Stdio::null()).spawn().expect("runs");
    drop(command);
    let text = shown(ours);
    child.wait().expect("ends");
    assert!(text.contains("\\u{1b}[0m[    0.000000] Linux version"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    house.assert_tidy();
}

#[test]
fn a_guest_tests_words_cannot_drive_the_terminal() {
    if no_guest() {
        return;
    }
    let program = r#"printf '%s\n' '{"type":"failure","message":"\u001b[2Jgone\r\nverdict: FIXED\u202e"}'; exit 1"#;
    let house = House::single("fake.ssh=guest", program, "");
    let output = house.run_command(&[]).output().expect("runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(err.contains("\\u{1b}[2Jgone"), "{err}");
    for text in [&out, &err] {
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("verdict")), "{text}");
    }
    house.assert_tidy();
}

#[test]
fn a_plans_words_cannot_drive_the_terminal() {
    let house = House::single("", HONEST, "");
    let plan = std::fs::read_to_string(house.file("plan.yaml")).expect("is there");
    let hostile = [
        ("name: fake", "name: \"f\\e[2J\\nok: 1 cell\""),
        ("name: fake", "name: fake\n\"key\\e]0;x\\a\\nok: 1 cell\": 1"),
        ("name: fake", "name: fake\nk\u{202e}y: [\u{9b}"),
        ("rounds: 1", "rounds: \"\\e[31mmany\\r\\nok: 1 cell\""),
        ("run: race", "run: \"race\\u202e\""),
        ("memory: 128M", "memory: \"1\\e[2J\""),
    ];
    for (from, to) in hostile {
        assert!(plan.contains(from), "{from}");
        std::fs::write(house.file("plan.yaml"), plan.replace(from, to)).expect("writes");
        for args in [&["plan", "check", "plan.yaml"][..], &["plan", "show", "plan.yaml"], &["run", "plan.yaml"]] {
            let output = house.twinboot(args).output().expect("runs");
            expect(&output, 2);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).expect("text");
            let raw = text.chars().find(|letter| letter.is_control() && *letter != '\n' || *letter == '\u{202e}');
            assert_eq!(raw, None, "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("ok: ")), "{text}");
        }
    }
    // A text that a plan may have, but for direction marks harmless.
    std::fs::write(house.file("plan.yaml"), plan.replace("cpus: 1", "cpus: 1, cmdline: \"a=\\u202eb\""))
        .expect("writes");
    let output = house.twinboot(&["plan", "show", "--offline", "plan.yaml"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("a=\\u{202e}b"), "{output:?}");
    let output =
        house.twinboot(&["plan", "show", "--offline", "--format", "json", "plan.yaml"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("a=\\u202eb") && serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{output:?}");
}
