//! Kernel configuration: requested options merged over a base, and compared with the result.

mod expr;
mod fragment;
mod kconfig;
mod options;
mod verify;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::plan::model::ConfigLayer;

pub use fragment::parse_fragment;
use options::option;
pub use options::{Asked, BadLine, Error, Origin, Problem, Values};
pub use verify::verify;

/// Reads every layer. If several set an option, the last one wins and keeps its place.
pub fn load(layers: &[ConfigLayer]) -> Result<Vec<Asked>, Error> {
    let mut all = Vec::new();
    for layer in layers {
        match layer {
            ConfigLayer::Fragment(path) => {
                let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
                all.extend(parse_fragment(&bytes, path)?);
            }
            ConfigLayer::Inline(options) => all.extend(options.iter().map(|(name, value)| Asked {
                name: name.strip_prefix("CONFIG_").unwrap_or(name).to_owned(),
                value: value.clone(),
                origin: Origin::Plan,
                optional: false,
            })),
        }
    }
    let mut seen = BTreeSet::new();
    let mut last: Vec<Asked> = all.into_iter().rev().filter(|asked| seen.insert(asked.name.clone())).collect();
    last.reverse();
    Ok(last)
}

/// `base` without the options that were asked for, followed by those. Later lines win in Kconfig;
/// taking the earlier ones out keeps it from warning.
pub fn merge(base: &str, asked: &[Asked]) -> String {
    let names: BTreeSet<&str> = asked.iter().map(|asked| asked.name.as_str()).collect();
    let mut merged = String::with_capacity(base.len());
    for line in base.lines().filter(|line| option(line).is_none_or(|(name, _)| !names.contains(name))) {
        merged.push_str(line);
        merged.push('\n');
    }
    for asked in asked {
        let _ = writeln!(merged, "{}", asked.line());
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fragment(text: &str) -> Vec<Asked> {
        parse_fragment(text.as_bytes(), Path::new("x.config")).expect("is a fragment")
    }

    #[test]
    fn the_last_layer_wins() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = dir.path().join("f.config");
        std::fs::write(&path, "CONFIG_A=y\nCONFIG_B=y\n").expect("writes");
        let inline = ConfigLayer::Inline([("A".to_owned(), "n".to_owned())].into());
        let asked = load(&[ConfigLayer::Fragment(path.clone()), inline.clone()]).expect("loads");
        assert_eq!(asked.iter().map(Asked::line).collect::<Vec<_>>(), ["CONFIG_B=y", "# CONFIG_A is not set"]);
        let asked = load(&[inline, ConfigLayer::Fragment(path)]).expect("loads");
        assert_eq!(asked.iter().map(Asked::line).collect::<Vec<_>>(), ["CONFIG_A=y", "CONFIG_B=y"]);
    }

    #[test]
    fn merging_replaces_and_appends() {
        let base = "# Automatically generated\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=1\n";
        let merged = merge(base, &fragment("# CONFIG_A is not set\nCONFIG_B=m\n"));
        assert_eq!(merged, "# Automatically generated\nCONFIG_AB=1\n# CONFIG_A is not set\nCONFIG_B=m\n");
        let values = Values::parse(&merged);
        assert_eq!((values.get("A"), values.get("B"), values.get("AB"), values.get("Z")), ("n", "m", "1", "n"));
        assert!(values.has_modules());
    }
}
