//! What stays the same when the same trouble happens again.

use super::line::is_number;

/// Lines of a fingerprint.
const LINES: usize = 5;

/// Frames that every report of their kind has on top.
const BOILERPLATE: &[&str] = &[
    "dump_stack",
    "dump_header",
    "dump_stack_lvl",
    "show_stack",
    "__warn",
    "report_bug",
    "handle_bug",
    "panic",
    "die",
    "__die",
    "exc_invalid_op",
    "asm_exc_invalid_op",
    "print_report",
    "print_address_description",
    "kasan_report",
    "__asan_load8",
    "check_bytes_and_report",
    "print_bad_pte",
    "warn_alloc",
    "lockdep_rcu_suspicious",
    "print_circular_bug",
    "dump_page",
    "__might_resched",
    "__schedule_bug",
    "ubsan_epilogue",
    "kcsan_report",
];

/// The headline and up to four functions: where it happened, then who called.
pub(super) fn fingerprint(texts: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = texts.iter().take(1).map(|text| normalised(&without_worker(text))).collect();
    for text in texts.iter().skip(1) {
        if lines.len() == LINES {
            break;
        }
        let Some(function) = function(text) else { continue };
        if !BOILERPLATE.contains(&function) && lines.last().is_none_or(|last| last != function) {
            lines.push(function.to_owned());
        }
    }
    lines
}

/// The function of `RIP: 0010:do_swap_page+0x1f/0x8a0` or of a call trace's frame; frames with `?` are guesses.
fn function(text: &str) -> Option<&str> {
    let place = match text.strip_prefix("RIP: ") {
        Some(rip) => rip.split_once(':')?.1,
        None => text,
    };
    let (name, rest) = place.split_once("+0x")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '$';
    // `.cold`, `.isra.0` and the like are the compiler's, not the kernel's.
    let name_alone = name.split('.').next().unwrap_or(name);
    (!name.is_empty() && name.chars().all(plain) && rest.contains("/0x")).then_some(name_alone)
}

/// Workers of the kernel are named by pool, CPU and number: `kworker/u4:2` is whichever was free.
fn without_worker(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for word in &mut words {
        for name in ["kworker/", "ksoftirqd/", "migration/", "cpuhp/", "swapper/", "rcuop/", "rcuog/"] {
            if word.starts_with(name) {
                *word = &name[..name.len() - 1];
            }
        }
    }
    words.join(" ")
}

/// A line without what differs from one boot to the next: addresses become `X`, other numbers `N`, offsets into
/// functions go. Line numbers of source files stay.
pub(super) fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("+0x") {
            rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '/' || c == 'x');
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let in_source = [".c:", ".h:", ".S:", ".rs:"].iter().any(|suffix| out.ends_with(suffix));
            let is_address = ["pfn:", "pte:", "pmd:", "mm:"].iter().any(|name| out.ends_with(name));
            out.push_str(match () {
                () if in_source => word,
                () if is_address => "X",
                () => without_number(word),
            });
            if !in_source && is_duration(word) {
                out.push('s');
            }
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn without_number(word: &str) -> &str {
    let hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    match word {
        _ if word.strip_prefix("0x").is_some_and(|digits| !digits.is_empty() && hex(digits)) => "X",
        _ if is_number(word) && word.len() < 8 => "N",
        _ if word.len() >= 6 && hex(word) && has_digit => "X",
        _ if is_duration(word) => "N",
        _ => word,
    }
}

/// `22s`.
fn is_duration(word: &str) -> bool {
    word.strip_suffix('s').is_some_and(is_number)
}
