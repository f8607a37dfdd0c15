//! What a test runs: a program of the image, or one that comes with the plan.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use super::context::Context;
use crate::journal::oracle::{Oracle, Speech};
use crate::plan::model::{Program, ProgramKind, Test};
use crate::plan::roots;
use crate::plan::schema::{self, Arguments, OrText, Scalar};
use crate::plan::validate::{self, Problem};
use crate::plan::yaml::KeyPath;
use crate::suggest::{did_you_mean_or, nearest, question};

/// Keys of a test that only a program of the plan's own has.
const OF_PROGRAMS: [&str; 4] = ["build", "files", "env", "oracle"];

/// The program that comes with the plan, the name to run it by, and its named arguments.
pub(super) fn resolve(
    context: Context,
    path: &KeyPath,
    raw: &schema::Test,
) -> (Option<Program>, String, BTreeMap<String, String>) {
    let (args, words) = arguments(context, &path.key("args"), &raw.args);
    let has = |key| context.document.has(&path.key(key));
    if let Some(file) = &raw.program {
        if has("run") {
            let hint = "`run` names a program of the image, `program` a file beside the plan; keep one".to_owned();
            context.document.key_error(&path.key("program"), "found both `run` and `program`", Some(hint));
        }
        let program = program(context, path, raw, file, words);
        let name = guest_name(Path::new(file));
        if let Err(Problem { message, hint }) = validate::name(&name) {
            context.document.error(&path.key("program"), message, hint);
        }
        return (Some(program), name, args);
    }
    if has("run") {
        if !context.document.damaged(&path.key("run")) {
            context.check(&path.key("run"), validate::word(&raw.run, "program"));
        }
    } else if !has("program") {
        context.document.missing(path, "run", Some("the program to run, such as `run: swap-race`".to_owned()));
    }
    for key in OF_PROGRAMS {
        if has(key) && !context.document.damaged(&path.key(key)) {
            let hint = "give the test a `program: FILE` instead of `run`, or take this out".to_owned();
            context.document.key_error(&path.key(key), format!("`{key}` is for a `program` alone"), Some(hint));
        }
    }
    if !words.is_empty() {
        let hint = "write a map, such as `args: {memory: anon}`; a list is for a `program`".to_owned();
        context.document.error(&path.key("args"), "found a list of words", Some(hint));
    }
    (None, raw.run.clone(), args)
}

/// No two programs go by the same name in the guest.
pub(super) fn check_names(context: Context, tests: &[Test]) {
    for (index, test) in tests.iter().enumerate() {
        let Some(program) = &test.program else { continue };
        let clash = tests[..index].iter().find(|other| {
            other.run == test.run
                && other
                    .program
                    .as_ref()
                    .is_none_or(|it| (&it.path, &it.kind, &it.files) != (&program.path, &program.kind, &program.files))
        });
        let clash =
            clash.or_else(|| tests[index..].iter().find(|other| other.run == test.run && other.program.is_none()));
        if let Some(other) = clash {
            let at = KeyPath::keys(&["tests"]).index(index).key("program");
            let message =
                format!("test '{}' runs another program that is called {} in the guest", other.name, test.run);
            context.document.error(&at, message, Some("rename one of the files".to_owned()));
        }
    }
}

/// What a program is called in the guest: its file name, without the ending of C source.
fn guest_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".c").unwrap_or(&name).to_owned()
}

fn arguments(context: Context, path: &KeyPath, raw: &Arguments) -> (BTreeMap<String, String>, Vec<String>) {
    match raw {
        Arguments::Named(map) => {
            let args = context.scalars(path, map);
            for key in args.keys() {
                context.check(&path.key(key), validate::word(key, "argument"));
            }
            (args, Vec::new())
        }
        Arguments::Words(words) => (BTreeMap::new(), spelled(context, path, words)),
    }
}

