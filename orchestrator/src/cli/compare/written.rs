//! The plan that asks the question.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::exit::{Failure, INFRASTRUCTURE, USAGE};
use super::Beside;
use super::sides::{From, Question, Side};
use super::template::{BASE, Template};
use crate::plan::roots::Roots;
use crate::plan::yaml;

/// Name of the plan, and so of its results folders.
pub const NAME: &str = "compare";

/// Name of the other variant.
const PATCHED: &str = "patched";

/// The configuration of a series that the catalogue does not know.
const CONFIG: [&str; 4] = ["base", "swap", "preempt", "symbols"];

/// A plan and the files that it needs beside it.
pub struct Written {
    pub text: String,
    pub beside: Vec<Beside>,
}

/// Writes the plan of `question` for what `template` races, with `config` on top.
pub fn plan(question: &Question, template: &Template, config: &[String], roots: &Roots) -> Result<Written, Failure> {
    let mut beside = question.beside.clone();
    let mut kernel = kernel(&question.from);
    let series = match &question.from {
        From::Tree { series, .. } => series.clone(),
        From::Debian(package) => package.strip_prefix("linux-source-").map(str::to_owned),
        From::Catalogue(_) => None,
    };
    let catalogue: Map<String, Value> = std::fs::read_to_string(roots.catalogue())
        .ok()
        .and_then(|text| yaml::parse(&text, &roots.catalogue()).ok())
        .unwrap_or_default();
    let mut layers = match &question.from {
        From::Catalogue(name) => catalogue.get(name).and_then(|entry| entry["config"].as_array()).cloned(),
        _ => Some(layers(&catalogue, series.as_deref())),
    };
    for item in config {
        match fragment(item)? {
            None => layers.get_or_insert_default().push(json!(item)),
            Some((file, whole)) => {
                let name = json!(format!("./{}", file.name));
                if whole {
                    kernel.insert("base_config".to_owned(), name);
                } else {
                    layers.get_or_insert_default().push(name);
                }
                beside.push(file);
            }
        }
    }
    // The catalogue's own needs no repeating.
    if !matches!(question.from, From::Catalogue(_)) || !config.is_empty() {
        kernel.extend(layers.map(|layers| ("config".to_owned(), Value::Array(layers))));
    }
    let variants = [side(BASE, &question.base, "corrupt"), side(PATCHED, &question.patched, "clean")];
    let mut text = format!(
        "# Written by `twinboot compare`; `twinboot run` on this file asks the same again.\n# base: {}\n# patched: {}\nname: {NAME}\n",
        comment(&question.base.words),
        comment(&question.patched.words)
    );
    let keys = [("kernels", json!([kernel])), ("variants", json!(variants))];
    for (key, value) in keys.iter().map(|(key, value)| (*key, value)).chain(template.iter().map(|(k, v)| (*k, v))) {
        let part = yaml::write(&Map::from_iter([(key.to_owned(), value.clone())]))
            .map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
        text.push_str(&part);
    }
    Ok(Written { text, beside })
}

/// On one line, whatever a revision is called.
fn comment(words: &str) -> String {
    crate::printable::one_line(words)
}

fn kernel(from: &From) -> Map<String, Value> {
    let value = match from {
        From::Tree { path, commit, series } => {
            let name = series.as_ref().map_or_else(|| "linux".to_owned(), |series| format!("linux-{series}"));
            let mut kernel = json!({"name": name, "source": {"git": {"path": path, "rev": commit}}});
            if let Some(series) = series {
                kernel["series"] = json!(series);
            }
            kernel
        }
        From::Debian(package) => {
            let name = package.strip_prefix("linux-source-").map(|series| format!("linux-{series}"));
            json!({"name": name.as_ref().unwrap_or(package), "source": {"debian": package}})
        }
        From::Catalogue(name) => json!({"name": name}),
    };
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn side(name: &str, side: &Side, expect: &str) -> Value {
    let mut variant = json!({"name": name, "expect": expect});
    if let Some(rev) = &side.rev {
        variant["rev"] = json!(rev);
    }
    if !side.patches.is_empty() {
        let patches = side.patches.iter().map(|(file, reverse)| match reverse {
            true => json!({"file": file, "reverse": true}),
            false => json!(file),
        });
        variant["patches"] = patches.collect();
    }
    variant
}

/// The catalogue's layers for a series, or for the newest one before it.
fn layers(catalogue: &Map<String, Value>, series: Option<&str>) -> Vec<Value> {
    let number = |series: &str| -> Option<(u32, u32)> {
        let (major, minor) = series.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let wanted = series.and_then(number);
    let known = catalogue.iter().filter_map(|(name, entry)| {
        let series = number(name.strip_prefix("linux-")?)?;
        Some((series, entry["config"].as_array()?))
    });
    let nearest = known.filter(|(series, _)| wanted.is_some_and(|wanted| *series <= wanted)).max_by_key(|it| it.0);
    nearest.map_or_else(|| CONFIG.map(|name| json!(name)).to_vec(), |(_, layers)| layers.clone())
}

/// A file of options and whether it is a whole configuration; none for the name of a fragment.
fn fragment(item: &str) -> Result<Option<(Beside, bool)>, Failure> {
    let path = Path::new(item);
    if !item.contains('/') && !item.contains('.') {
        return Ok(None);
    }
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::say(USAGE, format!("cannot read the configuration `{item}`: {error}")))?;
    // Kconfig writes this first line; nobody writes it by hand.
    let whole = String::from_utf8_lossy(&bytes).contains("# Automatically generated file; DO NOT EDIT.");
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = if stem.ends_with(".config") && stem != ".config" {
        stem
    } else {
        format!("{}.config", stem.trim_matches('.'))
    };
    Ok(Some((Beside { name, bytes }, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_that_of_the_nearest_series_before() {
        let catalogue = json!({"linux-6.1": {"config": ["old"]}, "linux-6.12": {"config": ["new"]}});
        let catalogue = catalogue.as_object().expect("a map");
        for (series, expected) in
            [(Some("6.1"), "old"), (Some("6.6"), "old"), (Some("6.12"), "new"), (Some("7.3"), "new")]
        {
            assert_eq!(layers(catalogue, series), [json!(expected)], "{series:?}");
        }
        assert_eq!(layers(catalogue, Some("5.4")).len(), CONFIG.len());
        assert_eq!(layers(catalogue, None).len(), CONFIG.len());
    }
}
