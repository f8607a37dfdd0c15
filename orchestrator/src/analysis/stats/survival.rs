//! Time to the first corruption over rounds, some of which never saw one.

/// One round: seconds, and whether the event came then (otherwise the round ended clean there).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// Seconds.
    pub seconds: f64,
    /// The event came; otherwise the time is censored.
    pub event: bool,
}

/// Kaplan–Meier median: the time by which half of all rounds would have seen the event; none where fewer did.
///
/// Source: E. L. Kaplan, P. Meier, Journal of the American Statistical Association 53 (1958) 457–481.
pub fn median(times: &[Time]) -> Option<f64> {
    curve(times).into_iter().find(|&(_, surviving)| surviving <= 0.5 + 1e-12).map(|(seconds, _)| seconds)
}

/// The Kaplan–Meier curve: (seconds, share of rounds still without the event from then on), one step per event time.
pub fn curve(times: &[Time]) -> Vec<(f64, f64)> {
    let mut sorted = times.to_vec();
    // Events before censorings at the same time, as the estimator asks.
    sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(b.event.cmp(&a.event)));
    let mut steps: Vec<(f64, f64)> = Vec::new();
    let mut surviving = 1.0;
    for (before, time) in sorted.iter().enumerate() {
        if time.event {
            let at_risk = (sorted.len() - before) as f64;
            surviving *= (at_risk - 1.0) / at_risk;
            match steps.last_mut() {
                Some(step) if step.0.total_cmp(&time.seconds).is_eq() => step.1 = surviving,
                _ => steps.push((time.seconds, surviving)),
            }
        }
    }
    steps
}
