//! What runs inside a twinboot guest, in parts that a second race test can use as they are.
//!
//! A test brings a [`race::Target`], the thing that is raced, and an [`strategy::Interference`]. The library brings
//! the strategies that put the interference inside the victim's operation, the oracle that says what a page should hold,
//! the ballast that makes swap entries come back, and the [`session`] that counts, records and stops.
//! [`guest`] is what the guest's init is made of.

pub mod actors;
pub mod aim;
pub mod args;
pub mod ballast;
pub mod error;
pub mod factors;
pub mod guest;
pub mod oracle;
pub mod preflight;
pub mod profile;
pub mod race;
pub mod records;
pub mod session;
pub mod stop;
pub mod strategy;
pub mod swap;
pub mod sys;

pub use error::Error;

/// Compiles the example of docs/adding-a-race.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/adding-a-race.md")]
struct AddingARace;
