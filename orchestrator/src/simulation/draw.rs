//! Random numbers with given distributions.

use rand::Rng;

/// A mean that `exp(-mean)` holds with all its digits.
const POISSON_STEP: f64 = 30.0;

/// A Poisson count.
///
/// Source: D. E. Knuth, The Art of Computer Programming, vol. 2, section 3.4.1, multiplication of uniforms; large means
/// are sums of smaller ones.
pub fn poisson(mean: f64, rng: &mut impl Rng) -> u64 {
    let (mut left, mut count) = (mean, 0);
    while left > 0.0 {
        let floor = (-left.min(POISSON_STEP)).exp();
        left -= POISSON_STEP;
        let mut product = uniform(rng);
        while product > floor {
            count += 1;
            product *= uniform(rng);
        }
    }
    count
}

/// A gamma variate of mean 1 and variance `variance`; 1 where that is zero.
///
/// Source: G. Marsaglia, W. W. Tsang, ACM Transactions on Mathematical Software 26 (2000) 363–372; shapes below one by
/// their `U^(1/shape)`.
pub fn gamma(variance: f64, rng: &mut impl Rng) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let shape = 1.0 / variance;
    let (boost, raised) = if shape < 1.0 { (uniform(rng).powf(1.0 / shape), shape + 1.0) } else { (1.0, shape) };
    let d = raised - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && uniform(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v * boost / shape;
        }
    }
}

/// A standard normal variate. Source: G. E. P. Box, M. E. Muller, Annals of Mathematical Statistics 29 (1958) 610–611.
fn normal(rng: &mut impl Rng) -> f64 {
    (-2.0 * uniform(rng).ln()).sqrt() * (std::f64::consts::TAU * uniform(rng)).cos()
}

/// Uniform on (0, 1]: its logarithm is finite.
fn uniform(rng: &mut impl Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const DRAWS: u32 = 40_000;

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let all: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
        let mean = all.iter().sum::<f64>() / f64::from(DRAWS);
        (mean, all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(DRAWS))
    }

    #[test]
    fn means_and_variances_are_those_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for mean in [0.3, 10.0, 75.0] {
            let (seen, variance) = moments(|| poisson(mean, &mut rng) as f64);
            assert!(
                (seen / mean - 1.0).abs() < 0.02 && (variance / mean - 1.0).abs() < 0.05,
                "{mean}: {seen} {variance}"
            );
        }
        for wanted in [0.2, 0.5, 1.0, 3.0] {
            let (mean, variance) = moments(|| gamma(wanted, &mut rng));
            assert!((mean - 1.0).abs() < 0.04 && (variance / wanted - 1.0).abs() < 0.12, "{wanted}: {mean} {variance}");
        }
        assert!((gamma(0.0, &mut rng) - 1.0).abs() < f64::EPSILON);
    }
}
