//! The files that a plan names beside its sources, read and checked before anything is fetched or
//! built.

use std::collections::BTreeSet;

use super::{base, config, initramfs, patch};
use crate::causes::chain;
use crate::plan::model::{BaseConfig, ConfigLayer, Plan};

/// What is wrong with the plan's fragments, base configurations, patches and image recipes: each
/// once, in plan order. A file that is not there is an error of the plan, and passed over here.
pub fn check_inputs(plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    for kernel in &plan.kernels {
        for layer in &kernel.config {
            if matches!(layer, ConfigLayer::Fragment(path) if path.is_file()) {
                problems.extend(config::load(std::slice::from_ref(layer)).err().map(|error| chain(&error)));
            }
        }
        if matches!(&kernel.base_config, BaseConfig::File(path) if path.is_file()) {
            problems.extend(base(&kernel.base_config).err().map(|error| chain(&error)));
        }
        let patches = kernel.variants.iter().flat_map(|variant| &variant.patches);
        for patch in patches.filter(|patch| patch.path.is_file()) {
            problems.extend(patch::load(patch).err().map(|error| chain(&error)));
        }
    }
    for recipe in plan.guests.iter().map(|guest| &guest.image).filter(|path| path.is_file()) {
        problems.extend(initramfs::Recipe::load(recipe).err().map(|error| chain(&error)));
    }
    let mut told = BTreeSet::new();
    problems.retain(|problem| told.insert(problem.clone()));
    problems
}
