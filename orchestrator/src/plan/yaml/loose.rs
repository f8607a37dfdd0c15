//! A YAML tree that ignores duplicate keys (which [`super::nodes`] reports with their places) and
//! resolves merge keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::nodes::MERGE;

/// `serde_yaml`'s own tree fails at the first duplicate key; this one keeps the first value.
pub(super) struct Loose(pub Value);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Self)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Loose::deserialize(deserializer).map(|loose| loose.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Loose(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Mapping::new();
        let mut merged = Vec::new();
        while let Some((Loose(key), Loose(value))) = map.next_entry()? {
            if key.as_str() == Some(MERGE) {
                merged.push(value);
            } else {
                entries.entry(key).or_insert(value);
            }
        }
        for value in merged {
            let maps = if let Value::Sequence(items) = value { items } else { vec![value] };
            for map in maps {
                let Value::Mapping(others) = map else {
                    return Err(A::Error::custom(
                        "the merge key `<<` takes a map, or a list of maps, such as `<<: *base`",
                    ));
                };
                for (key, value) in others {
                    entries.entry(key).or_insert(value);
                }
            }
        }
        Ok(Value::Mapping(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, contents) = data.variant::<String>()?;
        let Loose(_) = contents.newtype_variant()?;
        Err(A::Error::custom(format_args!("the tag `{tag}` has no meaning here; take it out")))
    }
}
