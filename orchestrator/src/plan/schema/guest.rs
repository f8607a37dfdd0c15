//! The virtual machine, and the tests that run in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::program::{Arguments, Build, Oracle};
use super::value::{Interval, OneOrMany, OrText, Scalar, Size};
use crate::journal::rules::Warmth;
use crate::plan::model;

/// Saved boots of a cell where the plan does not say.
const BOOTS: u32 = 4;

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
    /// Image recipe: a name in `images/` (`default` is `images/default.yaml`) or a path (with a `/`
    /// or `.yaml` in it).
    pub image: String,
    /// Where each round's guest comes from: `warm` boots guests, saves them, and lets every round go on from one of them in
    /// a QEMU of its own; `cold` boots one for every round.
    pub clone: Warmth,
    /// Boots that are saved for warm rounds, which take them by turns. What a boot leaves to chance, such as the swap slots
    /// in use, differs from one to the next; a verdict on one boot says little of others.
    #[schemars(range(min = 1, max = 64))]
    pub boots: u32,
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
            boots: BOOTS,
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
    /// Size of the device, a multiple of 4096 and at least 40K: mkswap wants ten pages, one of
    /// which it keeps.
    pub size: Option<Size>,
    /// Compressor: `lzo`, `lzo-rle`, `lz4`, `lz4hc`, `zstd`, `842` or `deflate`, or another one
    /// that the kernel has.
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

/// A program to run in the guest, and for how long.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend(
    "required" = ["name"],
    "oneOf" = [{ "required": ["run"] }, { "required": ["program"] }],
))]
pub struct Test {
    /// Name, unique in the plan: letters, digits, `.`, `_`, `+` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$"))]
    pub name: String,
    /// Program in the guest's image, such as `swap-race`.
    pub run: String,
    /// A reproducer as it came, instead of `run`: C source (`repro.c`), a program or a script, by
    /// its path from the plan's folder. It is not told `--seed` and `--for`.
    pub program: Option<String>,
    /// How C source is compiled.
    pub build: Option<Build>,
    /// Its arguments: `memory: anon` is passed as `--memory anon`, `verbose: true` as `--verbose`,
    /// and `verbose: false` not at all. For a `program` also a list of words; `{seconds}` in one
    /// stands for the round's time and `{seed}` for its seed.
    pub args: Arguments,
    /// Files and folders that a `program` finds in its working directory.
    pub files: Vec<String>,
    /// Environment of a `program`.
    pub env: BTreeMap<String, Scalar>,
    /// How a `program` says that something went wrong; by its exit status unless given: 0 is clean
    /// and everything else a failure.
    pub oracle: Option<OrText<Oracle>>,
    /// Rounds for each cell, each in a fresh guest; `defaults.rounds` unless given.
    #[schemars(range(min = 1))]
    pub rounds: Option<u32>,
    /// What fails a round: `corruption` (the default), `crash`, `hang`, `complaint`, `exit` or maps, one or a list of them.
    /// With anything but `corruption` whole rounds are what is counted, and what fails a round makes no kernel `broken`. Lost
    /// data always fails one.
    pub counts: OneOrMany<OrText<Counted>>,
    /// When a round ends.
    pub stop: Stop,
    /// How long each stage around a round may take before the round counts as lost.
    pub deadlines: Deadlines,
}

/// A way to fail that takes a value: exactly one of the keys below.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Counted {
    /// The kernel complains on its console, of this kind: `warning`, `bug`, `lockdep`, `hang`, `oom`, `panic`, `data_loss` or
    /// `leak`.
    pub complaint: Option<String>,
    /// The test program ends with this status, between 0 and 255; `exit` alone is any but 0.
    pub exit: Option<u8>,
    /// The test program prints a line with this text in it.
    pub output: Option<String>,
}

/// When a round ends, whichever comes first, and when a cell needs no more rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// Probability of a wrong `fixed` that is still accepted, between 0 and 0.5; `defaults.alpha`
    /// unless given.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 0.5))]
    pub alpha: Option<f64>,
    /// Smallest residual rate that matters, as a share of the base's rate, between 0 and 1; 0.1
    /// unless given. A patched kernel is `fixed` only if it had so many clean exposures that this
    /// rate would have shown up with 99.9 %.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub residual: Option<f64>,
    /// Rounds of each side before its answer counts as known; 3 unless given, or `rounds` where
    /// that is less.
    #[schemars(range(min = 1))]
    pub min_rounds: Option<u32>,
    /// Stop the rounds of a cell as soon as its answer is known, the base's rounds coming first;
    /// true unless given.
    pub sequential: Option<bool>,
    /// Racing time of a round; `defaults.at_most` unless given.
    pub at_most: Option<Interval>,
    /// Corruptions after which a round ends.
    #[schemars(range(min = 1))]
    pub corruptions: Option<u64>,
    /// Exposures after which a round ends.
    #[schemars(range(min = 1))]
    pub exposures: Option<u64>,
}

/// How long each stage around a round may take before the round counts as lost.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// From the start of QEMU until the guest is ready.
    pub boot: Interval,
    /// Connecting to the guest and authenticating.
    pub ssh: Interval,
    /// From the end of the racing time until the test's last record.
    pub test: Interval,
    /// From the request to power off until QEMU has ended.
    pub shutdown: Interval,
}

impl Default for Deadlines {
    fn default() -> Self {
        let model::Deadlines { boot, ssh, test, shutdown } = model::Deadlines::default();
        Self { boot: Interval(boot), ssh: Interval(ssh), test: Interval(test), shutdown: Interval(shutdown) }
    }
}
