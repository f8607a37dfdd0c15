//! The stage's guest test: how it is started and what it says.

use std::io::Write as _;

use tokio::time::Instant;
use twinboot_protocol::Record;
use twinboot_protocol::orders::Answer;

use super::{Setting, Stage};
use crate::interleave::scene::{End, Happening};
use crate::vm::args::quote;
use crate::vm::ssh;

/// Lines of the test's standard error that are kept.
const STDERR_KEPT: usize = 40;

impl Stage {
    pub(super) fn heard(&mut self, event: Option<ssh::Event>) -> Option<Happening> {
        let broken = match event {
            Some(ssh::Event::Out(line)) => return self.line(&line),
            Some(ssh::Event::Err(line)) => {
                if self.stderr.len() < STDERR_KEPT {
                    self.stderr.push(String::from_utf8_lossy(&line).into_owned());
                }
                return None;
            }
            Some(ssh::Event::Exit(exit)) => {
                let said = self.stderr.join("\n");
                let said = if said.is_empty() { said } else { format!(": {said}") };
                self.ended = Some(End::Lost(format!("`{}` ended with {exit}{said}", self.command)));
                self.exit = Some(exit);
                return None;
            }
            Some(ssh::Event::Lost(reason)) => reason,
            None => "the session ended without saying why".to_owned(),
        };
        self.broken.get_or_insert((broken, Instant::now()));
        None
    }

    /// A line of the test's output.
    fn line(&mut self, line: &[u8]) -> Option<Happening> {
        self.write(line);
        if let Ok(answer) = serde_json::from_slice::<Answer>(line) {
            return Some(Happening::Answer(answer));
        }
        match serde_json::from_slice::<Record>(line) {
            Ok(Record::Preflight(preflight)) if preflight.protocol != twinboot_protocol::VERSION => {
                let reason = format!(
                    "the guest test speaks protocol {}, this twinboot {}: build both from one tree",
                    preflight.protocol,
                    twinboot_protocol::VERSION
                );
                self.ended = Some(End::Lost(reason));
                None
            }
            Ok(Record::Preflight(preflight)) => {
                self.preflight = Some(preflight);
                None
            }
            Ok(Record::Failure(failure)) => Some(Happening::Answer(Answer::Failed { message: failure.message })),
            _ => None,
        }
    }

    /// Keeps what was said. A transcript that cannot be written costs the transcript alone.
    pub(super) fn write(&mut self, line: &[u8]) {
        let _ = self.transcript.write_all(&[line, b"\n"].concat());
    }
}

pub(super) fn command_line(setting: &Setting) -> String {
    let mut words = vec![setting.program.clone(), "--interleave".to_owned(), setting.threads.join(",")];
    for (key, value) in &setting.args {
        match value.as_str() {
            "false" => {}
            "true" => words.push(format!("--{key}")),
            value => words.extend([format!("--{key}"), value.to_owned()]),
        }
    }
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}
