//! Every report of forced interleavings and sweeps, as committed, and beside races that say something else.

use std::path::Path;

use serde_json::Value;
use twinboot::analysis::forced::ForcedVerdict;
use twinboot::analysis::{Reason, Results, Verdict, exit_code};
use twinboot::journal::interleaving::ForcedOutcome;
use twinboot::journal::{Entry, journal_lines};
use twinboot::report::{self, FORMATS, Format as _, terminal};

use crate::report_hostile::rename;

const FORCED: &str = include_str!("../data/forced.jsonl");
const RACES: &str = include_str!("../data/journal.jsonl");

fn entries(text: &str) -> Vec<Entry> {
    journal_lines(text.as_bytes()).expect("the journal is well-formed")
}

fn results() -> Results {
    Results::fold(entries(FORCED))
}

/// The run of races with the forced cells of the other; `change` may touch the forced entries.
fn both(change: impl Fn(&mut Entry)) -> Results {
    let mut forced = entries(FORCED);
    forced.iter_mut().for_each(change);
    let mut all = entries(RACES);
    if let (Some(Entry::RunStarted(run)), Some(Entry::RunStarted(more))) = (all.first_mut(), forced.first()) {
        run.forced.clone_from(&more.forced);
    }
    all.extend(forced.into_iter().skip(1).filter(|entry| !matches!(entry, Entry::ForcedFailed(_))));
    Results::fold(all)
}

/// The merged fix corrupts after all, when it is forced.
fn contradicted() -> Results {
    both(|entry| {
        if let Entry::ForcedRound(round) = entry
            && let ForcedOutcome::Excluded { damage, .. } = &mut round.outcome
        {
            let kind = twinboot_protocol::CorruptionKind::LostUpdate;
            let (expected, found) = ("generation 4".into(), "generation 3".into());
            *damage = Some(twinboot_protocol::orders::Damage { object: "page".into(), kind, expected, found });
        }
    })
}

/// Leaves the files where `ci/validate-reports` finds them, if `TWINBOOT_KEEP_REPORTS` names a folder for it.
fn keep(name: &str, results: &Results) {
    let Some(folder) = std::env::var_os("TWINBOOT_KEEP_REPORTS") else { return };
    let folder = Path::new(&folder).join(name);
    std::fs::create_dir_all(&folder).expect("makes the folder");
    report::write_all(&folder, results).expect("writes");
}

#[test]
fn words_of_the_fixture() {
    let results = results();
    let words: Vec<ForcedVerdict> = results.forced_comparisons.iter().map(|it| it.verdict).collect();
    assert_eq!(
        words,
        [ForcedVerdict::Closed, ForcedVerdict::NotClosed, ForcedVerdict::Closed, ForcedVerdict::Narrowed]
    );
    assert_eq!(exit_code(&results), 2, "one of its drawings names a function that does not exist");
}

#[test]
fn every_file_of_a_run_with_forced_cells_alone() {
    let results = results();
    keep("forced", &results);
    insta::assert_snapshot!("terminal", terminal::render(&results, terminal::Look::PLAIN));
    insta::assert_snapshot!("terminal_narrow", terminal::render(&results, terminal::Look { width: 60, fancy: true }));
    for format in FORMATS {
        let text = format.render(&results).expect("renders");
        insta::assert_snapshot!(format.file_name(), text);
        assert_eq!(text, format.render(&results).expect("renders"), "{} differs the second time", format.name());
    }
}

#[test]
fn forced_evidence_stands_beside_the_races() {
    let results = both(|_| {});
    keep("forced-and-races", &results);
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.forced.len()), (Verdict::Fixed, 2));
    for format in FORMATS {
        let text = format.render(&results).expect("renders");
        assert!(text.contains("closed"), "{}: no forced evidence", format.name());
        let body = text.rsplit("</style>").next().unwrap_or_default().to_lowercase();
        assert!(!body.contains("contradiction") || format.name() == "kcidb", "{}", format.name());
    }
    insta::assert_snapshot!("both_mail", report::Mail.render(&results).expect("renders"));
}

#[test]
fn a_contradiction_is_shown_in_every_format() {
    let results = contradicted();
    keep("contradicted", &results);
    let it = &results.comparisons[0];
    assert_eq!((it.verdict, it.reason), (Verdict::NotFixed, Reason::ForcedCorruption));
    assert_eq!(exit_code(&results), 1);
    for format in FORMATS {
        let text = format.render(&results).expect("renders").to_lowercase();
        assert!(text.contains("contradiction"), "{}", format.name());
        let told: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("the races alone would say fixed"), "{}", format.name());
    }
    let told = terminal::render(&results, terminal::Look::PLAIN);
    assert!(told.contains("! contradiction: the races alone would say fixed"), "{told}");
    insta::assert_snapshot!("contradicted_terminal", told);
    insta::assert_snapshot!("contradicted_markdown", report::Markdown.render(&results).expect("renders"));
}

#[test]
fn a_run_of_races_has_none_of_it() {
    let results = Results::fold(entries(RACES));
    for format in FORMATS {
        let text = format.render(&results).expect("renders").to_lowercase();
        for word in ["forced", "sweep", "contradiction", "window map"] {
            assert!(!text.contains(word), "{}: {word}", format.name());
        }
    }
}

#[test]
fn a_sweep_cut_anywhere_reports() {
    let whole: Vec<Entry> = entries(FORCED);
    for cut in 1..whole.len() {
        let results = Results::fold(whole[..cut].iter().cloned());
        terminal::render(&results, terminal::Look { width: 40, fancy: true });
        for format in FORMATS {
            format.render(&results).expect("renders");
        }
    }
}