/// A list of scalars as they are spelled in the file, each checked to be one line.
fn spelled(context: Context, path: &KeyPath, words: &[Scalar]) -> Vec<String> {
    let word = |(index, word): (usize, &Scalar)| {
        let at = path.index(index);
        let text = context.spelled(&at, word);
        context.check(&at, validate::line(&text));
        text
    };
    words.iter().enumerate().map(word).collect()
}

fn program(context: Context, path: &KeyPath, raw: &schema::Test, file: &str, words: Vec<String>) -> Program {
    let at = path.key("program");
    let found = context.path(file);
    let build = raw.build.clone().unwrap_or_default();
    for (index, flag) in build.flags.iter().enumerate() {
        context.check(&path.key("build").key("flags").index(index), validate::line(flag));
    }
    let source = ProgramKind::Source { linked_statically: build.linked_statically, flags: build.flags };
    let kind = match inspect(&found) {
        Ok(Seen::Source) => source,
        Ok(Seen::Binary) => ProgramKind::Binary,
        Ok(Seen::Script) => ProgramKind::Script,
        Err(Problem { message, hint }) => {
            let hint = hint.or_else(|| (!found.exists()).then(|| near(&found)).flatten());
            if !context.document.damaged(&at) {
                context.document.error(&at, format!("{file}: {message}"), hint);
            }
            source
        }
    };
    if raw.build.is_some() && !matches!(kind, ProgramKind::Source { .. }) {
        let hint = "take `build` out, or name the C source".to_owned();
        context.document.key_error(
            &path.key("build"),
            "the program is not C source, so there is nothing to build",
            Some(hint),
        );
    }
    let mut files = Vec::new();
    for (index, name) in raw.files.iter().enumerate() {
        let at = path.key("files").index(index);
        let file = context.path(name);
        if name.is_empty() || !file.exists() {
            context.document.error(&at, format!("there is no file '{name}'"), near(&file));
        }
        files.push(file);
    }
    let env = context.scalars(&path.key("env"), &raw.env);
    for key in env.keys() {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !key.chars().all(legal) || key.starts_with(|c: char| c.is_ascii_digit()) || key.is_empty() {
            let hint = Some("letters, digits and `_`, and no digit first".to_owned());
            context.document.key_error(&path.key("env").key(key), format!("'{key}' cannot name a variable"), hint);
        }
    }
    let oracle = oracle(context, &path.key("oracle"), raw.oracle.as_ref());
    Program { words, files, env, oracle, ..Program::plain(found, kind) }
}

