//! Values of the guest's axes.

use super::model::{Guest, Swap};
use super::schema::{GUEST_AXES, Size, Zram};
use super::validate::{self, Problem};
use crate::journal::rules::Warmth;

/// A setting of the guest to one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestValue {
    /// `guest.cpus`
    Cpus(u32),
    /// `guest.memory`, in bytes.
    Memory(u64),
    /// `guest.swap.zram.size`, in bytes.
    ZramSize(u64),
    /// `guest.swap.zram.algorithm`
    Algorithm(String),
    /// `guest.cmdline`
    Cmdline(String),
    /// `guest.clone`
    Clone(Warmth),
}

impl GuestValue {
    /// Reads the value of one of [`GUEST_AXES`].
    ///
    /// # Errors
    ///
    /// When the text is none or one that a guest cannot have.
    pub fn parse(axis: &str, text: &str) -> Result<Self, Problem> {
        let size = |check: fn(u64) -> Result<(), Problem>| {
            let Some(Size(bytes)) = Size::parse(text) else {
                return Err(expected(text, "a size such as 65536, 64K, 512M or 1G"));
            };
            check(bytes).map(|()| bytes)
        };
        match GUEST_AXES.iter().position(|known| *known == axis) {
            Some(0) => {
                let cpus = text.parse().map_err(|_| expected(text, "a whole number of CPUs"))?;
                validate::cpus(cpus).map(|()| Self::Cpus(cpus))
            }
            Some(1) => size(validate::memory).map(Self::Memory),
            Some(2) => size(validate::swap_size).map(Self::ZramSize),
            Some(3) => validate::algorithm(text).map(|()| Self::Algorithm(text.to_owned())),
            Some(4) => validate::line(text).map(|()| Self::Cmdline(text.to_owned())),
            Some(5) => match text {
                "warm" => Ok(Self::Clone(Warmth::Warm)),
                "cold" => Ok(Self::Clone(Warmth::Cold)),
                _ => Err(expected(text, "`warm` or `cold`")),
            },
            _ => Err(Problem { message: format!("unknown axis `{axis}`"), hint: None }),
        }
    }

    /// Order in which values are applied: a zram device must be there before its compressor is set.
    pub fn rank(&self) -> usize {
        match self {
            Self::Cpus(_) => 0,
            Self::Memory(_) => 1,
            Self::ZramSize(_) => 2,
            Self::Algorithm(_) => 3,
            Self::Cmdline(_) => 4,
            Self::Clone(_) => 5,
        }
    }

    /// Whether applying this gives a guest a zram device.
    pub fn makes_zram(&self) -> bool {
        matches!(self, Self::ZramSize(_))
    }

    /// Sets this in `guest`. A compressor has no effect where there is no zram device.
    pub fn apply(&self, guest: &mut Guest) {
        match self {
            Self::Cpus(cpus) => guest.cpus = *cpus,
            Self::Memory(bytes) => guest.memory = *bytes,
            Self::Cmdline(text) => guest.cmdline.clone_from(text),
            Self::Clone(warmth) => guest.clone = *warmth,
            Self::ZramSize(bytes) => match &mut guest.swap {
                Some(Swap::Zram { size, .. }) => *size = *bytes,
                swap => *swap = Some(Swap::Zram { size: *bytes, algorithm: Zram::default().algorithm }),
            },
            Self::Algorithm(name) => {
                if let Some(Swap::Zram { algorithm, .. }) = &mut guest.swap {
                    algorithm.clone_from(name);
                }
            }
        }
    }

    /// Whether `guest` is set so.
    pub fn is_in(&self, guest: &Guest) -> bool {
        match self {
            Self::Cpus(cpus) => guest.cpus == *cpus,
            Self::Memory(bytes) => guest.memory == *bytes,
            Self::Cmdline(text) => guest.cmdline == *text,
            Self::Clone(warmth) => guest.clone == *warmth,
            Self::ZramSize(bytes) => matches!(&guest.swap, Some(Swap::Zram { size, .. }) if size == bytes),
            Self::Algorithm(name) => matches!(&guest.swap, Some(Swap::Zram { algorithm, .. }) if algorithm == name),
        }
    }
}

fn expected(found: &str, wanted: &str) -> Problem {
    Problem { message: format!("found '{found}', expected {wanted}"), hint: None }
}