/// The fixture with `foreign` behind every text from outside.
fn hostile(foreign: &str) -> Results {
    const PLACES: [&str; 16] = [
        "program",
        "swap",
        "text",
        "function",
        "instruction",
        "inlined",
        "file",
        "source",
        "illegal",
        "reason",
        "expected",
        "found",
        "thread",
        "state",
        "victim",
        "rerun",
    ];
    const LISTS: [&str; 5] = ["drawing", "threads", "interferers", "functions", "callees"];
    fn walk(value: &mut Value, foreign: &str) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    match inner {
                        // The accelerator's name decides what may be added up, an event's what it is.
                        Value::String(text) if PLACES.contains(&key.as_str()) && text != "tcg" => {
                            *text = format!("{text} {foreign}");
                        }
                        Value::Array(items) if LISTS.contains(&key.as_str()) => {
                            for item in items {
                                match item {
                                    Value::String(text) => *text = format!("{text} {foreign}"),
                                    other => walk(other, foreign),
                                }
                            }
                        }
                        inner => walk(inner, foreign),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, foreign)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    for line in FORCED.lines() {
        let mut value: Value = serde_json::from_str(line).expect("the fixture is JSON");
        walk(&mut value, foreign);
        all.extend(entries(&value.to_string()));
    }
    // The reader lets no such names in; reports do not depend on that.
    for entry in &mut all {
        rename(entry, &|name| *name = format!("{name} {foreign}"));
    }
    let results = Results::fold(all);
    assert_eq!((results.forced.len(), results.sweeps.len()), (4, 3), "the foreign text must not lose a cell");
    assert_eq!(results.forced_comparisons.len(), 4);
    results
}

#[test]
fn foreign_names_stay_text() {
    let tricks = [
        "<script>alert(1)</script>",
        "\" onmouseover=\"alert(1)",
        "a<b>::c&d|e<T>",
        "</pre></td></table></svg><script>",
        "]]><x>&lt;&#0;",
        "{{ 7 * 7 }}{% raw %}",
        "\nnot ok 1 everything\nok 2 # SKIP\n1..0\nKTAP version 1",
        "\u{1b}[2J\u{1b}]0;title\u{7}\0\r\u{fffe}\u{2028}\u{202e}",
        "| a | b |\n|---|---|\n# heading\n```\n[x](javascript:alert(1))",
        "From someone\n---\ndiff --git a/x b/x\n--\n",
        "@everyone #1 <!-- <?php >",
        &"long".repeat(100),
        &"many words ".repeat(40),
    ];
    for (number, trick) in tricks.iter().enumerate() {
        let results = hostile(trick);
        if number % 3 == 2 {
            keep(&format!("forced-hostile-{number}"), &results);
        }
        check(&results, trick);
    }
}

fn check(results: &Results, trick: &str) {
    let text = |name: &str| {
        let format = FORMATS.iter().find(|format| format.name() == name).expect("a known format");
        format.render(results).expect("renders")
    };
    for format in FORMATS {
        let text = format.render(results).expect("renders");
        let raw = text.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(raw, None, "{}: a control character of {trick:?}", format.name());
    }
    let page = text("html");
    let plain = report::Html.render(&hostile("plain")).expect("renders");
    assert_eq!(page.matches('<').count(), plain.matches('<').count(), "html: a tag more or less by {trick:?}");
    assert!(!page.to_lowercase().contains("<script"));
    let xml = quick_junit::Report::deserialize_from_str(&text("junit")).expect("well-formed XML");
    assert_eq!(xml.test_suites.iter().map(|suite| suite.test_cases.len()).sum::<usize>(), 7);
    for line in text("ktap").lines() {
        let line = line.trim_start();
        let result = line.strip_prefix("not ").unwrap_or(line).starts_with("ok ");
        assert!(
            result || line.starts_with("# ") || line == "KTAP version 1" || line.starts_with("1.."),
            "ktap: {line}"
        );
    }
    let value: Value = serde_json::from_str(&text("kcidb")).expect("JSON");
    assert_eq!(value["tests"].as_array().map(Vec::len), Some(7));
    for line in text("markdown").lines().filter(|line| !line.starts_with("    ")) {
        let opens = |tag: &str| tag.starts_with(|first: char| first.is_alphabetic() || "/!?".contains(first));
        assert!(!line.split('<').skip(1).any(opens), "markdown: a tag: {line}");
        assert!(!line.replace("\\](", "").contains("]("), "markdown: a link: {line}");
        assert!(!line.contains("@everyone"), "markdown: a mention: {line}");
        let bars = line.replace("\\|", "").matches('|').count();
        assert!(!line.starts_with('|') || bars == 6, "markdown: {bars} bars: {line}");
    }
    let headings = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
    let plain = report::Markdown.render(&hostile("plain")).expect("renders");
    assert_eq!(headings(&text("markdown")), headings(&plain));
    for line in text("mail").lines().take_while(|line| *line != "again:") {
        assert!(line.chars().count() <= 72, "mail: {line}");
        assert!(!line.starts_with("From ") && !line.starts_with("---"), "mail: {line}");
    }
    let table = terminal::render(results, terminal::Look::PLAIN);
    assert!(!table.chars().any(|letter| letter.is_control() && letter != '\n'), "terminal: {table}");
}
