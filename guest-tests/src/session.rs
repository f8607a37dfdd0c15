//! From the first record to the exit code: the racing thread races, the calling thread writes and watches.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use twinboot_protocol::{Corruption, Failure, Preflight, Progress, Record, Summary};

use crate::args::{self, CommonArgs};
use crate::error::{Error, chain};
use crate::race::{Race, Target};
use crate::records::{Tally, Writer};
use crate::strategy::Strategy;
use crate::sys::{clock, signals};

/// Between two looks at the racing thread, which must not be woken for: that would disturb the race.
const LOOK: Duration = Duration::from_millis(20);

/// Between two progress records, in nanoseconds.
const PROGRESS: u64 = 500_000_000;

/// Without a try for so long, in seconds, the test gives up.
const STALL: u64 = 40;

/// Both sides of a race, made in the racing thread.
pub type Sides = (Box<dyn Target>, Box<dyn Strategy>);

/// Runs a whole test and writes its records to `out`. `preflight` is the first record, or what stands in its way;
/// `start` makes both sides in the thread that will race, after which `args` say when it ends.
///
/// The exit code is 0 when the test came to its end, corruptions or not, and 1 when it could not or nobody reads.
pub fn run(
    args: &CommonArgs,
    seed: u64,
    out: impl Write,
    preflight: Result<Preflight, Error>,
    start: impl FnOnce(&Preflight) -> Result<Sides, Error> + Send + 'static,
) -> ExitCode {
    let mut writer = Writer::new(out);
    let written = match preflight {
        Err(error) => fail(&mut writer, &error),
        Ok(preflight) => record_race(args, seed, &mut writer, preflight, start),
    };
    match written {
        Ok(code) => code,
        Err(error) => {
            // Standard error is all that is left; if that is gone as well, the exit code says it.
            let _ = writeln!(io::stderr(), "error: writing the records failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fail<W: Write>(writer: &mut Writer<W>, error: &Error) -> io::Result<ExitCode> {
    writer.write(&Record::Failure(Failure { message: chain(error), stuck: error.blames_the_kernel() }))?;
    writer.flush()?;
    Ok(ExitCode::FAILURE)
}

fn record_race<W: Write>(
    args: &CommonArgs,
    seed: u64,
    writer: &mut Writer<W>,
    preflight: Preflight,
    start: impl FnOnce(&Preflight) -> Result<Sides, Error> + Send + 'static,
) -> io::Result<ExitCode> {
    writer.write(&Record::Preflight(preflight.clone()))?;
    writer.flush()?;
    if let Err(error) = signals::note_stop_signals() {
        return fail(writer, &error.into());
    }
    let tally = Arc::new(Tally::default());
    let (corruptions, received) = mpsc::channel();
    let (counters, stop) = (Arc::clone(&tally), args.stop());
    let racing = thread::spawn(move || {
        let (mut target, mut strategy) = start(&preflight)?;
        let race = Race { rng: args::generator(seed), stop, tally: &counters, corruptions: &corruptions };
        let finish = race.run(&mut *target, &mut *strategy)?;
        let mut details = strategy.details();
        details.extend(target.details());
        let mut profile = finish.profile;
        profile.extend(strategy.profile());
        profile.extend(target.profile());
        Ok(Summary {
            elapsed_ns: counters.elapsed_ns(),
            counts: finish.counts,
            first_corruption_ns: finish.first_corruption_ns,
            stopped_by: finish.stopped_by,
            seed,
            factors: Vec::new(),
            details,
            profile,
        })
    });
    match watch(writer, &tally, &received, racing)? {
        Ok(summary) => {
            writer.write(&Record::Summary(summary))?;
            writer.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => fail(writer, &error),
    }
}

/// Writes what the racing thread finds until it ends, or until it has hung for too long.
fn watch<W: Write>(
    writer: &mut Writer<W>,
    tally: &Tally,
    received: &Receiver<Corruption>,
    racing: JoinHandle<Result<Summary, Error>>,
) -> io::Result<Result<Summary, Error>> {
    let mut progress_at = clock::now() + PROGRESS;
    let (mut tries, mut moved_at) = (0, clock::now());
    loop {
        // Asked first, so that what the thread sent before its end is still received below.
        let finished = racing.is_finished();
        for corruption in received.try_iter() {
            writer.write(&Record::Corruption(corruption))?;
        }
        if finished {
            return Ok(racing.join().unwrap_or(Err(Error::Panicked)));
        }
        let now = clock::now();
        let counts = tally.counts();
        if now >= progress_at {
            progress_at = now + PROGRESS;
            writer.write(&Record::Progress(Progress { elapsed_ns: tally.elapsed_ns(), counts }))?;
            writer.flush()?;
        }
        if counts.tries != tries {
            (tries, moved_at) = (counts.tries, now);
        } else if now > moved_at + STALL * 1_000_000_000 {
            return Ok(Err(Error::Stalled { seconds: STALL, tries }));
        }
        thread::sleep(LOOK);
    }
}
