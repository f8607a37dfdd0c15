//! `twinboot simulate`

use std::io::Write;

use super::args::SimulateArgs;
use super::exit::{Failure, INFRASTRUCTURE, OK, USAGE};
use crate::journal::rules::Rule;
use crate::plan::validate::{self, Problem};
use crate::simulation::{self, Open, Tally, Truth, World};

/// Draws runs in every world the arguments name, and prints how often each verdict came out.
pub fn run(args: &SimulateArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let rule = rule(args)?;
    if args.exact {
        let (share, p) = simulation::worst_by_rounds(&rule);
        writeln!(
            out,
            "false fixed by the test over rounds, both sides alike: at most {p:.2e}, where a share of {share} of the rounds corrupts"
        )?;
        return Ok(OK);
    }
    let tallies: Vec<Tally> =
        worlds(args)?.iter().map(|world| simulation::tally(world, &rule, args.runs, args.seed)).collect();
    if args.json {
        let all: Vec<serde_json::Value> = tallies.iter().map(json).collect();
        serde_json::to_writer_pretty(&mut *out, &all).map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
        writeln!(out)?;
    } else {
        write!(out, "{}", simulation::markdown(&tallies))?;
    }
    Ok(OK)
}

fn rule(args: &SimulateArgs) -> Result<Rule, Failure> {
    let min_rounds = args.min_rounds.unwrap_or(args.rounds.min(3));
    let checks = [
        ("--alpha", validate::alpha(args.alpha)),
        ("--residual", validate::residual(args.residual)),
        ("--rounds", validate::rounds(args.rounds)),
        ("--min-rounds", validate::min_rounds(min_rounds, args.rounds)),
    ];
    for (flag, check) in checks {
        check.map_err(|Problem { message, .. }| Failure::say(USAGE, format!("{flag}: {message}")))?;
    }
    Ok(Rule {
        alpha: args.alpha,
        residual: args.residual,
        min_rounds,
        rounds: args.rounds,
        sequential: !args.all_rounds,
        exact: true,
    })
}

fn worlds(args: &SimulateArgs) -> Result<Vec<World>, Failure> {
    let at_least_zero = |name: &str, value: f64| {
        let good = value.is_finite() && value >= 0.0;
        good.then_some(())
            .ok_or_else(|| Failure::say(USAGE, format!("{name} is {value}, it must be a number from 0 on")))
    };
    for &rate in &args.rate {
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(Failure::say(USAGE, format!("--rate is {rate}, it must be more than 0 and at most 1")));
        }
    }
    args.ratio.iter().try_for_each(|&ratio| at_least_zero("--ratio", ratio))?;
    args.clustering.iter().try_for_each(|&clustering| at_least_zero("--clustering", clustering))?;
    args.boot_clustering.iter().try_for_each(|&clustering| at_least_zero("--boot-clustering", clustering))?;
    let open = args.levels.iter().flat_map(|&levels| {
        let each = [(false, true), (false, false), (true, true), (true, false)];
        each.map(|(by_round, told)| Truth::Open(Open { levels, by_round, told }))
    });
    let ratios = args.ratio.iter().copied().map(Truth::Ratio);
    let truths: Vec<Truth> = ratios.chain(open).chain([Truth::Same]).collect();
    let mut worlds = Vec::new();
    for &truth in &truths {
        for &rate in &args.rate {
            for &boot_clustering in &args.boot_clustering {
                let of =
                    |&clustering: &f64| World { rate, exposures: args.exposures, clustering, boot_clustering, truth };
                worlds.extend(args.clustering.iter().map(of));
            }
        }
    }
    Ok(worlds)
}

fn json(tally: &Tally) -> serde_json::Value {
    let (world, wrong95) = (&tally.world, tally.wrong95());
    serde_json::json!({
        "truth": world.truth.words(),
        "ratio": match world.truth { Truth::Ratio(ratio) => Some(ratio), Truth::Open(_) | Truth::Same => None },
        "rate": world.rate,
        "exposures": world.exposures,
        "clustering": world.clustering,
        "boot_clustering": world.boot_clustering,
        "false_fixed": tally.false_fixed,
        "runs": tally.runs,
        "verdicts": tally.verdicts,
        "wrong": tally.wrong,
        "wrong_interval95": [wrong95.low, wrong95.high],
        "base_rounds": tally.base_rounds,
        "patched_rounds": tally.patched_rounds,
    })
}
