//! The guest and the tests as the plan describes them, before the matrix varies them.

use std::collections::BTreeMap;

use super::context::Context;
use super::interleavings;
use super::programs;
use crate::journal::failure::Counted;
use crate::plan::model::{Deadlines, Guest, Stop, Swap, Test};
use crate::plan::schema::{OneOrMany, OrText, SwapDevice, SwapSetting};
use crate::plan::yaml::KeyPath;
use crate::plan::{schema, validate};

pub(super) fn resolve(context: Context, raw: &schema::Guest) -> Guest {
    let path = KeyPath::keys(&["guest"]);
    context.check(&path.key("cpus"), validate::cpus(raw.cpus));
    context.check(&path.key("memory"), validate::memory(raw.memory.0));
    context.check(&path.key("boots"), validate::boots(raw.boots));
    context.check(&path.key("cmdline"), validate::line(&raw.cmdline));
    let sysctl = context.scalars(&path.key("sysctl"), &raw.sysctl);
    for key in sysctl.keys() {
        context.check(&path.key("sysctl").key(key), validate::word(key, "sysctl"));
    }
    Guest {
        name: "default".to_owned(),
        cpus: raw.cpus,
        memory: raw.memory.0,
        swap: match &raw.swap {
            SwapSetting::None => None,
            SwapSetting::Device(device) => swap(context, &path.key("swap"), device),
        },
        sysctl,
        cmdline: raw.cmdline.clone(),
        image: context.recipe(&path.key("image"), &raw.image),
        clone: raw.clone,
        boots: raw.boots,
    }
}

fn swap(context: Context, path: &KeyPath, raw: &SwapDevice) -> Option<Swap> {
    let size = |device: &str, size: Option<schema::Size>| {
        let path = path.key(device);
        match size {
            Some(size) => context.check(&path.key("size"), validate::swap_size(size.0)),
            None => context.document.missing(&path, "size", Some("such as `size: 64K`".to_owned())),
        }
        size.map_or(0, |size| size.0)
    };
    let zram = raw.zram.as_ref().map(|zram| {
        context.check(&path.key("zram").key("algorithm"), validate::algorithm(&zram.algorithm));
        Swap::Zram { size: size("zram", zram.size), algorithm: zram.algorithm.clone() }
    });
    let brd = raw.brd.as_ref().map(|brd| Swap::Brd { size: size("brd", brd.size) });
    if zram.is_some() && brd.is_some() {
        context.document.error(path, "found zram and brd, expected one swap device", None);
    }
    if zram.is_none() && brd.is_none() && !context.document.damaged(path) {
        let hint = "give it `zram: {size: 64K}` or `brd: {size: 64K}`, or write `swap: none`";
        context.document.error(path, "found no swap device, expected one", Some(hint.to_owned()));
    }
    zram.or(brd)
}

/// Fewer rounds tell little of how corruptions cluster.
const MIN_ROUNDS: u32 = 3;
/// A tenth of the base's rate.
const RESIDUAL: f64 = 0.1;

/// Half of the base's rate, where rounds are all there is to count: a tenth would take 80 of them at least.
const RESIDUAL_OF_ROUNDS: f64 = 0.5;

pub(super) fn resolve_tests(context: Context, raw: &schema::Plan) -> Vec<Test> {
    if raw.tests.is_empty() && !interleavings::written(context) {
        context.no_items(&KeyPath::root(), "tests", "test");
    }
    let mut seen = BTreeMap::new();
    let mut tests = Vec::new();
    for (index, test) in raw.tests.iter().enumerate() {
        let path = KeyPath::keys(&["tests"]).index(index);
        context.name(&path, &test.name, "test", &mut seen);
        tests.push(self::test(context, &path, test, &raw.defaults));
    }
    programs::check_names(context, &tests);
    tests
}

