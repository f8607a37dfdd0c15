//! Interleavings and sweeps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::value::{Interval, OneOrMany, OrText, Scalar};
use crate::journal::interleaving::ForcedExpectation;

/// A drawn interleaving, forced on every kernel and variant again and again: either `diagram` or
/// `steps`. What can be drawn is in [docs/diagrams.md](diagrams.md). Needs kernels with debug
/// information (`symbols` in their `config`).
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Interleaving {
    /// Name, unique among the plan's tests, interleavings and sweeps: letters, digits, `.`, `_`,
    /// `+` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"))]
    pub name: String,
    /// Program in the guest's image whose threads act it out; that of the plan's tests unless
    /// given, if it is one and the same.
    pub run: Option<String>,
    /// Its arguments; those of the plan's first test with that program unless given, without
    /// `strategy`, which says how threads are raced that nothing forces.
    pub args: Option<BTreeMap<String, Scalar>>,
    /// The drawing, a literal block (`|`): the names of the threads on its first line, then a line
    /// for each step.
    pub diagram: Option<String>,
    /// The same as a list, in order: `{victim: read page}`, or `{victim: {at: do_swap_page}}` for a
    /// point of the kernel.
    #[schemars(length(min = 1))]
    pub steps: Option<Vec<ByThread<OrText<At>>>>,
    /// Forced rounds for each cell, and as many in which nothing is held.
    #[schemars(range(min = 1))]
    pub rounds: u32,
    /// How long a step may take when nothing delays it.
    pub deadline: Interval,
    /// What a run must show to succeed, by variant, or one word for all: `corrupt`, `clean`,
    /// `excluded` (a step cannot be taken), `crash`, or `any` for whatever is seen. Variants that
    /// are not named may show anything.
    pub expect: Expect,
}

impl Default for Interleaving {
    fn default() -> Self {
        Self {
            name: "interleaving".to_owned(),
            run: None,
            args: None,
            diagram: None,
            steps: None,
            rounds: 20,
            deadline: Interval::seconds(10),
            expect: Expect::default(),
        }
    }
}

/// A point of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["at"]))]
pub struct At {
    /// The point, such as `do_swap_page: after swap_readpage`; in quotes where it has a colon.
    pub at: String,
}

/// One thread held at every point of some functions in turn, while the others do what they do.
/// Where a plan has none, each interleaving gives one: what it holds, in the function where it is
/// held, and what the others do meanwhile.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["victim", "interferer", "functions"]))]
pub struct Sweep {
    /// Name, unique among the plan's tests, interleavings and sweeps: letters, digits, `.`, `_`,
    /// `+` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"))]
    pub name: String,
    /// Program in the guest's image, as for interleavings.
    pub run: Option<String>,
    /// Its arguments, as for interleavings.
    pub args: Option<BTreeMap<String, Scalar>>,
    /// The operation that is held: `read page` by the thread `victim`, or `{reader: read page}` by
    /// another.
    pub victim: Option<OrText<ByThread<String>>>,
    /// What is done meanwhile, in order: `write page` by the thread `interferer`, or `{writer:
    /// write page}` by another.
    pub interferer: OneOrMany<OrText<ByThread<String>>>,
    /// Functions whose points are swept; `swap_readpage|swap_read_folio` is one function under two
    /// names.
    #[schemars(length(min = 1))]
    pub functions: Vec<String>,
    /// Folders (`mm/`) and files (`mm/page_io.c`) whose functions are swept too when the victim
    /// comes through them.
    pub callees: Vec<String>,
    /// How long an operation may take when nothing delays it.
    pub deadline: Interval,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            name: "sweep".to_owned(),
            run: None,
            args: None,
            victim: None,
            interferer: OneOrMany::default(),
            functions: Vec::new(),
            callees: Vec::new(),
            deadline: Interval::seconds(10),
        }
    }
}

/// What a thread does: a map of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByThread<T>(pub BTreeMap<String, T>);

impl<T: JsonSchema> JsonSchema for ByThread<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}ByThread", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value, "minProperties": 1, "maxProperties": 1 })
    }
}

/// One word for all variants, or one for each by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Expect {
    /// For all.
    All(ForcedExpectation),
    /// By variant.
    Each(BTreeMap<String, ForcedExpectation>),
}

impl Default for Expect {
    fn default() -> Self {
        Self::Each(BTreeMap::new())
    }
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExpectVisitor;

        impl<'de> Visitor<'de> for ExpectVisitor {
            type Value = Expect;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, or a map of variants to words")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Expect, E> {
                ForcedExpectation::deserialize(StrDeserializer::new(word)).map(Expect::All)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expect, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Expect::Each)
            }
        }

        deserializer.deserialize_any(ExpectVisitor)
    }
}

impl JsonSchema for Expect {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Expect".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<ForcedExpectation>();
        json_schema!({ "anyOf": [word, { "type": "object", "additionalProperties": word }] })
    }
}
