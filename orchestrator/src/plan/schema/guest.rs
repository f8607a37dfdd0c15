//! The virtual machine.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::value::{Scalar, Size};
use crate::journal::rules::Warmth;

/// The virtual machine.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guest {
    /// Virtual CPUs.
    #[schemars(range(min = 1, max = 64))]
    pub cpus: u32,
    /// Memory, at least 128M and a whole number of MiB.
    pub memory: Size,
    /// Swap device to set up before the test: `zram`, `brd`, or `none`.
    pub swap: SwapSetting,
    /// Sysctls to set before the test, such as `vm.swappiness: 100`.
    pub sysctl: BTreeMap<String, Scalar>,
    /// More of the kernel's command line.
    pub cmdline: String,
    /// Image recipe: a name in `images/` (`default` is `images/default.yaml`) or a path (with a `/` or `.yaml` in it).
    pub image: String,
    /// Where each round's guest comes from: `warm` boots one guest, saves it, and lets every round go on from there in a
    /// QEMU of its own; `cold` boots one for every round.
    pub clone: Warmth,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: Size(512 << 20),
            swap: SwapSetting::None,
            sysctl: BTreeMap::new(),
            cmdline: String::new(),
            image: "default".to_owned(),
            clone: Warmth::Warm,
        }
    }
}

/// `none`, or one swap device.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapSetting {
    /// No swap.
    #[default]
    None,
    /// One of the devices.
    #[serde(untagged)]
    Device(SwapDevice),
}

impl JsonSchema for SwapSetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SwapSetting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "none" }, generator.subschema_for::<SwapDevice>()] })
    }
}

impl<'de> Deserialize<'de> for SwapSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwapVisitor;

        impl<'de> Visitor<'de> for SwapVisitor {
            type Value = SwapSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, or a map with `zram` or `brd`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SwapSetting, E> {
                match text {
                    "none" => Ok(SwapSetting::None),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SwapSetting, A::Error> {
                SwapDevice::deserialize(MapAccessDeserializer::new(map)).map(SwapSetting::Device)
            }
        }

        deserializer.deserialize_any(SwapVisitor)
    }
}

/// A swap device: exactly one of the keys below.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SwapDevice {
    /// Compressed RAM (`CONFIG_ZRAM`).
    pub zram: Option<Zram>,
    /// A plain RAM block device (`CONFIG_BLK_DEV_RAM`).
    pub brd: Option<Brd>,
}

/// Compressed RAM.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["size"]))]
pub struct Zram {
    /// Size of the device, a multiple of 4096 and at least 40K: mkswap wants ten pages, one of which it keeps.
    pub size: Option<Size>,
    /// Compressor: `lzo`, `lzo-rle`, `lz4`, `lz4hc`, `zstd`, `842` or `deflate`, or another one that the kernel has.
    pub algorithm: String,
}

impl Default for Zram {
    fn default() -> Self {
        // The kernel's own default since 5.1 (ce82f19fd580).
        Self { size: None, algorithm: "lzo-rle".to_owned() }
    }
}

/// A plain RAM block device.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["size"]))]
pub struct Brd {
    /// Size of the device, a multiple of 4096 and at least 40K.
    pub size: Option<Size>,
}
