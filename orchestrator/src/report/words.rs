//! Numbers and foreign text as people read them.

pub(super) use crate::printable::{indented_line as drawn, json as ascii_controls, one_line};

/// `12911` as `12,911`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 round`, `2 rounds`, `12,911 exposures`.
pub(super) fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// Seconds as `18 ms`, `0.41 s`, `41 s` or `12 min 3 s`.
pub(super) fn duration(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 0.1 {
        format!("{:.0} us", seconds * 1e6)
    } else if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1e3 {
        format!("{ms:.0} ms")
    } else if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        let whole = seconds.round();
        format!("{:.0} min {:.0} s", (whole / 60.0).floor(), whole % 60.0)
    }
}

/// A rate or ratio with three significant digits: `0.653`, `3.1e-5`, `12.5`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "infinite".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor();
    if (-3.0..6.0).contains(&exponent) {
        let scale = 10f64.powf(2.0 - exponent);
        let rounded = (value * scale).round() / scale;
        // Dividing by a power of ten leaves noise in the last digits; two more than are significant are kept at most.
        let text = format!("{rounded:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        let text = format!("{value:.2e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Bytes as `512 MiB`.
pub(super) fn memory(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes >= 1 << shift {
            return format!("{} {unit}", number(bytes as f64 / f64::from(1_u32 << shift)));
        }
    }
    format!("{bytes} B")
}

/// The first 12 digits of a digest.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// At most `width` characters, the last of them three dots where something was cut.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        text.to_owned()
    } else {
        text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
    }
}

/// A long text up to the end of its first clause; short ones whole. For where the full text stands elsewhere.
pub(super) fn gist(text: &str) -> &str {
    const SHORT: usize = 160;
    if text.chars().count() <= SHORT {
        return text;
    }
    let end = [": ", ". "].iter().filter_map(|mark| text.find(mark)).min();
    end.map_or(text, |end| &text[..end])
}

/// Breaks at spaces so that no line is wider than `width`, unless one word is; later lines start with `indent`.
/// `p < 1e-6` and its like stay in one piece.
pub(super) fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    const GLUE: char = '\u{a0}';
    let glued = text.replace("p < ", "p\u{a0}<\u{a0}").replace("p = ", "p\u{a0}=\u{a0}");
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in glued.split(' ').filter(|word| !word.is_empty()) {
        let start = line.trim().is_empty();
        if !start && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            line.push_str(word);
        } else {
            if !start {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.replace(GLUE, " ")).collect()
}

/// The same with words wider than a line cut, for formats with a hard limit.
pub(super) fn wrapped_hard(text: &str, width: usize, indent: &str) -> Vec<String> {
    let room = width.saturating_sub(indent.chars().count()).max(1);
    let words: Vec<String> = text
        .split(' ')
        .flat_map(|word| {
            let letters: Vec<char> = word.chars().collect();
            letters.chunks(room).map(|part| part.iter().collect::<String>()).collect::<Vec<_>>()
        })
        .collect();
    wrapped(&words.join(" "), width, indent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(12_911_000)], ["0", "999", "1,000", "12,911,000"]);
        assert_eq!(number(0.653_21), "0.653");
        assert_eq!(number(12.5), "12.5");
        assert_eq!(number(8529.0), "8530");
        assert_eq!(number(3.1e-5), "3.1e-5");
        assert_eq!(number(f64::INFINITY), "infinite");
        assert_eq!(
            [duration(0.018), duration(0.0031), duration(41.2), duration(723.4), duration(3.04)],
            ["18 ms", "3.1 ms", "41 s", "12 min 3 s", "3.0 s"]
        );
        assert_eq!(memory(512 << 20), "512 MiB");
        assert_eq!(memory(65536), "64 KiB");
    }

    #[test]
    fn a_long_text_has_a_gist() {
        let long = format!("KVM is not usable: {}", "why. ".repeat(40));
        assert_eq!(gist(&long), "KVM is not usable");
        assert_eq!(gist("given up: three rounds in a row failed"), "given up: three rounds in a row failed");
        assert_eq!(gist(&"x".repeat(200)).len(), 200);
    }

    #[test]
    fn foreign_text_cannot_act() {
        assert_eq!(one_line("a\u{1b}[31mred\nnot ok 1\0"), "a\\u{1b}[31mred not ok 1\\u{0}");
        assert_eq!(one_line("\u{202e}txt"), "\\u{202e}txt");
    }

    #[test]
    fn wrapping_keeps_the_width() {
        let lines = wrapped("one two three four", 9, "  ");
        assert_eq!(lines, ["one two", "  three", "  four"]);
        assert_eq!(wrapped("so it goes, p < 1e-200", 16, ""), ["so it goes,", "p < 1e-200"]);
        assert!(wrapped_hard(&"x".repeat(200), 72, "  ").iter().all(|line| line.chars().count() <= 72));
    }
}
