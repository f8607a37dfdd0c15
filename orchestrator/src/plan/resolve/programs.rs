//! The tests as the plan describes them, before the matrix varies their arguments.

use std::collections::BTreeMap;

use super::{Context, forced};
use crate::plan::model::{Deadlines, Stop, Test};
use crate::plan::yaml::KeyPath;
use crate::plan::{schema, validate};

/// Fewer rounds tell little of how corruptions cluster.
const MIN_ROUNDS: u32 = 3;
/// A tenth of the base's rate.
const RESIDUAL: f64 = 0.1;

pub(super) fn resolve(context: Context, raw: &schema::Plan) -> Vec<Test> {
    if raw.tests.is_empty() && !forced::written(context) {
        context.no_items(&KeyPath::root(), "tests", "test");
    }
    let mut seen = BTreeMap::new();
    let mut tests = Vec::new();
    for (index, test) in raw.tests.iter().enumerate() {
        let path = KeyPath::keys(&["tests"]).index(index);
        context.name(&path, &test.name, "test", &mut seen);
        tests.push(self::test(context, &path, test, &raw.defaults));
    }
    tests
}

fn test(context: Context, path: &KeyPath, raw: &schema::Test, defaults: &schema::Defaults) -> Test {
    if context.document.has(&path.key("run")) {
        if !context.document.damaged(&path.key("run")) {
            context.check(&path.key("run"), validate::word(&raw.run, "program"));
        }
    } else {
        context.document.missing(path, "run", Some("the program to run, such as `run: swap-race`".to_owned()));
    }
    let args = context.scalars(&path.key("args"), &raw.args);
    for key in args.keys() {
        context.check(&path.key("args").key(key), validate::word(key, "argument"));
    }
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
    Test {
        name: raw.name.clone(),
        run: raw.run.clone(),
        args,
        rounds,
        stop: stop(context, &path.key("stop"), &raw.stop, rounds, defaults),
        deadlines: Deadlines {
            boot: deadlines.boot.0,
            ssh: deadlines.ssh.0,
            test: deadlines.test.0,
            shutdown: deadlines.shutdown.0,
        },
    }
}

fn stop(context: Context, path: &KeyPath, raw: &schema::Stop, rounds: u32, defaults: &schema::Defaults) -> Stop {
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
        residual: raw.residual.unwrap_or(RESIDUAL),
        min_rounds: raw.min_rounds.unwrap_or(MIN_ROUNDS.min(rounds)),
        sequential: raw.sequential.unwrap_or(true),
        at_most: raw.at_most.unwrap_or(defaults.at_most).0,
        corruptions: raw.corruptions,
        exposures: raw.exposures,
    }
}
