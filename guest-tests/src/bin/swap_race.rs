//! Races two threads for one swapped-out page: one faults it in while the other writes to it and swaps it out again.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use racer::actors::Names;
use racer::args::CommonArgs;
use racer::strategy::Kind;
use racer::swap::{RacedPage, SwapScene, SwapTarget, require_small_swap};
use racer::sys::uname::Preemption;
use racer::{Error, actors, preflight, session};
use twinboot_protocol::Preflight;

const NAME: &str = "swap-race";

/// Races two threads for one swapped-out page and reports lost writes as JSON lines
#[derive(Debug, Parser)]
#[command(name = NAME, version, about)]
struct Args {
    /// What kind of memory the page is
    #[arg(long, value_enum, default_value = "anon")]
    memory: Memory,
    /// How the interferer gets into the victim's fault
    #[arg(long, value_enum, default_value = "preempt")]
    strategy: Kind,
    /// Race nothing: threads of these names do what standard input orders, one JSON object a line
    #[arg(long, value_name = "NAME,NAME")]
    interleave: Option<Names>,
    /// With --interleave: swap slots to leave free beside those of the two pages
    #[arg(long, value_name = "N", default_value_t = 0, requires = "interleave")]
    free_slots: u64,
    #[command(flatten)]
    common: CommonArgs,
}

/// Kinds of memory whose swap-in skips the swap cache in some kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Memory {
    /// Private anonymous memory
    Anon,
}

fn main() -> ExitCode {
    let Args { memory: Memory::Anon, strategy, interleave, free_slots, common } = Args::parse();
    let seed = common.seed();
    if let Some(names) = interleave {
        let survey = preflight::survey(NAME, "interleave", seed);
        return actors::run(&names.0, survey, move |ground, cpus| {
            Ok(Arc::new(SwapScene::new(ground, cpus, free_slots)?))
        });
    }
    let survey = preflight::survey(NAME, strategy.name(), seed);
    session::run(&common, seed, io::stdout().lock(), survey, move |ground| sides(strategy, ground))
}

/// Checks the ground and makes both sides, in the victim's thread.
fn sides(strategy: Kind, ground: &Preflight) -> Result<session::Sides, Error> {
    preflight::require_known_page_size(ground)?;
    let preemption = Preemption::of_running(&ground.kernel_version);
    strategy.check(preemption, &ground.kernel_version, ground.cpus as usize)?;
    let slots = require_small_swap(ground)?;
    let page = RacedPage::new()?;
    let strategy = strategy.start(ground.seed, page.interference())?;
    let target = SwapTarget::new(page, slots, &strategy.cpus())?;
    Ok((Box::new(target), strategy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_strategy_are_words_and_anything_else_is_a_usage_error() {
        let args = Args::try_parse_from([NAME, "--strategy", "smp", "--memory", "anon"]).expect("good arguments");
        assert_eq!((args.memory, args.strategy), (Memory::Anon, Kind::Smp));
        let args = Args::try_parse_from([NAME, "--interleave", "a,b,c", "--free-slots", "3"]).expect("good arguments");
        assert_eq!((args.interleave.map(|names| names.0.len()), args.free_slots), (Some(3), 3));
        for wrong in [
            ["--memory", "tmpfs"],
            ["--strategy", "luck"],
            ["--strategy", ""],
            ["--interleave", "a,a"],
            ["--free-slots", "3"],
        ] {
            let error = Args::try_parse_from([&[NAME], &wrong[..]].concat()).expect_err("garbage");
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }
}
