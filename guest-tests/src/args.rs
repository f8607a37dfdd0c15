//! Arguments that every guest test takes; a test adds its own around them with `#[command(flatten)]`.

use std::num::NonZeroU64;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::stop::Stop;

/// The common arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonArgs {
    /// Seed of every random choice [default: a random one, reported in the first record]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How long to race: a number and ms, s or m
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Stop after so many corruptions
    #[arg(long, value_name = "N")]
    pub stop_corruptions: Option<NonZeroU64>,
    /// Stop after so many exposures
    #[arg(long, value_name = "N")]
    pub stop_exposures: Option<NonZeroU64>,
}

impl CommonArgs {
    /// The seed that was given, or a fresh one.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }

    /// When to stop.
    pub fn stop(&self) -> Stop {
        Stop {
            after: self.duration,
            corruptions: self.stop_corruptions.map(NonZeroU64::get),
            exposures: self.stop_exposures.map(NonZeroU64::get),
        }
    }
}

/// The generator of a test's random choices.
pub fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Reads `500ms`, `30s` or `2m`. Zero is refused: a race that takes no time tests nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("expected a whole number and a unit, such as 500ms, 30s or 2m".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(0) => Err("expected more than nothing".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err("expected a whole number that fits 64 bits of milliseconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Test {
        #[command(flatten)]
        common: CommonArgs,
    }

    fn parse(args: &[&str]) -> Result<CommonArgs, clap::Error> {
        Test::try_parse_from([&["test"], args].concat()).map(|test| test.common)
    }

    #[test]
    fn every_argument_reaches_the_stop_conditions() {
        let args = ["--seed", "7", "--for", "500ms", "--stop-corruptions", "3", "--stop-exposures", "9"];
        let common = parse(&args).expect("good arguments");
        assert_eq!(common.seed(), 7);
        let stop = common.stop();
        assert_eq!((stop.after, stop.corruptions, stop.exposures), (Duration::from_millis(500), Some(3), Some(9)));
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "30", "s", "1.5s", "-3s", "3h", "0s", "99999999999999999999s", "18446744073709551615m"] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn garbage_is_a_usage_error_with_exit_code_2() {
        for args in [&["--for", "soon"][..], &["--seed", "x"], &["--stop-corruptions", "0"], &["--frob"], &["extra"]] {
            assert_eq!(parse(args).expect_err("garbage").exit_code(), 2, "{args:?}");
        }
    }
}
