//! The guest test of a session: its command line, and what it prints.

use std::fs::File;
use std::io::Write as _;

use twinboot_protocol::Record;
use twinboot_protocol::orders::Answer;

use super::control::{End, Event};
use crate::vm::args::quote;
use crate::vm::ssh;

/// Lines of the test's standard error that are kept.
const STDERR_KEPT: usize = 40;

/// A guest test that takes orders.
#[derive(Debug)]
pub struct TestProcess {
    /// The command line that started it.
    pub command: String,
    /// Its exit status, once it has ended.
    pub exit: Option<ssh::Exit>,
    stderr: Vec<String>,
    transcript: File,
}

/// What an event of the test's SSH session means for the session.
#[derive(Debug)]
pub enum Heard {
    /// Something the round must know.
    Event(Event),
    /// The test will say nothing more.
    Ended(End),
    /// The connection broke; the guest's console may still say why.
    Broken(String),
    /// Nothing that matters to the round.
    Nothing,
}

impl TestProcess {
    /// A test that was started with `command`; orders and answers are appended to `transcript`.
    pub fn new(command: String, transcript: File) -> Self {
        Self { command, exit: None, stderr: Vec::new(), transcript }
    }

    /// The first lines of its standard error, joined.
    pub fn stderr(&self) -> String {
        self.stderr.join("\n")
    }

    /// Takes the next event of the SSH session; none means that the session has ended.
    pub fn take(&mut self, event: Option<ssh::Event>) -> Heard {
        match event {
            Some(ssh::Event::Out(line)) => self.line(&line),
            Some(ssh::Event::Err(line)) => {
                if self.stderr.len() < STDERR_KEPT {
                    self.stderr.push(String::from_utf8_lossy(&line).into_owned());
                }
                Heard::Nothing
            }
            Some(ssh::Event::Exit(exit)) => {
                let said = self.stderr();
                let said = if said.is_empty() { said } else { format!(": {said}") };
                let end = End::Lost(format!("`{}` ended with {exit}{said}", self.command));
                self.exit = Some(exit);
                Heard::Ended(end)
            }
            Some(ssh::Event::Lost(reason)) => Heard::Broken(reason),
            None => Heard::Broken("the session ended without saying why".to_owned()),
        }
    }

    fn line(&mut self, line: &[u8]) -> Heard {
        self.record(line);
        if let Ok(answer) = serde_json::from_slice::<Answer>(line) {
            return Heard::Event(Event::Answer(answer));
        }
        match serde_json::from_slice::<Record>(line) {
            Ok(Record::Preflight(preflight)) if preflight.protocol != twinboot_protocol::VERSION => {
                Heard::Ended(End::Lost(format!(
                    "the guest test speaks protocol {}, this twinboot {}: build both from one tree",
                    preflight.protocol,
                    twinboot_protocol::VERSION
                )))
            }
            Ok(Record::Failure(failure)) => Heard::Event(Event::Answer(Answer::Failed { message: failure.message })),
            _ => Heard::Nothing,
        }
    }

    /// Appends an order or a line of output to the transcript. The round goes on where that fails: only the transcript is
    /// incomplete then.
    pub fn record(&mut self, line: &[u8]) {
        let _ = self.transcript.write_all(&[line, b"\n"].concat());
    }
}

/// The command line of a test that takes orders for `threads`. Of `args`, `value` becomes `--key value`, `true` becomes
/// `--key`, and `false` is left out.
pub fn command_line(program: &str, threads: &[String], args: &[(String, String)]) -> String {
    let mut words = vec![program.to_owned(), "--interleave".to_owned(), threads.join(",")];
    for (key, value) in args {
        match value.as_str() {
            "false" => {}
            "true" => words.push(format!("--{key}")),
            value => words.extend([format!("--{key}"), value.to_owned()]),
        }
    }
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}
