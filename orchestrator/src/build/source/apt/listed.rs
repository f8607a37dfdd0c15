//! What this machine's apt has in its sources: sources.list(5), both of its formats.

/// Packages from one or more places, as one line or one stanza lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Addresses of archives.
    pub uris: Vec<String>,
    /// Suites or code names.
    pub suites: Vec<String>,
    /// Such as `main`.
    pub components: Vec<String>,
    /// Value of `Signed-By`: keyrings, fingerprints, or a key with its line breaks; apt's own trusted keys where absent.
    pub signed_by: Option<String>,
}

/// Reads `sources.list` and `*.list`: `deb [signed-by=/k.gpg] http://host/debian bookworm main`. Lines for sources of packages and
/// lines that cannot be read are passed over, as apt would complain of the latter itself.
pub fn one_line(text: &str) -> Vec<Listed> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Listed> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let uri = words.next()?;
    let suite = words.next()?;
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Listed {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        // Commas part several keyrings here, white space in the other format.
        signed_by: signed_by.map(|keys| keys.replace(',', " ")),
    })
}

/// Reads `*.sources`: stanzas of `Types:`, `URIs:`, `Suites:`, `Components:` and so on.
pub fn deb822(text: &str) -> Vec<Listed> {
    let mut found = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            found.extend(stanza(&std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

fn stanza(fields: &[(String, String)]) -> Option<Listed> {
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // The words that apt takes for false, apt-secure's StringToBool.
    let off =
        |value: &str| ["no", "false", "without", "off", "disable", "0"].contains(&value.to_ascii_lowercase().as_str());
    if field("enabled").is_some_and(off) || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Listed {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by").filter(|value| !value.is_empty()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_options() {
        let text = "# a comment\n\
                    deb http://host/debian bookworm main contrib # why\n\
                    deb-src http://host/debian bookworm main\n\
                    deb [ arch=amd64 signed-by=/k/a.gpg,/k/b.gpg trusted=yes ] https://host/debian-security bookworm-security main\n\
                    debian is nice\ndeb\n";
        let found = one_line(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].uris, ["http://host/debian"]);
        assert_eq!(
            (found[0].suites.as_slice(), found[0].components.as_slice()),
            (["bookworm".to_owned()].as_slice(), ["main".to_owned(), "contrib".to_owned()].as_slice())
        );
        assert_eq!(found[0].signed_by, None);
        assert_eq!(found[1].signed_by.as_deref(), Some("/k/a.gpg /k/b.gpg"));
        assert_eq!(found[1].suites, ["bookworm-security"]);
    }

    #[test]
    fn stanzas_with_comments_and_a_key_written_out() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://one/debian http://two/debian\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n\
                    types: deb\nuris: http://off/debian\nsuites: x\ncomponents: main\nEnabled: no\n\n\
                    Types: deb-src\nURIs: http://src/debian\nSuites: x\nComponents: main\n";
        let found = deb822(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].uris, ["http://one/debian", "http://two/debian"]);
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates"]);
        assert!(
            found[0].signed_by.as_ref().is_some_and(|key| key.starts_with("\n -----BEGIN") && key.ends_with("\n abc"))
        );
    }
}
