//! `mail.txt`: what one would paste under a patch, at most 72 columns wide.

use super::words::{counted, duration, memory, number, one_line, short, wrapped_hard};
use super::{Format, RenderError, markdown, story, table};
use crate::outcome::entry::RunStarted;
use crate::outcome::{CellResult, Comparison, Rate, Results, Verdict};

/// The mail format.
#[derive(Debug, Clone, Copy)]
pub struct Mail;

/// Columns that survive quoting on a mailing list.
const WIDTH: usize = 72;

impl Format for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn file_name(&self) -> &'static str {
        "mail.txt"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        let mut lines = Vec::new();
        match &results.run {
            None => lines.push("The journal holds no run: it was cut before its first line ended.".to_owned()),
            Some(run) => {
                for it in &results.comparisons {
                    lines.extend(comparison(results, it, &one_line(&run.twinboot)));
                    lines.push(String::new());
                }
                if results.comparisons.is_empty() {
                    for cell in &results.cells {
                        lines.extend(rates(cell));
                    }
                    lines.push(String::new());
                }
                lines.extend(environment(run));
            }
        }
        Ok(lines.join("\n") + "\n")
    }
}

fn comparison(results: &Results, it: &Comparison, twinboot: &str) -> Vec<String> {
    let Some((base, patched)) = results.sides(it) else { return Vec::new() };
    let setting = story::setting(results, base);
    let setting = if setting.is_empty() { setting } else { format!(" ({setting})") };
    let title = format!(
        "{} {} against {}{setting}: {}",
        patched.spec.kernel,
        patched.spec.variant,
        base.spec.variant,
        it.verdict.word()
    );
    let mut lines = told(&title, "");
    lines.push(String::new());
    lines.extend(told(&format!("{}.", story::reason(it)), "  "));
    lines.push(String::new());
    for cell in [base, patched] {
        lines.extend(rates(cell));
    }
    for (name, value) in markdown::facts(it) {
        lines.extend(told(&format!("{name}: {value}"), "  "));
    }
    for caveat in &it.caveats {
        lines.extend(told(&format!("note: {caveat}"), "  "));
    }
    for trouble in patched.kernel_trouble() {
        let rounds = counted(trouble.rounds.len() as u64, "round", "rounds");
        lines.extend(told(&format!("{} ({rounds}): {}", trouble.kind.label(), trouble.headline), "  "));
    }
    lines.push(String::new());
    lines.extend(made_from(base));
    lines.extend(made_from(patched));
    if it.verdict == Verdict::Fixed {
        lines.push(String::new());
        // git takes a trailer on one line; the name is the only thing that twinboot can't know.
        lines.push(format!("Tested-by: (your name) <(your address)> # twinboot {}", short(twinboot)));
    }
    lines
}

fn rates(cell: &CellResult) -> Vec<String> {
    let (one, more) = story::corruptions(cell);
    let rate = Rate::of(cell);
    let mut lines = told(
        &format!(
            "{}: {} in {}, {}, {} of racing",
            cell.spec.variant,
            counted(cell.totals.corruptions, one, more),
            counted(cell.totals.exposures, "exposure", "exposures"),
            counted(cell.counted_rounds(), "round", "rounds"),
            duration(cell.seconds)
        ),
        "  ",
    );
    lines.extend(told(&format!("per exposure {} (95 %)", table::rate(&rate)), "    "));
    let mut pace = Vec::new();
    pace.extend(rate.per_try.map(|value| format!("{} a try", number(value))));
    pace.extend(rate.per_second.map(|value| format!("{} a second", number(value))));
    pace.extend(cell.first_corruption_s.map(|first| format!("first after {}", duration(first))));
    lines.extend(told(&pace.join(", "), "    "));
    lines
}

fn made_from(cell: &CellResult) -> Vec<String> {
    let spec = &cell.spec;
    let mut lines = Vec::new();
    let mut guest = format!("{}: {} vCPUs, {}", spec.variant, spec.cpus, memory(spec.memory));
    if let Some(swap) = &spec.swap {
        guest = format!("{guest}, {swap}");
    }
    lines.extend(told(&guest, "  "));
    if let Some(built) = cell.built() {
        lines.extend(told(
            &format!("{}, config {}, {}", built.release, short(&built.config_sha256), built.compiler),
            "    ",
        ));
    }
    for patch in &spec.patches {
        let subject = patch.subject.as_ref().unwrap_or(&patch.file);
        let reverse = if patch.reverse { ", reversed" } else { "" };
        lines.extend(told(&format!("patch {} {subject}{reverse}", short(&patch.id)), "    "));
    }
    lines
}

fn environment(run: &RunStarted) -> Vec<String> {
    let mut lines = told(&format!("twinboot {}, {}, seed {}", run.twinboot, run.started, run.seed), "");
    lines.extend(told(&format!("{}, QEMU {}", run.accelerator.name, run.accelerator.qemu), ""));
    lines.extend(told(&format!("{}, {} CPUs, {}", run.host.cpu, run.host.cpus, run.host.kernel), ""));
    lines.push("again:".to_owned());
    lines.extend(command(&one_line(&run.rerun)));
    lines
}

/// Foreign text indented and wrapped; a line never starts with what a mail reader or git would act on (`From `, `---`).
fn told(text: &str, indent: &str) -> Vec<String> {
    let text = one_line(text);
    if text.is_empty() {
        return Vec::new();
    }
    let mut lines = wrapped_hard(&text, WIDTH - indent.len(), "  ");
    for line in &mut lines {
        if indent.is_empty() && (line.starts_with("From ") || line.starts_with("--") || line.starts_with("diff ")) {
            line.insert(0, ' ');
        }
        line.insert_str(0, indent);
    }
    lines
}

/// A shell command over several lines, each but the last ending in a backslash. A word is never broken: a line may be
/// too wide, but the command stays the same.
fn command(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in shell_words(text) {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - 6 {
            lines.push(format!("  {line} \\"));
            line = format!("  {word}");
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines.push(format!("  {line}"));
    lines
}

/// Splits at spaces outside quotes; quotes stay where they are.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (None, ' ') => words.push(String::new()),
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        if let Some(word) = words.last_mut().filter(|_| quote.is_some() || letter != ' ') {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
