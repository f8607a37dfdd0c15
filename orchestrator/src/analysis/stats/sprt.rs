//! Wald's sequential probability ratio test: stop as soon as the answer is known.

/// Two simple hypotheses about a Poisson rate per exposure and the errors that are allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sprt {
    /// Rate under which the patch works: the largest rate that would not matter, or zero.
    pub fixed_rate: f64,
    /// Rate under which it does not, above `fixed_rate`.
    pub broken_rate: f64,
    /// Allowed probability of saying "fixed" when the rate is `broken_rate`.
    pub alpha: f64,
    /// Allowed probability of saying "not fixed" when the rate is `fixed_rate`.
    pub beta: f64,
}

/// What the test says so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The lower rate is accepted.
    Fixed,
    /// The higher rate is accepted.
    NotFixed,
    /// Go on.
    Continue,
}

impl Sprt {
    /// Natural logarithm of the likelihood ratio, broken over fixed, after `events` in `exposures`.
    pub fn ln_ratio(&self, events: u64, exposures: u64) -> f64 {
        // With a fixed rate of zero one event refutes it: the logarithm is infinite then, and must not meet a zero.
        let seen = if events == 0 { 0.0 } else { events as f64 * (self.broken_rate / self.fixed_rate).ln() };
        seen - exposures as f64 * (self.broken_rate - self.fixed_rate)
    }

    /// Decision after `events` in `exposures`.
    ///
    /// Source: A. Wald, Annals of Mathematical Statistics 16 (1945) 117–186: accept at `ln(alpha / (1 - beta))` and
    /// `ln((1 - alpha) / beta)`, written for the hypothesis "broken" on top of the ratio.
    pub fn decide(&self, events: u64, exposures: u64) -> Decision {
        let ratio = self.ln_ratio(events, exposures);
        if ratio <= self.accept_fixed() {
            Decision::Fixed
        } else if ratio >= ((1.0 - self.alpha) / self.beta).ln() {
            Decision::NotFixed
        } else {
            Decision::Continue
        }
    }

    /// Exposures without any event after which "fixed" is accepted.
    pub fn exposures_if_clean(&self) -> f64 {
        (-self.accept_fixed() / (self.broken_rate - self.fixed_rate)).ceil()
    }

    fn accept_fixed(&self) -> f64 {
        (self.alpha / (1.0 - self.beta)).ln()
    }
}
