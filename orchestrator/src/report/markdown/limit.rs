//! A report that has to fit where there is not room for all of it.

use super::counted;

/// Bytes kept free for the note that says what is left out.
const NOTE: usize = 4 << 10;

/// Bytes of the note for the names of sections; those that do not fit are counted.
const NAMES: usize = 3 << 10;

/// `text`, a Markdown document, in at most `limit` bytes. Whole sections are kept in order of the document as long as
/// there is room; a first section that is too long by itself is cut after a line. A note at the end names what was
/// left out. Empty if there is not even room for the note.
pub fn within(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let Some(room) = limit.checked_sub(NOTE) else { return String::new() };
    let mut kept = String::new();
    let mut left_out = Vec::new();
    for section in sections(text) {
        if kept.len() + section.len() <= room {
            kept += section;
        } else if kept.is_empty() {
            let cut = cut(section, room);
            kept += cut;
            left_out.push(format!("{} of the overview", counted(lines(&section[cut.len()..]), "line", "lines")));
        } else {
            left_out.push(title(section));
        }
    }
    kept + &note(&left_out)
}

/// The text before the first second-level heading, then each heading with what follows it. Headings inside a fenced
/// block are text.
fn sections(text: &str) -> Vec<&str> {
    let (mut starts, mut fenced, mut at) = (vec![0], false, 0);
    for line in text.split_inclusive('\n') {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with("## ") && at > 0 {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

/// As many whole lines as fit into `room` bytes.
fn cut(section: &str, room: usize) -> &str {
    let mut end = 0;
    for line in section.split_inclusive('\n') {
        if end + line.len() > room {
            break;
        }
        end += line.len();
    }
    &section[..end]
}

fn lines(text: &str) -> u64 {
    text.lines().count() as u64
}

fn title(section: &str) -> String {
    let line = section.lines().next().unwrap_or_default();
    let title: String = line.trim_start_matches('#').trim().chars().take(120).collect();
    format!("\u{201c}{title}\u{201d}")
}

fn note(left_out: &[String]) -> String {
    let mut named = String::new();
    let mut left = left_out.iter();
    for name in left.by_ref() {
        named += if named.is_empty() { "" } else { "; " };
        named += name;
        if named.len() > NAMES - 600 {
            break;
        }
    }
    let more = left.count() as u64;
    if more > 0 {
        named = format!("{named}; {}", counted(more, "more section", "more sections"));
    }
    format!("\n---\n\n**Left out here for want of room:** {named}. The whole report is `report.md`.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_fits_stays_as_it_is() {
        assert_eq!(within("# a\n", 4), "# a\n");
    }

    #[test]
    fn sections_that_do_not_fit_are_named() {
        let text = format!("# plan\n\n## First\n\nkept\n## Long\n{}## Last\n\nkept too\n", "x\n".repeat(9000));
        let short = within(&text, 12 << 10);
        assert!(short.len() <= 12 << 10);
        assert!(short.contains("## First\n\nkept\n## Last\n\nkept too\n"), "{short}");
        assert!(short.ends_with("\u{201c}Long\u{201d}. The whole report is `report.md`.\n"), "{short}");
    }

    #[test]
    fn an_overview_that_is_too_long_is_cut_after_a_line() {
        let text = "| a row |\n".repeat(2000);
        let short = within(&text, 8 << 10);
        assert!(short.len() <= 8 << 10);
        assert!(short.starts_with("| a row |\n") && short.contains("| a row |\n\n---"), "{short}");
        assert!(short.contains("1,591 lines of the overview"), "{}", &short[short.len() - 200..]);
    }

    #[test]
    fn a_heading_in_a_block_is_text() {
        assert_eq!(sections("a\n```\n## b\n```\n## c\n"), ["a\n```\n## b\n```\n", "## c\n"]);
    }

    #[test]
    fn names_are_bounded_whatever_their_number() {
        let text = format!("## {}\n", "l\u{f6}\u{1f4a5}g".repeat(200)).repeat(5000);
        let short = within(&text, 64 << 10);
        assert!(short.len() <= 64 << 10 && short.contains("more sections"));
    }

    #[test]
    fn without_room_there_is_nothing() {
        assert_eq!(within(&"x".repeat(100), 99), "");
    }
}
