//! Text from outside (patch titles, console lines, names) must stay text in every format.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;
use twinboot::analysis::Results;
use twinboot::journal::{Entry, journal_lines};
use twinboot::report::{FORMATS, terminal};

const JOURNAL: &str = include_str!("../data/journal.jsonl");

/// The fixture with `foreign` in every place where a text from outside may stand.
fn results(foreign: &str) -> Results {
    const PLACES: [&str; 16] = [
        "rerun",
        "text",
        "program",
        "strategy",
        "swap",
        "file",
        "subject",
        "id_of_patch",
        "cpu",
        "qemu",
        "name",
        "release",
        "compiler",
        "config_sha256",
        "load_digest",
        "reason",
    ];
    fn walk(value: &mut Value, foreign: &str) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    match inner {
                        Value::String(text) if PLACES.contains(&key.as_str()) => {
                            write!(text, " {foreign}").expect("a string takes all");
                        }
                        Value::Array(lines) if ["fingerprint", "excerpt"].contains(&key.as_str()) => {
                            for line in lines {
                                *line = format!("{} {foreign}", line.as_str().unwrap_or_default()).into();
                            }
                        }
                        Value::Array(boot) if key == "boot" => {
                            for milestone in &mut *boot {
                                milestone[0] =
                                    format!("{} {foreign}", milestone[0].as_str().unwrap_or_default()).into();
                            }
                            boot.insert(0, serde_json::json!([format!("{foreign} said"), 0.01]));
                        }
                        inner => walk(inner, foreign),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, foreign)),
            _ => {}
        }
    }
    let mut entries: Vec<Entry> = Vec::new();
    for line in JOURNAL.lines() {
        let mut value: Value = serde_json::from_str(line).expect("the fixture is JSON");
        if value["event"] == "round_finished" {
            // Records of the guest: but for the parts of a try their words are an enum's, not foreign.
            let mut foreigners = serde_json::json!({});
            for key in ["problems", "boot"] {
                foreigners[key] = value[key].take();
            }
            walk(&mut foreigners, foreign);
            for key in ["problems", "boot"] {
                value[key] = foreigners[key].take();
            }
            if let Some(profile) = value["summary"].get_mut("profile") {
                walk(profile, foreign);
            }
        } else {
            walk(&mut value, foreign);
        }
        let text = serde_json::to_string(&value).expect("JSON");
        entries.extend(journal_lines(text.as_bytes()).expect("still a journal"));
    }
    // A round that died of a foreign reason, too.
    let mut died: Value = JOURNAL
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .find(|value: &Value| value["event"] == "round_finished")
        .expect("the fixture has rounds");
    died["cell"] = "linux-6.1.count-raise.default.anon-preempt".into();
    died["round"] = 4.into();
    died["outcome"] = "guest_died".into();
    died["reason"] = foreign.into();
    entries.extend(journal_lines(died.to_string().as_bytes()).expect("a journal line"));
    // The reader lets no such names in; reports do not depend on that.
    for entry in &mut entries {
        rename(entry, &|name| write!(name, " {foreign}").expect("a string takes all"));
    }
    let results = Results::fold(entries);
    assert_eq!(results.cells.len(), 3, "the foreign text must not lose a cell");
    assert_eq!(results.cells[0].rounds.len(), 4);
    results
}

/// Changes every name that is part of a path or of an id.
pub fn rename(entry: &mut Entry, change: &impl Fn(&mut String)) {
    match entry {
        Entry::RunStarted(run) => {
            change(&mut run.plan);
            for cell in &mut run.cells {
                for name in [&mut cell.id, &mut cell.kernel, &mut cell.variant, &mut cell.guest, &mut cell.test] {
                    change(name);
                }
            }
            for pair in &mut run.comparisons {
                change(&mut pair.base);
                change(&mut pair.patched);
            }
            for cell in &mut run.forced {
                for name in [&mut cell.id, &mut cell.kernel, &mut cell.variant, &mut cell.guest, &mut cell.name] {
                    change(name);
                }
                cell.base.iter_mut().for_each(change);
            }
        }
        Entry::Built(built) => {
            change(&mut built.kernel);
            change(&mut built.variant);
        }
        Entry::BuildFailed(failed) => {
            change(&mut failed.kernel);
            change(&mut failed.variant);
        }
        Entry::Snapshot(snapshot) => {
            change(&mut snapshot.kernel);
            change(&mut snapshot.variant);
            change(&mut snapshot.guest);
        }
        Entry::RoundStarted(id) => change(&mut id.cell),
        Entry::RoundFinished(round) => change(&mut round.id.cell),
        Entry::Stopped(stopped) => change(&mut stopped.cell),
        Entry::ForcedRound(round) => change(&mut round.cell),
        Entry::ForcedFailed(failed) => change(&mut failed.cell),
        Entry::SweepTraced(traced) => change(&mut traced.cell),
        Entry::SweepTried(tried) => change(&mut tried.cell),
        Entry::Notice { .. } | Entry::RunFinished(_) => {}
    }
}

fn render(name: &str, results: &Results) -> String {
    let format = FORMATS.iter().find(|format| format.name() == name).expect("a known format");
    format.render(results).expect("renders")
}

/// Harmless text of the same shape to compare with.
const PLAIN: &str = "plain";

