//! `summary.json`: the contract with scripts. Its schema is `docs/summary.schema.json`.

mod forced;
mod model;

use super::{Format, RenderError, boot, profile, story, words};
use crate::analysis::stats::LnProb;
use crate::analysis::{BuildState, CellResult, Comparison, Rate, Results, Round, exit_code};
use crate::journal::entry::{RoundOutcome, SCHEMA};

pub use forced::*;
pub use model::*;

/// The `summary.json` format.
#[derive(Debug, Clone, Copy)]
pub struct SummaryJson;

impl Format for SummaryJson {
    fn name(&self) -> &'static str {
        "summary"
    }

    fn file_name(&self) -> &'static str {
        "summary.json"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        let text = serde_json::to_string_pretty(&Summary::of(results))
            .map_err(|error| RenderError { format: self.name(), reason: error.to_string() })?;
        Ok(words::ascii_controls(&text) + "\n")
    }
}

/// The JSON schema of [`Summary`], as committed under docs/.
pub fn summary_schema() -> String {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Summary>();
    format!("{:#}\n", schema.as_value())
}

impl Summary {
    /// The summary of `results`.
    pub fn of(results: &Results) -> Self {
        let run = results.run.as_ref();
        Self {
            schema: SCHEMA,
            plan: run.map(|run| run.plan.clone()),
            plan_sha256: run.map(|run| run.plan_sha256.clone()),
            twinboot: run.map(|run| run.twinboot.clone()),
            started: run.map(|run| run.started.clone()),
            finished: results.finished.as_ref().map(|end| end.finished.clone()),
            interrupted: results.interrupted(),
            seed: run.map(|run| run.seed),
            alpha: run.map(|run| run.alpha),
            rerun: run.map(|run| run.rerun.clone()),
            host: run.map(|run| HostSummary {
                kernel: run.host.kernel.clone(),
                cpu: run.host.cpu.clone(),
                cpus: run.host.cpus,
                memory: run.host.memory,
            }),
            accelerator: run.map(|run| AcceleratorSummary {
                name: run.accelerator.name.clone(),
                qemu: run.accelerator.qemu.clone(),
            }),
            load: run.and_then(|run| {
                run.load.map(|load| LoadSummary {
                    guests: load.guests,
                    vcpus: load.vcpus,
                    vcpus_per_host_cpu: load.per_cpu(run.host.cpus),
                })
            }),
            notices: results.notices.clone(),
            cells: results.cells.iter().map(cell).collect(),
            comparisons: results.comparisons.iter().filter_map(|it| comparison(results, it)).collect(),
            forced: results.forced.iter().map(ForcedSummary::of).collect(),
            sweeps: results.sweeps.iter().map(SweepSummary::of).collect(),
            forced_comparisons: forced::comparisons(results, &results.forced_comparisons),
            exit_code: exit_code(results),
        }
    }
}

fn cell(cell: &CellResult) -> CellSummary {
    let rate = Rate::of(cell);
    let (spec, built, totals) = (&cell.spec, cell.built(), &cell.totals);
    CellSummary {
        id: spec.id.clone(),
        kernel: spec.kernel.clone(),
        version: built.map(|built| built.release.clone()),
        variant: spec.variant.clone(),
        guest: spec.guest.clone(),
        test: spec.test.clone(),
        strategy: spec.strategy.clone(),
        expect: spec.expect,
        met: cell.met,
        outcome: cell.outcome,
        rounds: cell.counted_rounds(),
        rounds_planned: spec.rounds,
        rounds_started: cell.rounds.len() as u64,
        counts: spec.counts.clone(),
        rounds_failed: cell.counts_rounds().then_some(cell.failed.len() as u64),
        rounds_corrupt: cell.corrupt_and_clean_rounds().0,
        tries: totals.tries,
        landings: totals.landings,
        reuses: totals.reuses,
        exposures: totals.exposures,
        corruptions: totals.corruptions,
        corruptions_seen: cell.corruptions_seen,
        seconds: cell.seconds,
        per_exposure: rate.per_exposure,
        per_exposure_interval95: rate.interval95.map(|it| (it.low, it.high)),
        per_try: rate.per_try,
        per_second: rate.per_second,
        first_corruption_s: cell.first_corruption_s,
        first_corruption_median_s: cell.median_first_corruption_s,
        stopped: cell.stopped.as_ref().map(|stopped| StoppedSummary {
            after_rounds: stopped.after_rounds,
            of_rounds: stopped.of_rounds,
            why: stopped.why,
        }),
        proof: story::proof(cell).map(|(round, sample)| ProofSummary {
            round,
            attempt: sample.attempt,
            page: sample.page,
            expected: sample.expected,
            found: sample.found,
            kind: story::kind_words(sample.kind).to_owned(),
            entry_before: sample.entry_before.map(|entry| (entry.kind, entry.offset)),
            entry_after: sample.entry_after.map(|entry| (entry.kind, entry.offset)),
        }),
        cpus: spec.cpus,
        memory: spec.memory,
        swap: spec.swap.clone(),
        clone: spec.clone,
        boots: boot::of(cell),
        profile: profile::of(cell),
        patches: spec
            .patches
            .iter()
            .map(|patch| PatchSummary {
                file: patch.file.clone(),
                subject: patch.subject.clone(),
                reverse: patch.reverse,
                id: patch.id.clone(),
            })
            .collect(),
        config_sha256: built.map(|built| built.config_sha256.clone()),
        source: built.map(|built| built.source.clone()).filter(|source| !source.is_empty()),
        compiler: built.map(|built| built.compiler.clone()),
        load_digest: built.map(|built| built.load_digest.clone()),
        build_error: match &cell.build {
            BuildState::Failed(reason) => Some(reason.clone()),
            BuildState::Built(_) | BuildState::Unknown => None,
        },
        trouble: cell
            .trouble
            .iter()
            .map(|trouble| TroubleSummary {
                kind: trouble.kind.label().to_owned(),
                kernel: trouble.kind.is_kernels(),
                headline: trouble.headline.clone(),
                rounds: trouble.rounds.clone(),
                excerpt: trouble.excerpt.clone(),
            })
            .collect(),
        per_round: cell.rounds.iter().map(round).collect(),
    }
}

