//! `mail.txt`: what one would paste under a patch, at most 72 columns wide.

use super::words::{counted, duration, gist, number, one_line, short, wrapped_hard};
use super::{Format, RenderError, forced, markdown, story, table, window};
use crate::analysis::{CellResult, Comparison, Rate, Results, Verdict};
use crate::journal::entry::RunStarted;

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
        if let Some(incomplete) = story::incomplete(results) {
            lines.extend(told(incomplete, ""));
            lines.push(String::new());
        }
        if let Some(run) = &results.run {
            for it in &results.comparisons {
                lines.extend(comparison(results, it, &one_line(&run.twinboot)));
                lines.push(String::new());
            }
            lines.extend(drawings(results));
            lines.extend(sweeps(results));
            if results.comparisons.is_empty() && !results.cells.is_empty() {
                let cells: Vec<&CellResult> = results.cells.iter().collect();
                lines.extend(cells.iter().flat_map(|cell| rates(cell)));
                lines.extend(made_from(&cells));
                lines.push(String::new());
            }
            lines.extend(environment(results, run));
        }
        Ok(lines.join("\n").trim_end().to_owned() + "\n")
    }
}

fn comparison(results: &Results, it: &Comparison, twinboot: &str) -> Vec<String> {
    let Some((base, patched)) = results.sides(it) else { return Vec::new() };
    let mut lines = told(&story::sentence(results, it, "->"), "");
    lines.push(String::new());
    if it.verdict != Verdict::Fixed {
        lines.extend(told(&format!("{}.", markdown::capital(&story::reason(it))), "  "));
        lines.push(String::new());
    }
    lines.extend(made_from(&[base, patched]));
    lines.push(String::new());
    for cell in [base, patched] {
        lines.extend(rates(cell));
    }
    for words in &it.contradictions {
        lines.extend(told(&format!("CONTRADICTION: {words}"), "  "));
    }
    for (name, value) in markdown::facts(it).into_iter().chain(markdown::forced_facts(results, it)) {
        lines.extend(told(&format!("{name}: {value}"), "  "));
    }
    for caveat in &it.caveats {
        lines.extend(told(&format!("note: {caveat}"), "  "));
    }
    for trouble in patched.kernel_trouble() {
        let rounds = counted(trouble.rounds.len() as u64, "round", "rounds");
        lines.extend(told(&format!("{} ({rounds}): {}", trouble.kind.label(), trouble.headline), "  "));
    }
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
    if cell.totals.corruptions > 0 {
        pace.extend(rate.per_try.map(|value| format!("{} a try", number(value))));
        pace.extend(rate.per_second.map(|value| format!("{} a second", number(value))));
        pace.extend(cell.first_corruption_s.map(|first| format!("first after {}", duration(first))));
    }
    lines.extend(told(&pace.join(", "), "    "));
    lines
}

/// Each drawing with what became of it: the page to put under a patch.
fn drawings(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for drawing in forced::drawings(results) {
        lines.extend(told(&drawing.title(), ""));
        lines.push(String::new());
        for (line, note) in drawing.lines(WIDTH - 4) {
            let marked = forced::marked(&line, note.as_deref(), WIDTH - 4);
            lines.extend(marked.iter().map(|line| format!("    {line}")));
        }
        lines.push(String::new());
        for result in &drawing.variants {
            lines.extend(told(&format!("{}: {}", result.spec.variant, forced::told(result, "->")), "  "));
            for it in &result.exclusions {
                lines.extend(told(&format!("{}:", forced::exclusion(it)), "    "));
                let stack = it.waiting().map_or_else(Vec::new, |state| forced::stack(&state.stack));
                lines.extend(stack.iter().flat_map(|frame| told(frame, "      ")));
            }
        }
        for it in drawing.variants.iter().filter_map(|result| results.forced_comparison(&result.spec.id)) {
            lines.push(String::new());
            lines.extend(told(&format!("{}.", forced::sentence(results, it, "->")), "  "));
            lines.extend(told(&format!("{}.", markdown::capital(&forced::reason(results, it))), "  "));
        }
        lines.push(String::new());
    }
    lines
}