fn check(foreign: &str) {
    let (bad, good) = (results(foreign), results(PLAIN));

    for format in FORMATS {
        let text = format.render(&bad).expect("renders");
        let raw = text.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(raw, None, "{}: a control character", format.name());
    }

    let tags = |text: &str| text.matches('<').count();
    let (page, plain) = (render("html", &bad), render("html", &good));
    assert_eq!(tags(&page), tags(&plain), "html: a tag more or less");
    assert!(!page.to_lowercase().contains("<script") && !page.contains("<img"));

    let (xml, plain) = (render("junit", &bad), render("junit", &good));
    assert_eq!(tags(&xml), tags(&plain), "junit: a tag more or less");
    assert!(!xml.contains("]]>"));
    let report = quick_junit::Report::deserialize_from_str(&xml).expect("well-formed XML");
    assert_eq!(report.test_suites.iter().map(|suite| suite.test_cases.len()).sum::<usize>(), 3);

    for line in render("ktap", &bad).lines() {
        let line = line.trim_start();
        let known = line.starts_with("# ")
            || line == "KTAP version 1"
            || line.starts_with("1..")
            || line.strip_prefix("not ").unwrap_or(line).strip_prefix("ok ").is_some_and(|rest| {
                rest.starts_with(|digit: char| digit.is_ascii_digit())
                    && (!rest.contains('#') || rest.contains(" # SKIP "))
            });
        assert!(known, "ktap: {line}");
        let said = line.starts_with("# ") && !line.starts_with("# Subtest: ");
        assert!(!said || !(line.contains("not ok ") || line.contains(" ok ")), "ktap: {line}");
    }
    let lines = |text: &str| text.lines().count();
    assert_eq!(lines(&render("ktap", &bad)), lines(&render("ktap", &good)));

    for name in ["kcidb", "summary"] {
        let value: Value = serde_json::from_str(&render(name, &bad)).expect("JSON");
        let cells = if name == "kcidb" { &value["tests"] } else { &value["cells"] };
        assert_eq!(cells.as_array().map(Vec::len), Some(3));
    }
    assert!(!render("kcidb", &bad).contains("\\u0000"), "kcidb refuses NUL");

    let (page, plain) = (render("markdown", &bad), render("markdown", &good));
    assert_eq!(lines(&page), lines(&plain), "markdown: a line more or less");
    for line in page.lines().filter(|line| !line.starts_with("    ")) {
        let opens = |tag: &str| tag.starts_with(|first: char| first.is_alphabetic() || "/!?".contains(first));
        assert!(!line.split('<').skip(1).any(opens), "markdown: a tag: {line}");
        assert!(!line.replace("\\](", "").contains("]("), "markdown: a link: {line}");
        let item = line.trim_start_matches("- ");
        assert!(!item.starts_with('>') || line.starts_with("> "), "markdown: a quotation: {line}");
        assert!(!item.starts_with('['), "markdown: a definition or a task: {line}");
        assert!(!line.contains("@everyone"), "markdown: a mention: {line}");
    }
    let headings = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings(&page), headings(&plain));

    for line in render("mail", &bad).lines().take_while(|line| *line != "again:") {
        assert!(line.chars().count() <= 72, "mail: {line}");
        assert!(!line.starts_with("From ") && !line.starts_with("---"), "mail: {line}");
    }

    let table = terminal::render(&bad, terminal::Look::PLAIN);
    assert!(!table.chars().any(|letter| letter.is_control() && letter != '\n'), "terminal: {table}");
}

#[test]
fn known_tricks_stay_text() {
    let tricks = [
        "<script>alert(1)</script>",
        "\" onmouseover=\"alert(1)",
        "<img src=x onerror=alert(1)>",
        "</svg></title></desc><script>",
        "]]><x>",
        "&lt;&#0;",
        "{{ 7 * 7 }}{% raw %}",
        "\nnot ok 1 everything\nok 2 # SKIP",
        "# SKIP all # TODO",
        "\n1..0\nKTAP version 1",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{202e}gnp.exe\u{2066}",
        "\0\u{1}\u{8}\r\u{fffe}\u{ffff}\u{feff}\u{2028}",
        "| a | b |\n|---|---|\n# heading\n```\n[x](javascript:alert(1)) ![y](http://e)",
        "From someone\n---\ndiff --git a/x b/x\n--\n",
        "#010101 #010200 var(--ink)",
        "'; rm -rf / #",
        "%23 %25",
        "e\u{301}\u{1f600} \u{65e5}\u{672c}\u{8a9e}",
        "@everyone #1 [x]: http://e <!-- <?php > &amp",
        &"long".repeat(400),
        &"many words ".repeat(200),
    ];
    for trick in tricks {
        check(trick);
    }
    for (number, tricks) in tricks.chunks(5).enumerate() {
        keep(&format!("hostile-{number}"), &results(&tricks.join(" ")));
    }
}

/// Leaves the files where `ci/validate-reports` finds them, if `TWINBOOT_KEEP_REPORTS` names a folder for it.
fn keep(name: &str, results: &Results) {
    let Some(folder) = std::env::var_os("TWINBOOT_KEEP_REPORTS") else { return };
    let folder = std::path::Path::new(&folder).join(name);
    std::fs::create_dir_all(&folder).expect("makes the folder");
    twinboot::report::write_all(&folder, results).expect("writes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_stays_text(foreign in "[<>&\"'#\\]|`*_\\[(){}%\\\\$@!~\n\r\t\u{0}\u{1b}\u{7f}\u{9b}ok 1.:=-]{0,40}|\\PC{0,20}") {
        check(&foreign);
    }
}