fn test(context: Context, path: &KeyPath, raw: &schema::Test, defaults: &schema::Defaults) -> Test {
    let (program, run, args) = programs::resolve(context, path, raw);
    if let Some(rounds) = raw.rounds {
        context.check(&path.key("rounds"), validate::rounds(rounds));
    }
    let deadlines = &raw.deadlines;
    let stages =
        [("boot", deadlines.boot), ("ssh", deadlines.ssh), ("test", deadlines.test), ("shutdown", deadlines.shutdown)];
    for (key, interval) in stages {
        context.check(&path.key("deadlines").key(key), validate::interval(interval.0));
    }
    let rounds = raw.rounds.unwrap_or(defaults.rounds);
    if program.is_some() && context.document.has(&path.key("counts")) {
        let hint = "a program says with `oracle` what fails a round".to_owned();
        context.document.error(&path.key("counts"), "`counts` is for tests with `run`", Some(hint));
    }
    let by_rounds = program.as_ref().is_some_and(|program| !program.oracle.tells_exposures());
    Test {
        name: raw.name.clone(),
        run,
        program,
        args,
        rounds,
        counts: counts(context, &path.key("counts"), &raw.counts),
        stop: stop(context, &path.key("stop"), &raw.stop, (rounds, by_rounds), defaults),
        deadlines: Deadlines {
            boot: deadlines.boot.0,
            ssh: deadlines.ssh.0,
            test: deadlines.test.0,
            shutdown: deadlines.shutdown.0,
        },
    }
}

/// What fails a round.
fn counts(context: Context, path: &KeyPath, raw: &OneOrMany<OrText<schema::Counted>>) -> Vec<Counted> {
    let mut counts = Vec::new();
    for (index, item) in raw.items() {
        let path = index.map_or_else(|| path.clone(), |index| path.index(index));
        match item {
            OrText::Text(word) => counts.extend(context.check_value(&path, validate::counted(word))),
            OrText::Full(way) => counts.extend(counted(context, &path, way)),
        }
    }
    counts
}

fn counted(context: Context, path: &KeyPath, raw: &schema::Counted) -> Option<Counted> {
    let complaint = raw.complaint.as_ref().and_then(|kind| {
        let kind = context.check_value(&path.key("complaint"), validate::complaint(kind))?;
        Some(Counted::Complaint(Some(kind)))
    });
    let output = raw.output.as_ref().map(|text| {
        context.check(&path.key("output"), validate::output(text));
        Counted::Output(text.clone())
    });
    let exit = raw.exit.map(|status| Counted::Exit(Some(i32::from(status))));
    let keys = [raw.complaint.is_some(), raw.exit.is_some(), raw.output.is_some()];
    let given = keys.into_iter().filter(|given| *given).count();
    if given != 1 && !context.document.damaged(path) {
        let message = format!("found {given} ways to fail, expected one");
        let hint = "write one of `complaint: CLASS`, `exit: STATUS`, `output: TEXT` in each item of the list";
        context.document.error(path, message, Some(hint.to_owned()));
    }
    complaint.or(exit).or(output)
}

fn stop(
    context: Context,
    path: &KeyPath,
    raw: &schema::Stop,
    (rounds, by_rounds): (u32, bool),
    defaults: &schema::Defaults,
) -> Stop {
    if let Some(alpha) = raw.alpha {
        context.check(&path.key("alpha"), validate::alpha(alpha));
    }
    if let Some(at_most) = raw.at_most {
        context.check(&path.key("at_most"), validate::interval(at_most.0));
    }
    if let Some(residual) = raw.residual {
        context.check(&path.key("residual"), validate::residual(residual));
    }
    if let Some(min_rounds) = raw.min_rounds {
        context.check(&path.key("min_rounds"), validate::min_rounds(min_rounds, rounds));
    }
    for (key, count) in [("corruptions", raw.corruptions), ("exposures", raw.exposures)] {
        if let Some(count) = count {
            context.check(&path.key(key), validate::count(count));
        }
    }
    Stop {
        alpha: raw.alpha.unwrap_or(defaults.alpha),
        residual: raw.residual.unwrap_or(if by_rounds { RESIDUAL_OF_ROUNDS } else { RESIDUAL }),
        min_rounds: raw.min_rounds.unwrap_or(MIN_ROUNDS.min(rounds)),
        sequential: raw.sequential.unwrap_or(true),
        at_most: raw.at_most.unwrap_or(defaults.at_most).0,
        corruptions: raw.corruptions,
        exposures: raw.exposures,
    }
}
