//! One line of a console, cleaned and taken apart.

/// A line as a kernel or a program meant it.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelLine {
    /// The message, without time stamp, log level, caller and surrounding white space.
    pub text: String,
    /// The line for people: as it stood, without escape sequences and control characters.
    pub shown: String,
    /// The kernel's time stamp in seconds.
    pub time: Option<f64>,
    /// The task or CPU that printed it: `T81`, `C0` (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<String>,
    /// It carries a time stamp, a caller or a log level, which only the kernel prints.
    pub stamped: bool,
}

/// The lines within one line of the console: where the kernel prints into the middle of something else, its time stamp
/// starts a line of its own. Bytes that are not UTF-8 are replaced; escape sequences and control characters are removed.
pub fn kernel_lines(bytes: &[u8]) -> Vec<KernelLine> {
    let clean = clean(&String::from_utf8_lossy(bytes));
    let mut lines = Vec::new();
    let mut rest = clean.as_str();
    // A log level may stand before the time stamp; it is no message of its own.
    let starts_inside = |text: &str, at: usize| {
        at > 0 && time_stamp(&text[at..]).is_some() && level(&text[..at]).is_none_or(|length| length < at)
    };
    while let Some((at, _)) = rest.match_indices('[').find(|&(at, _)| starts_inside(rest, at)) {
        lines.push(&rest[..at]);
        rest = &rest[at..];
    }
    lines.push(rest);
    lines.into_iter().map(kernel_line).filter(|line| !line.shown.is_empty()).collect()
}

fn kernel_line(shown: &str) -> KernelLine {
    let shown = shown.trim_end();
    let mut text = shown;
    let level = level(text);
    text = &text[level.unwrap_or(0)..];
    let stamp = time_stamp(text);
    text = &text[stamp.map_or(0, |(_, length)| length)..];
    let caller = caller(text);
    text = caller.map_or(text, |(_, rest)| rest);
    KernelLine {
        text: text.trim().to_owned(),
        shown: shown.to_owned(),
        time: stamp.map(|(time, _)| time),
        caller: caller.map(|(id, _)| id.to_owned()),
        stamped: level.is_some() || stamp.is_some() || caller.is_some(),
    }
}

/// `<4>` at the start of `text`, as `console_msg_format=syslog` prints it: how many bytes it takes.
fn level(text: &str) -> Option<usize> {
    let (inside, _) = text.strip_prefix('<')?.split_once('>')?;
    (inside.len() <= 3 && is_number(inside)).then_some(inside.len() + 2)
}

/// `[   12.345678]` at the start of `text`: the seconds, and how many bytes it takes (Documentation/core-api/printk-basics.rst).
fn time_stamp(text: &str) -> Option<(f64, usize)> {
    let (inside, _) = text.strip_prefix('[')?.split_once(']')?;
    let number = inside.trim_start_matches(' ');
    let (seconds, micros) = number.split_once('.')?;
    if !is_number(seconds) || !is_number(micros) || micros.len() != 6 {
        return None;
    }
    Some((number.parse().ok()?, inside.len() + 2))
}

/// `[    T1]` or `[    C0]` at the start of `text`: the id, and what follows (`print_caller()` of kernel/printk/printk.c).
fn caller(text: &str) -> Option<(&str, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let id = inside.trim_start_matches(' ');
    let number = id.strip_prefix(['T', 'C'])?;
    is_number(number).then_some((id, rest))
}

/// Digits and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            // ECMA-48 control sequence: ESC [, parameters, one final byte; any other escape takes one more character.
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                    chars.next();
                }
            }
            '\t' => out.push(' '),
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
    out
}
