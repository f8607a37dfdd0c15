//! Which of the machine's archives has a suite that its apt does not list.

use super::listed::Listed;

/// Code names of Debian's releases, and the names that move from one to the next.
const RELEASES: [&str; 13] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "experimental",
];

/// Releases that get no more updates, so that a Release file of theirs may have run out for good.
/// <https://www.debian.org/releases/>
const CLOSED: [&str; 2] = ["buster", "bullseye"];

const SECURITY: &str = "-security";

/// Where a suite is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Suite to ask the archives for; not the one that was wanted where there is a notice.
    pub suite: String,
    /// Archives with the keys they are checked against.
    pub archives: Vec<Listed>,
    /// What a reader must know of the choice.
    pub notice: Option<String>,
}

/// Whether one of the machine's sources has `suite`.
pub fn lists(sources: &[Listed], suite: &str) -> bool {
    sources.iter().any(|source| source.suites.iter().any(|known| known == suite))
}

/// Whether `suite` belongs to a release that is closed.
pub fn is_closed(suite: &str) -> bool {
    CLOSED
        .iter()
        .any(|release| suite == *release || suite.strip_prefix(release).is_some_and(|rest| rest.starts_with('-')))
}

/// The machine's Debian archives, to be asked for `suite`; none where it has no Debian archive.
pub fn choose(sources: &[Listed], suite: &str) -> Option<Choice> {
    if suite.ends_with(SECURITY) {
        let security = archives(sources, is_security);
        if !security.is_empty() {
            return Some(Choice { suite: suite.to_owned(), archives: security, notice: None });
        }
    }
    let archives = archives(sources, is_main);
    if archives.is_empty() {
        return None;
    }
    let Some(plain) = suite.strip_suffix(SECURITY) else {
        return Some(Choice { suite: suite.to_owned(), archives, notice: None });
    };
    let notice = format!(
        "no security archive is among this machine's apt sources: {plain} is asked instead of {suite}, and may be older"
    );
    Some(Choice { suite: plain.to_owned(), archives, notice: Some(notice) })
}

/// Sources of that kind whose address says that they are Debian's; failing that, those whose suites do.
fn archives(sources: &[Listed], kind: impl Fn(&Listed) -> bool) -> Vec<Listed> {
    let wanted = || {
        sources.iter().filter(|source| source.components.iter().any(|component| component == "main") && kind(source))
    };
    let by_address: Vec<&Listed> = wanted().filter(|source| source.uris.iter().any(|uri| is_debian(uri))).collect();
    let found = if by_address.is_empty() {
        wanted().filter(|source| source.suites.iter().all(|suite| is_release(suite))).collect()
    } else {
        by_address
    };
    let mut archives: Vec<Listed> = Vec::new();
    for source in found {
        let one = Listed { suites: Vec::new(), components: vec!["main".to_owned()], ..source.clone() };
        if !archives.contains(&one) {
            archives.push(one);
        }
    }
    archives
}

/// `…/debian`, `…/debian-security/…`, `mirror+file:/…/debian.list`.
fn is_debian(uri: &str) -> bool {
    uri.split('/').any(|part| {
        let part = part.strip_suffix(".list").unwrap_or(part);
        matches!(part, "debian" | "debian-security" | "security.debian.org")
    })
}

fn is_security(source: &Listed) -> bool {
    source.suites.iter().any(|suite| suite.ends_with(SECURITY))
}

fn is_main(source: &Listed) -> bool {
    !is_security(source)
}

fn is_release(suite: &str) -> bool {
    RELEASES.contains(&suite.split('-').next().unwrap_or(suite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::source::apt::listed::{deb822, one_line};

    fn machine() -> Vec<Listed> {
        let mut sources = deb822(
            "Types: deb\nURIs: http://host/debian\nSuites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: /k.gpg\n\n\
             Types: deb\nURIs: http://host/debian-security\nSuites: bookworm-security\nComponents: main\nSigned-By: /k.gpg\n",
        );
        sources.extend(one_line(
            "deb https://apt.example.org bookworm main\ndeb https://cloud.example.org/apt cloud-bookworm main\n",
        ));
        sources
    }

    #[test]
    fn each_suite_goes_to_its_archive() {
        let sources = machine();
        assert!(lists(&sources, "bookworm-security") && !lists(&sources, "bullseye-security"));
        let main = choose(&sources, "trixie-backports").expect("an archive");
        assert_eq!(main.archives.len(), 1, "the others do not say that they are Debian's: {:?}", main.archives);
        assert_eq!(main.archives[0].uris, ["http://host/debian"]);
        assert_eq!(main.archives[0].components, ["main"]);
        assert_eq!(main.archives[0].signed_by.as_deref(), Some("/k.gpg"));
        let security = choose(&sources, "bullseye-security").expect("an archive");
        assert_eq!(security.archives[0].uris, ["http://host/debian-security"]);
        assert_eq!((security.suite.as_str(), security.notice), ("bullseye-security", None));
    }

    #[test]
    fn without_a_security_archive_the_plain_suite_is_asked_and_that_is_said() {
        let choice =
            choose(&one_line("deb http://host/debian bookworm main"), "bullseye-security").expect("an archive");
        assert_eq!(choice.suite, "bullseye");
        assert!(choice.notice.is_some_and(|notice| notice.contains("bullseye-security")));
    }

    #[test]
    fn a_mirror_under_another_name_is_known_by_its_suites() {
        let choice = choose(&one_line("deb http://cache/apt bookworm main"), "trixie").expect("an archive");
        assert_eq!(choice.archives[0].uris, ["http://cache/apt"]);
        assert_eq!(choose(&one_line("deb http://host/ubuntu jammy main"), "trixie"), None);
        assert_eq!(choose(&[], "trixie"), None);
    }

    #[test]
    fn closed_releases_are_known() {
        assert!(is_closed("bullseye") && is_closed("bullseye-security"));
        assert!(!is_closed("bookworm-security") && !is_closed("bullseyes"));
    }
}