fn round(round: &Round) -> RoundSummary {
    let counts = round.counts();
    RoundSummary {
        round: round.number,
        outcome: outcome_word(round).to_owned(),
        clone: round.end().map(|end| end.clone),
        seed: round.end().map(|end| end.seed),
        tries: counts.map(|it| it.tries),
        exposures: counts.map(|it| it.exposures),
        corruptions: counts.map(|it| it.corruptions),
        seconds: round.seconds(),
        first_corruption_s: round.first_corruption_s(),
    }
}

/// The outcome of a round as the journal spells it, or `lost`.
pub(super) fn outcome_word(round: &Round) -> &'static str {
    match round.end().map(|end| &end.outcome) {
        None => "lost",
        Some(RoundOutcome::Finished) => "finished",
        Some(RoundOutcome::GuestDied { .. }) => "guest_died",
        Some(RoundOutcome::TimedOut { .. }) => "timed_out",
        Some(RoundOutcome::Stuck { .. }) => "stuck",
        Some(RoundOutcome::TestFailed { .. }) => "test_failed",
        Some(RoundOutcome::Infrastructure { .. }) => "infrastructure",
        Some(RoundOutcome::Interrupted) => "interrupted",
    }
}

fn comparison(results: &Results, it: &Comparison) -> Option<ComparisonSummary> {
    let (base, patched) = results.sides(it)?;
    let numbers = it.numbers.as_ref();
    let ratio = numbers.and_then(|numbers| numbers.ratio);
    let finite = |value: f64| value.is_finite().then_some(value);
    let log10 = |p: LnProb| finite(p.log10());
    Some(ComparisonSummary {
        kernel: base.spec.kernel.clone(),
        guest: base.spec.guest.clone(),
        test: base.spec.test.clone(),
        base: base.spec.variant.clone(),
        patched: patched.spec.variant.clone(),
        base_cell: it.base.clone(),
        patched_cell: it.patched.clone(),
        control: it.control,
        verdict: it.verdict,
        reason: it.reason,
        explanation: story::reason(it),
        sentence: format!("{} -> {}", story::comparison(results, it), it.verdict.word()),
        alpha: it.alpha,
        p_value: it.p.map(LnProb::value),
        log10_p_value: it.p.and_then(log10),
        evidence: it.evidence.map(|evidence| evidence.kind),
        all_evidence: numbers.map_or_else(Vec::new, |numbers| {
            let told = numbers.evidence.iter().map(|evidence| EvidenceSummary {
                kind: evidence.kind,
                log10_p_lower: log10(evidence.p_lower),
                log10_p_higher: log10(evidence.p_higher),
            });
            told.collect()
        }),
        rate_ratio: ratio.and_then(|ratio| ratio.estimate).and_then(finite),
        rate_ratio_lower95: ratio.map(|ratio| ratio.lower95).and_then(finite),
        rate_ratio_upper95: ratio.map(|ratio| ratio.upper95).and_then(finite),
        log10_residual_probability: numbers.and_then(|numbers| numbers.p_residual).and_then(log10),
        base_rate_lower99: numbers.and_then(|numbers| numbers.base_rate_low),
        log10_zero_probability: numbers.and_then(|numbers| numbers.p_zero).and_then(log10),
        dispersion_index: numbers.and_then(|numbers| numbers.dispersion).map(|it| it.index),
        overdispersed: numbers.is_some_and(|numbers| numbers.overdispersed),
        exposures_needed: it.exposures_needed,
        rounds_needed: it.rounds_needed,
        units: numbers.map(|numbers| [numbers.base_units, numbers.patched_units]),
        coverage: it.coverage.clone(),
        caveats: it.caveats.clone(),
        forced: forced::comparisons(results, &it.forced),
        verdict_by_races: it.by_races.map(|(verdict, _)| verdict),
        contradictions: it.contradictions.clone(),
    })
}
