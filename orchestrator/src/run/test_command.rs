//! The command line a test is started with in the guest.

use std::time::Duration;

use crate::plan::model::Test;
pub use crate::vm::args::quote;

/// The test's program and arguments, quoted for a POSIX shell: its own first, then those every guest test takes
/// (`--seed`, `--for`, `--stop-corruptions`, `--stop-exposures`; see `racer::args`).
pub fn command_line(test: &Test, seed: u64) -> String {
    let mut words = vec![test.run.clone()];
    for (key, value) in &test.args {
        match value.as_str() {
            "false" => {}
            "true" => words.push(format!("--{key}")),
            value => words.extend([format!("--{key}"), value.to_owned()]),
        }
    }
    words.extend(["--seed".to_owned(), seed.to_string(), "--for".to_owned(), milliseconds(test.stop.at_most)]);
    let limits = [("--stop-corruptions", test.stop.corruptions), ("--stop-exposures", test.stop.exposures)];
    for (flag, limit) in limits {
        if let Some(limit) = limit {
            words.extend([flag.to_owned(), limit.to_string()]);
        }
    }
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        for word in ["", "a b", "it's", "$(reboot)", "plain-1.0", "a;b", "\"", "*"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
