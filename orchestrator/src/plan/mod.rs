//! Test plans: what to build, boot and race, read from YAML and checked before anything runs.

pub mod model;
