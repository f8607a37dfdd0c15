//! Configuration fragments: the lines of a `.config`, as people write them.
//!
//! Kconfig's own reader (`conf_read_simple` in `scripts/kconfig/confdata.c`) passes over a line
//! that it cannot read, with a warning at most. Here such a line is an error: the option would keep
//! a value that nobody asked for.

use std::path::Path;

use super::options::{Asked, BadLine, Error, Origin, is_name};
use crate::plan::validate;

/// Marks, at the end of a comment, that the option on the next line may be missing in the result.
const OPTIONAL: &str = "# optional";

/// Reads a fragment. Comments may use any encoding, values must be UTF-8.
///
/// # Errors
///
/// Every line that is neither an option nor a comment.
pub fn parse_fragment(bytes: &[u8], path: &Path) -> Result<Vec<Asked>, Error> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let message = "the file is UTF-16 text; save it as UTF-8".to_owned();
        return Err(Error::Syntax { lines: vec![BadLine { path: path.to_path_buf(), line: 1, message }] });
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut asked = Vec::new();
    let mut bad = Vec::new();
    let mut optional = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let read = if line.starts_with('#') { unset(line) } else { set(line) };
        let is_option = match read {
            Ok(Some((name, value))) => {
                let origin = Origin::Fragment { path: path.to_path_buf(), line: index + 1 };
                asked.push(Asked { name: name.to_owned(), value: value.to_owned(), origin, optional });
                true
            }
            Ok(None) => false,
            Err(message) => {
                bad.push(BadLine { path: path.to_path_buf(), line: index + 1, message });
                true
            }
        };
        optional = !is_option && line.ends_with(OPTIONAL);
    }
    if bad.is_empty() { Ok(asked) } else { Err(Error::Syntax { lines: bad }) }
}

/// The option that a `#` line turns off; none for an ordinary comment.
fn unset(line: &str) -> Result<Option<(&str, &str)>, String> {
    let Some(option) = line[1..].trim_start().strip_prefix("CONFIG_") else { return Ok(None) };
    let end = option.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(option.len());
    let (name, said) = option.split_at(end);
    // Kconfig compares no further than this, so that a comment may follow.
    let rest = said.strip_prefix(" is not set").filter(|rest| !rest.starts_with(char::is_alphanumeric));
    if rest.is_some() && line.starts_with("# C") && !name.is_empty() {
        return Ok(Some((name, "n")));
    }
    let words: Vec<String> = said.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if matches!(words.as_slice(), ["is", "not", "set", ..] | ["not", "set"] | ["is", "unset"] | ["unset"]) {
        return Err(format!("`{line}` is a comment for Kconfig; write `# CONFIG_{name} is not set`"));
    }
    Ok(None)
}

/// The option that a line sets; none for an empty line.
fn set(line: &str) -> Result<Option<(&str, &str)>, String> {
    if line.is_empty() {
        return Ok(None);
    }
    let no_option =
        |hint: &str| Err(format!("`{line}` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment{hint}"));
    let Some(option) = line.strip_prefix("CONFIG_") else {
        let bare = line.strip_prefix("export ").unwrap_or(line);
        let bare = if bare.to_ascii_uppercase().starts_with("CONFIG_") { &bare["CONFIG_".len()..] } else { bare };
        return match bare.split_once('=') {
            Some((name, value)) if is_name(name) => {
                no_option(&format!("; write `CONFIG_{}={value}`", name.to_ascii_uppercase()))
            }
            _ => no_option(""),
        };
    };
    let Some((name, value)) = option.split_once('=') else {
        return match option.split_once(' ') {
            Some((name, "is not set")) => no_option(&format!("; write `# CONFIG_{name} is not set`")),
            _ => no_option(""),
        };
    };
    let (name, value) = match (name.trim_end(), value.trim_start()) {
        trimmed if trimmed != (name, value) && is_name(trimmed.0) => {
            let (name, value) = trimmed;
            return Err(format!("`{line}` has blanks around the `=`; write `CONFIG_{name}={value}`"));
        }
        _ if !is_name(name) => return no_option(""),
        trimmed => trimmed,
    };
    let (value, behind) = cut(value);
    // Behind a text Kconfig passes over everything, behind any other value over nothing.
    if behind.starts_with('#') && !value.starts_with('"') {
        return Err(format!(
            "`{line}` has a comment behind the value, and Kconfig would take `{behind}` for a part of it; put the \
             comment on a line of its own"
        ));
    }
    if !behind.is_empty() && !behind.starts_with('#') {
        return Err(format!("`{line}` has `{behind}` behind the value; take it out"));
    }
    if value.is_empty() {
        return Err(format!(
            "CONFIG_{name} has no value; write `# CONFIG_{name} is not set` to turn it off, or `CONFIG_{name}=\"\"` for \
             an empty text"
        ));
    }
    if value.contains('\u{FFFD}') {
        return Err(format!("the value of CONFIG_{name} is not UTF-8 text; save the file as UTF-8"));
    }
    match validate::option_value(value) {
        Ok(()) => Ok(Some((name, value))),
        Err(meant) => Err(format!(
            "CONFIG_{name} is `{value}`, expected y, m, n, a number or a text in double quotes; write \
             `CONFIG_{name}={meant}`"
        )),
    }
}

