//! A reproducer as it came: how it is built, started and understood.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::value::Scalar;
use crate::journal::oracle::StillRunning;

/// How C source is compiled: `gcc -O2 -pthread -static`, and what is said here.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Link it statically, so that the guest needs no library.
    #[serde(rename = "static")]
    pub linked_statically: bool,
    /// More words for gcc, such as `-O0` or `-lrt`; they stand behind the source.
    pub flags: Vec<String>,
}

impl Default for Build {
    fn default() -> Self {
        Self { linked_statically: true, flags: Vec::new() }
    }
}

/// How a reproducer says that something went wrong. Instead of the map, `exit` stands for its exit status alone, `records`
/// for the records of twinboot's own guest tests, and `console` for the kernel's console alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Oracle {
    /// Which ends are a failure.
    pub exit: Option<Exit>,
    /// What is looked for in its output.
    pub output: Option<Patterns>,
    /// What it means that it still runs when the round's time (`stop.at_most`) is up: `clean` for a
    /// program that is endless on a sound kernel, `failure` where a hang is looked for, `unknown`
    /// for neither: the round does not count.
    pub still_running: StillRunning,
}

/// Exit statuses (0 to 255) and signals (`SIGSEGV`) of a reproducer. With both lists, an end in
/// neither says nothing and the round does not count.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exit {
    /// Ends that are a failure; all but the clean ones unless given.
    pub failure: Vec<Scalar>,
    /// Ends without a finding; 0 unless given.
    pub clean: Vec<Scalar>,
}

/// Regular expressions for the lines that a reproducer prints.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Patterns {
    /// Each matching line is a failure. The exit status then says nothing, unless `exit` is given
    /// too.
    pub corrupt: Option<String>,
    /// Each matching line is a try.
    #[serde(rename = "try")]
    pub attempt: Option<String>,
    /// Each matching line is an exposure: the race was really tested. Without it, rounds are the
    /// unit of the verdict.
    pub exposure: Option<String>,
}

/// Arguments by name, or word by word.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Arguments {
    /// `--key value` each.
    Named(BTreeMap<String, Scalar>),
    /// Passed as they stand.
    Words(Vec<Scalar>),
}

impl Default for Arguments {
    fn default() -> Self {
        Self::Named(BTreeMap::new())
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArgumentsVisitor;

        impl<'de> Visitor<'de> for ArgumentsVisitor {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map, or a list of words")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Arguments, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Arguments::Named)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<Arguments, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(words)).map(Arguments::Words)
            }
        }

        deserializer.deserialize_any(ArgumentsVisitor)
    }
}

impl JsonSchema for Arguments {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Arguments".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<Scalar>();
        json_schema!({ "anyOf": [
            { "type": "object", "additionalProperties": scalar },
            { "type": "array", "items": scalar },
        ] })
    }
}