fn oracle(context: Context, path: &KeyPath, raw: Option<&OrText<schema::Oracle>>) -> Oracle {
    let plain = Oracle::by_exit();
    let raw = match raw {
        None => return plain,
        Some(OrText::Text(word)) => {
            let speaks = match word.as_str() {
                "exit" => return plain,
                "records" => Speech::Records,
                "console" => Speech::Console,
                other => {
                    let words = ["exit", "records", "console"];
                    let hint = did_you_mean_or(
                        other,
                        words,
                        "one of these words, or a map with `exit`, `output` and `still_running`",
                    );
                    context.document.error(path, format!("'{other}' is no oracle"), hint);
                    return plain;
                }
            };
            return Oracle { speaks, ..Oracle::default() };
        }
        Some(OrText::Full(raw)) => raw,
    };
    let mut oracle = Oracle { still_running: raw.still_running, ..Oracle::default() };
    let ends = |key: &str, list: &[Scalar]| -> Vec<String> {
        let path = path.key("exit").key(key);
        let words = spelled(context, &path, list);
        for (index, word) in words.iter().enumerate() {
            if word.parse::<u8>().is_err() && !is_signal(word) {
                let hint = Some("an exit status from 0 to 255, or a signal such as SIGSEGV".to_owned());
                context.document.error(&path.index(index), format!("'{word}' is no way for a program to end"), hint);
            }
        }
        words
    };
    if let Some(exit) = &raw.exit {
        oracle.failure = ends("failure", &exit.failure);
        oracle.clean = ends("clean", &exit.clean);
        if let Some(both) = oracle.failure.iter().position(|end| oracle.clean.contains(end)) {
            let at = path.key("exit").key("failure").index(both);
            context.document.error(&at, format!("{} is a failure and clean at once", oracle.failure[both]), None);
        }
    }
    let pattern = |key: &str, text: &Option<String>| -> Option<String> {
        let at = path.key("output").key(key);
        let text = text.as_ref()?;
        match regex::bytes::Regex::new(text) {
            Ok(expression) if expression.is_match(b"") => {
                let hint = Some("every line would count; name what stands in the line".to_owned());
                context.document.error(&at, "the pattern matches an empty line", hint);
            }
            Ok(_) => {}
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let hint =
                    Some("a regular expression as docs.rs/regex has them, such as `lost [0-9]+ bytes`".to_owned());
                context.document.error(&at, format!("the pattern cannot be read: {reason}"), hint);
            }
        }
        Some(text.clone())
    };
    if let Some(output) = &raw.output {
        oracle.corrupt = pattern("corrupt", &output.corrupt);
        oracle.attempt = pattern("try", &output.attempt);
        oracle.exposure = pattern("exposure", &output.exposure);
    }
    // A program that says in words what it found may end as it likes.
    if oracle.clean.is_empty() && (raw.exit.is_some() || oracle.corrupt.is_none()) {
        oracle.clean = vec!["0".to_owned()];
        oracle.clean.retain(|end| !oracle.failure.contains(end));
    }
    oracle
}

fn is_signal(word: &str) -> bool {
    word.strip_prefix("SIG")
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()))
}

enum Seen {
    Source,
    Binary,
    Script,
}

/// What the file is, by its name and its first bytes.
fn inspect(file: &Path) -> Result<Seen, Problem> {
    let problem = |message: &str, hint: &str| {
        Err(Problem { message: message.to_owned(), hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()) })
    };
    if file.is_dir() {
        return problem("is a folder", "name the program in it");
    }
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|it| it.take(4096).read_to_end(&mut head));
    if let Err(error) = read {
        return match error.kind() {
            std::io::ErrorKind::NotFound => problem("there is no such program", ""),
            _ => problem(&format!("cannot be read: {error}"), ""),
        };
    }
    if file.extension().is_some_and(|extension| extension == "c") {
        return Ok(Seen::Source);
    }
    if head.starts_with(b"#!") {
        let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.ends_with(b"\r") {
            return problem(
                "its first line ends in a carriage return, which the kernel takes for a part of the interpreter's name",
                "save it with Unix line ends (`sed -i 's/\\r$//'`)",
            );
        }
        return Ok(Seen::Script);
    }
    if head.is_empty() {
        return problem("is empty", "");
    }
    if !head.starts_with(b"\x7fELF") {
        return problem(
            "is neither C source (`.c`), nor a program, nor a script whose first line begins with `#!`",
            "",
        );
    }
    // elf(5): the class at 4, the byte order at 5, the type at 16, the machine at 18.
    let half = |at: usize| head.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if (head.get(4), head.get(5), half(18)) != (Some(&2), Some(&1), Some(EM_X86_64)) {
        return problem(
            "is a program for another architecture",
            "guests are x86-64: build it for that, or name its C source",
        );
    }
    if !matches!(half(16), Some(ET_EXEC | ET_DYN)) {
        return problem("is an object file, not a program", "link it, or name its C source");
    }
    Ok(Seen::Binary)
}

/// elf(5).
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// A file beside the missing one whose name is like its own.
fn near(file: &Path) -> Option<String> {
    let names = roots::names(file.parent()?, "");
    nearest(&file.file_name()?.to_string_lossy(), names.iter().map(String::as_str))
        .map(question)
        .or_else(|| Some("relative paths start at the plan's folder".to_owned()))
}
