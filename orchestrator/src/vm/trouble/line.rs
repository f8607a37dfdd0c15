//! One line of a console, cleaned.

/// A line as a kernel or a program meant it.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelLine {
    /// The message: no time stamp, no log level, no surrounding white space.
    pub text: String,
    /// The line for people: as it stood, without escape sequences and control characters.
    pub shown: String,
    /// The kernel's time stamp in seconds.
    pub time: Option<f64>,
}

/// The lines within one line of the console: where the kernel printed into the middle of something else, its time stamp
/// starts a line of its own. Bytes that are not UTF-8 are replaced, terminal escape sequences and control characters removed.
pub fn kernel_lines(bytes: &[u8]) -> Vec<KernelLine> {
    let clean = clean(&String::from_utf8_lossy(bytes));
    let mut lines = Vec::new();
    let mut rest = clean.as_str();
    while let Some((at, _)) = rest.match_indices('[').find(|&(at, _)| at > 0 && time_stamp(&rest[at..]).is_some()) {
        lines.push(&rest[..at]);
        rest = &rest[at..];
    }
    lines.push(rest);
    lines.into_iter().map(kernel_line).filter(|line| !line.shown.is_empty()).collect()
}

fn kernel_line(shown: &str) -> KernelLine {
    let shown = shown.trim_end();
    let (time, text) = match time_stamp(shown) {
        Some((time, length)) => (Some(time), caller(&shown[length..])),
        None => (None, shown),
    };
    KernelLine { text: text.trim().to_owned(), shown: shown.to_owned(), time }
}

/// `[   12.345678]` at the start of `text`: the seconds, and how many bytes it takes (Documentation/core-api/printk-basics.rst).
fn time_stamp(text: &str) -> Option<(f64, usize)> {
    let (inside, _) = text.strip_prefix('[')?.split_once(']')?;
    let number = inside.trim_start_matches(' ');
    let (seconds, micros) = number.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(micros) || micros.len() != 6 {
        return None;
    }
    Some((number.parse().ok()?, inside.len() + 2))
}

/// Takes `CONFIG_PRINTK_CALLER`'s `[    T1]` or `[    C0]` off.
fn caller(text: &str) -> &str {
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match inside {
        Some((id, rest)) if id.trim_start().starts_with(['T', 'C']) && id.trim_start()[1..].parse::<u32>().is_ok() => {
            rest
        }
        _ => text,
    }
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
