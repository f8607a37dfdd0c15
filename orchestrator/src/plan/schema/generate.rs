//! The JSON schema and the reference, made from the types.

use std::fmt::Write as _;

use serde_json::Value;

use super::kernel::Catalogue;
use super::plan::Plan;

/// JSON schema (draft 2020-12) of a plan.
pub fn json_schema() -> Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Plan>().to_value();
    tidy(&mut schema);
    // Whatever features of serde_json the rest of the build turns on.
    schema.sort_all_objects();
    schema
}

/// JSON schema (draft 2020-12) of the catalogue.
pub fn catalogue_schema() -> Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Catalogue>().to_value();
    tidy(&mut schema);
    schema.sort_all_objects();
    schema
}

/// Takes out what only says that an optional key may be left out: `null` types and empty defaults.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.remove("format");
            let required: Vec<Value> = map.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                for (key, property) in properties.iter_mut() {
                    if required.iter().any(|name| name == key)
                        && let Some(property) = property.as_object_mut()
                    {
                        property.remove("default");
                    }
                }
            }
            if map.get("default").is_some_and(is_empty) {
                map.remove("default");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

/// Nothing, or a map or list of nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // Whole structs as defaults repeat what their own keys say.
        Value::Null | Value::Object(_) => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The reference of a plan's keys, in Markdown.
pub fn reference() -> String {
    let schema = json_schema();
    let mut out = String::from(
        "# Plan reference\n\n\
         Generated from the types in `orchestrator/src/plan/schema/`; `UPDATE_DOCS=1 cargo test --test it plan_docs` \
         writes it anew. The JSON schema is `plan.schema.json`; `twinboot plan check` also finds what a schema \
         cannot.\n",
    );
    section(&mut out, "Plan", &schema);
    let mut names = Vec::new();
    mentioned(&schema["properties"], &schema["$defs"], &mut names);
    for name in names {
        section(&mut out, &name, &schema["$defs"][&name]);
    }
    out
}

/// Names of the maps that a schema refers to, each before those that it refers to in turn.
fn mentioned(schema: &Value, definitions: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, definitions, names)),
        Value::Object(map) => {
            for (key, value) in map {
                let name = value.as_str().and_then(|path| path.strip_prefix("#/$defs/"));
                let Some(name) = name.filter(|_| key == "$ref") else {
                    mentioned(value, definitions, names);
                    continue;
                };
                let is_map = definitions[name].get("properties").is_some();
                if is_map && !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                    mentioned(&definitions[name], definitions, names);
                }
            }
        }
        _ => {}
    }
}

fn section(out: &mut String, name: &str, schema: &Value) {
    let _ = write!(out, "\n## {name}\n\n{}\n\n", text(schema, "description"));
    out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let default = match property.get("default") {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(value) => format!("`{value}`"),
            None => String::new(),
        };
        row(out, key, property, &default);
    }
    for (pattern, property) in schema.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
        let key = pattern.trim_matches(['^', '$']).replace("\\.", ".");
        let key = key.replacen("tests..+", "tests.NAME", 1).replace(".+", "KEY");
        row(out, &key, property, "");
    }
}

fn row(out: &mut String, key: &str, property: &Value, default: &str) {
    let meaning = text(property, "description");
    let _ = writeln!(out, "| `{key}` | {} | {default} | {meaning} |", kind(property).replace('|', "\\|"));
}

/// A text of the schema on one line.
fn text(schema: &Value, key: &str) -> String {
    let text = schema.get(key).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// What kind of value a property takes, in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return match name {
            "Expectation" => "`corrupt`, `clean` or `any`".to_owned(),
            "ForcedExpectation" => "`corrupt`, `clean`, `excluded`, `crash` or `any`".to_owned(),
            _ => format!("[{name}](#{})", name.to_lowercase()),
        };
    }
    if let Some(constant) = schema.get("const").and_then(Value::as_str) {
        return format!("`{constant}`");
    }
    let choices = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    if let Some(choices) = choices {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
    match schema.get("type") {
        Some(Value::String(name)) => match name.as_str() {
            "string" if pattern.contains("KMGT") => "size (`64K`)".to_owned(),
            "string" if pattern.contains("ms|s") => "duration (`60s`)".to_owned(),
            "string" => "text".to_owned(),
            "integer" => format!("whole number{}", range(schema)),
            "number" => "number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "array" => format!("list of {}", schema.get("items").map_or_else(|| "anything".to_owned(), kind)),
            "object" => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => format!("map of {}", kind(values)),
                _ => "map".to_owned(),
            },
            other => other.to_owned(),
        },
        Some(Value::Array(_)) => "text, number, `true` or `false`".to_owned(),
        _ => "anything".to_owned(),
    }
}

fn range(schema: &Value) -> String {
    match (schema.get("minimum").and_then(Value::as_u64), schema.get("maximum").and_then(Value::as_u64)) {
        (Some(low), Some(high)) => format!(", {low} to {high}"),
        (Some(low), None) if low > 0 => format!(", {low} or more"),
        _ => String::new(),
    }
}
