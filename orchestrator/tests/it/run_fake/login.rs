//! `twinboot shell` and `twinboot boot`, with a guest that can be logged in to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::house::{House, expect, no_guest, send};

fn shell(house: &House) -> Command {
    house.twinboot(&["shell", "plan.yaml", "--accel", "tcg"])
}

fn client_is_there() -> bool {
    let there = Command::new("ssh").arg("-V").output().is_ok();
    if !there {
        let _ = writeln!(std::io::stderr(), "skipped: there is no ssh (package openssh-client)");
    }
    there
}

#[test]
fn a_command_runs_in_a_fresh_guest_and_its_end_is_ours() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    let script = r#"echo "$FAKE_KERNEL: $1"; echo err >&2; exit 7"#;
    let output = shell(&house).args(["--", "sh", "-c", script, "sh", "two words; false"]).output().expect("runs");
    expect(&output, 7);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "corrupt: two words; false\n");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("err\n"));
    house.assert_tidy();
    let output = shell(&house).args(["--only", "*.patched.*", "--", "printenv", "FAKE_KERNEL"]).output().expect("runs");
    expect(&output, 0);
    assert_eq!(output.stdout, b"clean\n");
    assert!(!house.out().exists());
}

#[test]
fn a_guest_that_dies_under_a_command_is_an_error_and_not_its_end() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    let death = r#"echo die > "$FAKE_GUEST"; sleep 1000"#;
    let output = shell(&house).args(["--", "sh", "-c", death]).output().expect("runs");
    expect(&output, 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("lost the guest"));
    house.assert_tidy();
}

#[test]
fn a_guest_that_does_not_come_up_shows_its_console() {
    let house = House::pair("fake.boot=panic", 1);
    let output = shell(&house).args(["--", "true"]).output().expect("runs");
    expect(&output, 3);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Kernel panic - not syncing: fake trouble"), "{text}");
    house.assert_tidy();
}

#[test]
fn a_login_takes_the_ssh_client_and_exits_as_it_does() {
    if no_guest() || !client_is_there() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    let mut command = shell(&house);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(b"echo in $FAKE_KERNEL\nexit 5\n").expect("writes");
    let output = child.wait_with_output().expect("ends");
    expect(&output, 5);
    assert_eq!(output.stdout, b"in corrupt\n");
    house.assert_tidy();
}

#[test]
fn without_an_ssh_client_its_package_is_named_before_anything_is_built() {
    let house = House::pair("", 1);
    let output = shell(&house).env("PATH", house.file("guest")).output().expect("runs");
    let there =
        ["/usr/local/sbin/ssh", "/usr/sbin/ssh", "/sbin/ssh"].iter().any(|path| std::fs::exists(path).unwrap_or(false));
    if there {
        return;
    }
    expect(&output, 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("openssh-client"));
    assert!(!house.file("cache").exists());
}

#[test]
fn an_interrupt_ends_a_command_and_its_guest() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    let mut command = shell(&house);
    command.args(["--", "sh", "-c", "echo up; sleep 1000"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("reads");
    assert_eq!(line, "up\n");
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    house.assert_tidy();
}

#[test]
fn a_booted_guest_shows_its_console_and_the_way_in() {
    if no_guest() {
        return;
    }
    let house = House::pair("fake.ssh=guest", 1);
    let mut command = house.twinboot(&["boot", "plan.yaml", "--accel", "tcg", "--only", "*.patched.*"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut told = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let login = told.find_map(|line| Some(line.strip_prefix("log in:")?.trim().to_owned()));
    let login = login.expect("says how to log in");
    if client_is_there() {
        let inside = Command::new("sh").args(["-c", &format!("{login} printenv FAKE_KERNEL")]).output().expect("runs");
        expect(&inside, 0);
        assert_eq!(inside.stdout, b"clean\n");
    }
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("ends");
    expect(&output, 130);
    assert!(String::from_utf8_lossy(&output.stdout).contains("Linux version 6.1.0-fake"));
    house.assert_tidy();
}

#[test]
fn a_guest_that_powers_itself_off_ends_a_boot_well_and_a_panic_does_not() {
    for (end, code) in [("poweroff", 0), ("panic", 3)] {
        let house = House::pair(&format!("fake.then={end}"), 1);
        let output = house.twinboot(&["boot", "plan.yaml", "--accel", "tcg"]).output().expect("runs");
        expect(&output, code);
        let last = if end == "panic" { "---[ end Kernel panic" } else { "reboot: Power down" };
        assert!(String::from_utf8_lossy(&output.stdout).contains(last), "{end}");
        house.assert_tidy();
    }
}