/// Splits a line's value from what follows it.
fn cut(value: &str) -> (&str, &str) {
    let mut escaped = false;
    let closing = value.strip_prefix('"').and_then(|text| {
        text.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        })
    });
    let end = match closing {
        Some(quote) => quote + 2,
        None if value.starts_with('"') => value.len(),
        None => value
            .match_indices('#')
            .map(|(at, _)| at)
            .find(|at| value[..*at].ends_with([' ', '\t']))
            .unwrap_or(value.len()),
    };
    let (value, behind) = value.split_at(end);
    (value.trim_end(), behind.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(String, String, bool)> {
        let asked = parse_fragment(bytes, Path::new("x.config")).unwrap_or_else(|error| panic!("{error}"));
        asked.into_iter().map(|asked| (asked.name, asked.value, asked.optional)).collect()
    }

    fn option(name: &str, value: &str, optional: bool) -> (String, String, bool) {
        (name.to_owned(), value.to_owned(), optional)
    }

    #[test]
    fn a_fragment_is_read_with_its_marks() {
        let text = "# a comment\nCONFIG_A=y\n\n# only newer trees have it # optional\nCONFIG_B=\"text\"\n\
                    # CONFIG_C is not set\n# optional\n# CONFIG_D is not set # optional\nCONFIG_E=0x10\n";
        let expected = [
            option("A", "y", false),
            option("B", "\"text\"", true),
            option("C", "n", false),
            option("D", "n", true),
            option("E", "0x10", false),
        ];
        assert_eq!(read(text.as_bytes()), expected);
        let asked = parse_fragment(text.as_bytes(), Path::new("x.config")).expect("a fragment");
        assert_eq!(asked[1].origin.to_string(), "x.config:5");
    }

    #[test]
    fn whatever_an_editor_leaves_in_a_file_is_read() {
        for bytes in [
            b"\xef\xbb\xbfCONFIG_A=y\n".as_slice(),
            b"CONFIG_A=y\r\n",
            b"  CONFIG_A=y \t\n",
            b"# J\xf6rg wants this\nCONFIG_A=y",
            b"\xef\xbb\xbf# J\xc3\xb6rg\r\nCONFIG_A=y\r\n",
        ] {
            assert_eq!(read(bytes), [option("A", "y", false)], "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_unset_line_may_have_a_comment_behind_it() {
        for line in ["# CONFIG_A is not set", "# CONFIG_A is not set  # too loud", "# CONFIG_A is not set, too loud"] {
            assert_eq!(read(line.as_bytes()), [option("A", "n", false)], "{line}");
        }
        for line in
            ["# CONFIG_A=y", "#CONFIG_A=y", "# CONFIG_A is needed", "# CONFIG_A is not settled", "# CONFIG_", "#"]
        {
            assert_eq!(read(line.as_bytes()), [], "{line}");
        }
    }

    #[test]
    fn a_text_may_have_a_comment_in_it_and_behind_it() {
        let expected = [option("A", "\"a # b\"", false), option("B", "\"\\\"\"", false)];
        assert_eq!(read(b"CONFIG_A=\"a # b\" # needed\nCONFIG_B=\"\\\"\"# a quote\n"), expected);
    }

    #[test]
    fn every_bad_line_is_told_with_what_was_meant() {
        let lines = [
            "A=y",
            "config_a=y",
            "export CONFIG_A=y",
            "CONFIG_A",
            "CONFIG_A is not set",
            "#CONFIG_A is not set",
            "# CONFIG_A is  not set",
            "# CONFIG_A not set",
            "CONFIG_A = y",
            "CONFIG_A=",
            "CONFIG_A=y # needed",
            "CONFIG_A=\"a\" b",
            "CONFIG_A=\"a",
            "CONFIG_A='a'",
            "CONFIG_A=-race",
            "CONFIG_A=Y",
            "CONFIG_A=Yes",
            "CONFIG_A=off",
            "CONFIG_A=y#",
            "CONFIG_A=é",
            "CONFIG_A-B=y",
        ];
        let error = parse_fragment(lines.join("\n").as_bytes(), Path::new("x")).expect_err("no line is an option");
        insta::assert_snapshot!(error, @r#"
        x:1: `A=y` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment; write `CONFIG_A=y`
        x:2: `config_a=y` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment; write `CONFIG_A=y`
        x:3: `export CONFIG_A=y` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment; write `CONFIG_A=y`
        x:4: `CONFIG_A` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment
        x:5: `CONFIG_A is not set` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment; write `# CONFIG_A is not set`
        x:6: `#CONFIG_A is not set` is a comment for Kconfig; write `# CONFIG_A is not set`
        x:7: `# CONFIG_A is  not set` is a comment for Kconfig; write `# CONFIG_A is not set`
        x:8: `# CONFIG_A not set` is a comment for Kconfig; write `# CONFIG_A is not set`
        x:9: `CONFIG_A = y` has blanks around the `=`; write `CONFIG_A=y`
        x:10: CONFIG_A has no value; write `# CONFIG_A is not set` to turn it off, or `CONFIG_A=""` for an empty text
        x:11: `CONFIG_A=y # needed` has a comment behind the value, and Kconfig would take `# needed` for a part of it; put the comment on a line of its own
        x:12: `CONFIG_A="a" b` has `b` behind the value; take it out
        x:13: CONFIG_A is `"a`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A="a"`
        x:14: CONFIG_A is `'a'`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A="a"`
        x:15: CONFIG_A is `-race`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A="-race"`
        x:16: CONFIG_A is `Y`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A=y`
        x:17: CONFIG_A is `Yes`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A=y`
        x:18: CONFIG_A is `off`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A=n`
        x:19: CONFIG_A is `y#`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A="y#"`
        x:20: CONFIG_A is `é`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A="é"`
        x:21: `CONFIG_A-B=y` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment
        "#);
        let error = parse_fragment(b"CONFIG_A=\"\xf6\"", Path::new("x")).expect_err("not UTF-8").to_string();
        assert!(error.starts_with("x:1: ") && error.contains("UTF-8"), "{error}");
    }
}
