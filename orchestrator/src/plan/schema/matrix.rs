//! Settings that take several values in turn.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::value::Scalar;
use crate::journal::rules::Warmth;

/// The guest's settings that can be axes.
pub const GUEST_AXES: [&str; 6] =
    ["guest.cpus", "guest.memory", "guest.swap.zram.size", "guest.swap.zram.algorithm", "guest.cmdline", "guest.clone"];

/// What the axes that set an argument of every test begin with.
pub const ARGS_OF_ALL: &str = "test.args.";

/// A setting that can take several values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Axis {
    /// One of [`GUEST_AXES`].
    Guest(&'static str),
    /// An argument of the named test, or of every test.
    Arg {
        /// [`super::Test::name`], none for all.
        test: Option<String>,
        /// Key in [`super::Test::args`].
        key: String,
    },
}

impl Axis {
    /// Reads `guest.cpus`, `test.args.pages` or `tests.NAME.args.pages`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(axis) = GUEST_AXES.iter().find(|axis| **axis == text) {
            return Some(Self::Guest(axis));
        }
        let (program, key) = match text.strip_prefix(ARGS_OF_ALL) {
            Some(key) => (None, key),
            // The test's name may hold dots and even `.args.`: the last one divides.
            None => {
                text.strip_prefix("tests.")?.rsplit_once(".args.").map(|(name, key)| (Some(name.to_owned()), key))?
            }
        };
        let named = program.as_ref().is_none_or(|name| !name.is_empty());
        (named && !key.is_empty()).then(|| Self::Arg { test: program, key: key.to_owned() })
    }
}

/// Settings that take several values in turn. Every other key is an axis with the list of its
/// values: `guest.cpus`, `guest.memory`, `guest.swap.zram.size`, `guest.swap.zram.algorithm`,
/// `guest.cmdline`, `guest.clone`, `test.args.KEY` (an argument of every test) or
/// `tests.NAME.args.KEY` (of one). All combinations are run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Matrix {
    /// Axes in the order they are written, each with its values.
    pub axes: Vec<(String, Vec<Scalar>)>,
    /// Combinations to run besides.
    pub include: Option<Vec<BTreeMap<String, Scalar>>>,
    /// Combinations not to run.
    pub exclude: Option<Vec<BTreeMap<String, Scalar>>>,
}

/// A key of the matrix; an unknown one fails while it is read, so that the error's path ends with
/// it.
struct AxisKey(String);

impl<'de> Deserialize<'de> for AxisKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KNOWN: &[&str] = &[
            GUEST_AXES[0],
            GUEST_AXES[1],
            GUEST_AXES[2],
            GUEST_AXES[3],
            GUEST_AXES[4],
            GUEST_AXES[5],
            "test.args.KEY",
            "tests.NAME.args.KEY",
            "include",
            "exclude",
        ];
        let key = String::deserialize(deserializer)?;
        if matches!(key.as_str(), "include" | "exclude") || Axis::parse(&key).is_some() {
            Ok(Self(key))
        } else {
            Err(D::Error::unknown_field(&key, KNOWN))
        }
    }
}

impl<'de> Deserialize<'de> for Matrix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MatrixVisitor;

        impl<'de> Visitor<'de> for MatrixVisitor {
            type Value = Matrix;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Matrix, A::Error> {
                let mut matrix = Matrix::default();
                while let Some(key) = map.next_key::<AxisKey>()? {
                    match key.0.as_str() {
                        "include" => matrix.include = Some(map.next_value()?),
                        "exclude" => matrix.exclude = Some(map.next_value()?),
                        _ => matrix.axes.push((key.0, map.next_value()?)),
                    }
                }
                Ok(matrix)
            }
        }

        deserializer.deserialize_map(MatrixVisitor)
    }
}

impl JsonSchema for Matrix {
    fn schema_name() -> Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let list = |description: &str, items: Schema| json_schema!({ "description": description, "type": "array", "minItems": 1, "items": items });
        let scalar = generator.subschema_for::<Scalar>();
        let point = generator.subschema_for::<BTreeMap<String, Scalar>>();
        let size = generator.subschema_for::<super::value::Size>();
        let text = generator.subschema_for::<String>();
        json_schema!({
            "description": "Settings that take several values in turn; all combinations are run.",
            "type": "object",
            "properties": {
                "guest.cpus": list(
                    "Values for `guest.cpus`.",
                    json_schema!({ "type": "integer", "minimum": 1, "maximum": 64 }),
                ),
                "guest.memory": list("Values for `guest.memory`.", size.clone()),
                "guest.swap.zram.size": list("Values for `guest.swap.zram.size`.", size),
                "guest.swap.zram.algorithm": list("Values for `guest.swap.zram.algorithm`.", scalar.clone()),
                "guest.cmdline": list("Values for `guest.cmdline`.", text),
                "guest.clone": list("Values for `guest.clone`.", generator.subschema_for::<Warmth>()),
                "include": list(
                    "Combinations to run besides: each a map of axes to values, with `kernel`, `variant` and `test` \
                     (patterns with `*` and `?`) to keep it to some. Axes that it does not name keep the plan's own \
                     value in the guest, or all values where it names none of the guest's or none of the test's.",
                    point.clone(),
                ),
                "exclude": list(
                    "Combinations not to run: each a map of axes to values, and of `kernel`, `variant` and `test` to \
                     patterns with `*` and `?`; a cell goes when all of them match.",
                    point,
                ),
            },
            "patternProperties": {
                r"^test\.args\..+$": list("Values for an argument of every test.", scalar.clone()),
                r"^tests\..+\.args\..+$": list("Values for an argument of one test.", scalar),
            },
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_read_with_dots_in_test_names() {
        let arg = |test: Option<&str>, key: &str| Axis::Arg { test: test.map(str::to_owned), key: key.to_owned() };
        assert_eq!(Axis::parse("guest.memory"), Some(Axis::Guest("guest.memory")));
        assert_eq!(Axis::parse("test.args.pages"), Some(arg(None, "pages")));
        assert_eq!(Axis::parse("tests.a.args.b.args.c"), Some(arg(Some("a.args.b"), "c")));
        for wrong in ["guest.image", "tests..args.x", "tests.a.args.", "test.args.", "tests.a.rounds", ""] {
            assert_eq!(Axis::parse(wrong), None, "{wrong}");
        }
    }
}