fn sweeps(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for sweep in &results.sweeps {
        lines.extend(told(&format!("{}, {}", forced::sweep_title(sweep), sweep.spec.variant), ""));
        lines.push(String::new());
        lines.extend(told(&format!("{}.", markdown::capital(&forced::what(sweep))), "  "));
        let rest = forced::rest(&sweep.counts);
        let rest = if rest.is_empty() { rest } else { format!(" ({rest})") };
        lines.extend(told(&format!("{}{rest}.", forced::swept(sweep)), "  "));
        if let Some(it) = results.forced_comparison(&sweep.spec.id) {
            let reason = forced::reason(results, it);
            lines.extend(told(&format!("Against {}: {}: {reason}.", it.base_variant, it.verdict.word()), "  "));
        }
        let map = window::text(sweep, WIDTH - 2, 0, &window::HARM);
        if !map.is_empty() {
            lines.push(String::new());
            lines.extend(told(&window::legend(), "  "));
            lines.extend(map.iter().map(|line| format!("  {line}")));
        }
        lines.push(String::new());
    }
    if !results.sweeps.is_empty() || !results.forced.is_empty() {
        for (id, parts) in markdown::forced_made_from(results) {
            lines.extend(told(&format!("{id}: {}", parts.join("; ")), ""));
        }
        for (what, reason) in forced::failures(results) {
            lines.extend(told(&format!("{what}: {reason}"), ""));
        }
        for (id, trouble) in forced::trouble(results).flat_map(|(id, all)| all.iter().map(move |it| (id, it))) {
            let rounds = counted(trouble.rounds.len() as u64, "round", "rounds");
            lines.extend(told(&format!("{id}: {} ({rounds}): {}", trouble.kind.label(), trouble.headline), ""));
        }
    }
    lines
}

/// What kernels and guests the cells had: what they share once, and what each has of its own.
fn made_from(cells: &[&CellResult]) -> Vec<String> {
    type Part = fn(&CellResult) -> String;
    let kernel: Part = |cell| cell.built().map_or_else(|| "not built".to_owned(), markdown::kernel);
    let guest: Part = |cell| markdown::guest(&cell.spec);
    let mut lines = Vec::new();
    let mut own: Vec<Vec<String>> = vec![Vec::new(); cells.len()];
    for (name, part) in [("base version", kernel), ("guest", guest)] {
        if cells.windows(2).all(|pair| part(pair[0]) == part(pair[1])) {
            lines.extend(cells.first().map(|cell| told(&format!("{name}: {}", part(cell)), "  ")).unwrap_or_default());
        } else {
            cells.iter().zip(&mut own).for_each(|(cell, own)| own.push(part(cell)));
        }
    }
    for (cell, mut own) in cells.iter().zip(own) {
        own.extend(cell.spec.patches.iter().map(|patch| {
            let subject = patch.subject.as_ref().unwrap_or(&patch.file);
            format!("patch id {} {subject}{}", short(&patch.id), if patch.reverse { ", reversed" } else { "" })
        }));
        if cell.spec.patches.is_empty() {
            own.push("no patch".to_owned());
        }
        match own.as_slice() {
            [only] => lines.extend(told(&format!("{}: {only}", cell.spec.variant), "  ")),
            several => {
                lines.extend(told(&format!("{}:", cell.spec.variant), "  "));
                lines.extend(several.iter().flat_map(|it| told(it, "    ")));
            }
        }
    }
    lines
}

fn environment(results: &Results, run: &RunStarted) -> Vec<String> {
    let mut lines = told(&format!("twinboot {}, {}, seed {}", run.twinboot, run.started, run.seed), "");
    lines.extend(told(&format!("{}, QEMU {}", run.accelerator.name, run.accelerator.qemu), ""));
    lines.extend(told(&format!("{}, {} CPUs, {}", run.host.cpu, run.host.cpus, run.host.kernel), ""));
    if let Some(words) = run.load_words() {
        lines.extend(told(&format!("guests: {words}"), ""));
    }
    for notice in &results.notices {
        lines.extend(told(&format!("note: {}", gist(&one_line(notice))), ""));
    }
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
