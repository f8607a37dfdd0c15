//! Errors of every kind, at their places.

use std::path::Path;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Recipe {
    name: String,
    files: Vec<Item>,
    #[serde(default)]
    size: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Item {
    from: String,
    mode: Option<u32>,
}

fn errors(text: &str) -> String {
    parse::<Recipe>(text, Path::new("r.yaml")).expect_err("something is wrong with it").to_string()
}

#[test]
fn a_good_file_is_read() {
    let recipe: Recipe = parse("name: a\nfiles: [{from: b}]\n", Path::new("r.yaml")).expect("nothing is wrong");
    assert_eq!(recipe, Recipe { name: "a".into(), files: vec![Item { from: "b".into(), mode: None }], size: 0 });
}

#[test]
fn indices_stay_those_of_the_file_when_items_before_are_unreadable() {
    insta::assert_snapshot!(errors("name: 6.1\nfiles:\n- 7\n- {from: a, mdoe: 1}\n- {mode: x}\n- 8\nsiez: 2\nsize: -3\n"), @r"
    r.yaml:1:7: name: found number 6.1, expected text (write it in quotes: '6.1')
    r.yaml:3:3: files[0]: found number 7, expected a map
    r.yaml:4:13: files[1].mdoe: unknown key `mdoe` (did you mean `mode`?)
    r.yaml:5:3: files[2]: missing key `from`
    r.yaml:5:10: files[2].mode: found text 'x', expected a whole number, 0 or more
    r.yaml:6:3: files[3]: found number 8, expected a map
    r.yaml:7:1: siez: unknown key `siez` (did you mean `size`?)
    r.yaml:8:7: size: found number -3, expected a whole number, 0 or more
    ");
}

#[test]
fn every_duplicate_key_is_told_with_the_other_errors() {
    insta::assert_snapshot!(errors("name: a\nname: b\nfiles: []\nsize: x\nfiles: []\n"), @r"
    r.yaml:2:1: name: duplicate key `name` (it stands on line 1 already; keep one of them)
    r.yaml:4:7: size: found text 'x', expected a whole number, 0 or more
    r.yaml:5:1: files: duplicate key `files` (it stands on line 3 already; keep one of them)
    ");
}

#[test]
fn a_syntax_error_has_its_place() {
    let mut told = String::new();
    for text in
        ["name: a\nfiles: [\n", "", "name: *nowhere\n", "[1, 2", "name: !secret a\n", "a: 1\n---\nb: 2\n", "a: \tb: c"]
    {
        told.push_str(&errors(text));
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r"
    r.yaml:2:9: cannot be read as YAML: did not find expected node content, while parsing a flow node
    r.yaml:1:1: missing key `name`
    r.yaml:1:7: cannot be read as YAML: unknown anchor
    r.yaml:1:6: cannot be read as YAML: did not find expected ',' or ']', while parsing a flow sequence
    r.yaml:1:7: cannot be read as YAML: name: the tag `secret` has no meaning here; take it out
    r.yaml:2:1: a second document begins here (keep one document in a file; `---` begins the next one)
    r.yaml:1:6: cannot be read as YAML: mapping values are not allowed in this context
    ");
}

/// What the error about the last word of each line of `name` is about: line, column, and the text
/// there.
fn words(text: &str) -> Vec<(usize, usize, String)> {
    let (value, document) = Document::read::<std::collections::BTreeMap<String, String>>(text, Path::new("r.yaml"));
    let value = value.expect("it can be read");
    for (row, line) in value["name"].lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let word = line.split(' ').next_back().unwrap_or_default();
        let length = word.chars().count();
        let place = (row, line.chars().count() - length, length);
        document.text_error(&KeyPath::keys(&["name"]), place, row.to_string(), None);
    }
    let found = document.into_diagnostics();
    let place = |it: &Diagnostic| (it.at.line, it.at.column, text[it.at.offset..it.at.offset + it.at.len].to_owned());
    found.list().iter().map(place).collect()
}

#[test]
fn errors_in_a_literal_block_are_at_their_characters() {
    let two = |line: usize, column: usize| {
        vec![(line, column + 4, "öne".to_owned()), (line + 1, column + 2, "two".to_owned())]
    };
    for (text, line, column) in [
        ("name: |\n  the öne\n    two\n", 2, 3),
        ("a: b\nname: |- # said of it\n      the öne\n        two\nc: d\n", 3, 7),
        ("name:\n  |\n  the öne\n    two", 3, 3),
        ("name: &n !!str |+\n\n\n  the öne\n    two\n\n\nc: *n\n", 4, 3),
        ("name: |\r\n  the öne\r\n    two\r\n", 2, 3),
    ] {
        assert_eq!(words(text), two(line, column), "{text}");
    }
    let indented = words("name: |2\n    the öne\n   two\n");
    assert_eq!(indented, [(2, 9, "öne".to_owned()), (3, 4, "two".to_owned())]);
}

#[test]
fn errors_in_another_text_are_about_all_of_it() {
    for text in ["name: 'the öne two'\n", "name: the öne two\n"] {
        let all = words(text);
        assert_eq!((all.len(), all[0].0, all[0].1), (1, 1, 7), "{text}");
    }
    let folded = words("name: >\n  the öne\n  two\n");
    assert_eq!((folded.len(), folded[0].1), (1, 3));
    assert_eq!(words("name: \"the öne\\n  two\"\n")[1].0, 1);
}

#[test]
fn merge_keys_take_in_what_is_not_there() {
    let text = "name: a\nfiles:\n- &one {from: one, mode: 1}\n- &two {mode: 2}\n- {<<: *one, mode: 3}\n- {<<: [*two, *one]}\n- {<<: *two, from: x, mode: y}\n";
    let told = errors(text);
    assert_eq!(
        told,
        "r.yaml:4:8: files[1]: missing key `from`\nr.yaml:7:29: files[4].mode: found text 'y', expected a whole number, 0 or more"
    );
    let good = text.replace("&two {mode: 2}", "&two {from: two, mode: 2}").replace("mode: y", "mode: 9");
    let recipe: Recipe = parse(&good, Path::new("r.yaml")).unwrap_or_else(|errors| panic!("{errors}"));
    let files: Vec<_> = recipe.files.iter().map(|it| (it.from.as_str(), it.mode)).collect();
    assert_eq!(files, [("one", Some(1)), ("two", Some(2)), ("one", Some(3)), ("two", Some(2)), ("x", Some(9))]);
}

#[test]
fn errors_in_a_merged_map_are_where_it_is_written() {
    let told = errors("name: a\nfiles:\n- &one {from: one, mode: -1}\n- {<<: *one}\n");
    assert_eq!(
        told,
        "r.yaml:3:26: files[0].mode: found number -1, expected a whole number, 0 or more\nr.yaml:3:26: files[1].mode: found number -1, expected a whole number, 0 or more"
    );
}

#[test]
fn numbers_are_told_as_they_are_spelled() {
    for spelling in ["6.10", "7350e10", "0x1F", ".5", "1e3"] {
        let told = errors(&format!("name: {spelling}\nfiles: []\n"));
        let expected = format!("found number {spelling}, expected text (write it in quotes: '{spelling}')");
        assert!(told.ends_with(&expected), "{told}");
    }
}

#[test]
fn an_alias_stands_for_its_anchor() {
    let recipe: Recipe = parse("name: &n a\nfiles: [{from: *n}]\n", Path::new("r.yaml")).expect("aliases are YAML");
    assert_eq!(recipe.files[0].from, "a");
}
