#!/usr/bin/env python3
"""Makes stats-reference.json, the values the statistics are checked against.

Run: python3 -m venv v && v/bin/pip install scipy==1.17.1 mpmath && v/bin/python stats-reference.py > stats-reference.json
Tails come from mpmath at 90 digits, because scipy's underflow where a verdict needs them; the rest is scipy's.
"""
import json
import sys

import mpmath as mp
from scipy import stats

mp.mp.dps = 90


def binomial_at_most(k, n, p):
    """ln P(X <= k): regularised incomplete beta I_{1-p}(n-k, k+1), summed exactly."""
    total, term = mp.mpf(0), mp.binomial(n, k) * mp.mpf(p) ** k * (1 - mp.mpf(p)) ** (n - k)
    for x in range(k, -1, -1):
        total += term
        term *= mp.mpf(x) / (n - x + 1) * (1 - mp.mpf(p)) / mp.mpf(p)
        if term < total * mp.mpf(10) ** -80:
            break
    return float(mp.log(total))


def poisson_at_most(k, mean):
    return float(mp.log(mp.gammainc(k + 1, mean, mp.inf, regularized=True)))


def student_upper(t, freedom):
    x = mp.mpf(freedom) / (mp.mpf(freedom) + mp.mpf(t) ** 2)
    return float(mp.log(mp.betainc(mp.mpf(freedom) / 2, mp.mpf(1) / 2, 0, x, regularized=True) / 2))


def clopper_pearson(k, n, confidence):
    it = stats.binomtest(k, n).proportion_ci(confidence, "exact")
    return [it.low, it.high]


def garwood(k, confidence):
    a = (1 - confidence) / 2
    return [stats.chi2.ppf(a, 2 * k) / 2 if k else 0.0, stats.chi2.isf(a, 2 * (k + 1)) / 2]


def dispersion(rounds):
    rate = sum(c for c, _ in rounds) / sum(e for _, e in rounds)
    statistic, p = stats.chisquare([c for c, _ in rounds], [e * rate for _, e in rounds])
    return [statistic / (len(rounds) - 1), p]


CASES = {
    "binomial_at_most": [[a, binomial_at_most(*a)] for a in [
        (0, 8529, 0.5), (3, 10, 0.2), (12, 40, 0.3), (120, 4000, 0.1), (5, 1_000_000, 1e-4), (400, 1000, 0.4),
        (999, 1000, 0.9), (50_000, 100_000, 0.5), (10, 100_000, 0.5)]],
    "poisson_at_most": [[a, poisson_at_most(*a)] for a in [
        (0, 3.0), (4, 2.5), (10, 1000.0), (1000, 1000.0), (7, 0.01), (50, 49.5)]],
    "student_upper": [[a, student_upper(*a)] for a in [
        (0.0, 4), (1.0, 1), (2.0, 9), (4.0, 18), (9.0, 4), (17.0, 18), (60.0, 18), (250.0, 5), (0.05, 200)]],
    "clopper_pearson": [[a, clopper_pearson(*a)] for a in [
        (0, 10, 0.95), (10, 10, 0.95), (1, 20, 0.95), (4, 20, 0.9), (1204, 13025, 0.95), (3, 100_000, 0.99),
        (8529, 8795, 0.95), (99_999, 100_000, 0.95)]],
    "garwood": [[a, garwood(*a)] for a in [(0, 0.95), (1, 0.95), (10, 0.99), (1204, 0.95), (100_000, 0.95)]],
    "fisher_lower": [[a, float(stats.fisher_exact([[a[2], a[3]], [a[0], a[1]]], "less").pvalue)] for a in [
        (10, 0, 0, 10), (3, 0, 0, 3), (7, 3, 2, 8), (5, 5, 5, 5), (40, 2, 11, 31), (0, 10, 10, 0)]],
    "dispersion": [[a, dispersion(a)] for a in [
        [(381, 4402), (402, 4290), (421, 4333)], [(500, 1000), (1200, 1000), (900, 1000)], [(1, 10), (0, 30), (4, 25)]]],
    "poisson_ratio": [
        # (x1, e1, x2, e2), one-sided p that the second is lower by the conditional binomial test,
        # and the upper 95 % limit of the ratio.
        [a, [float(stats.binomtest(a[2], a[0] + a[2], a[3] / (a[1] + a[3]), "less").pvalue),
             (lambda u: u / (1 - u) * a[1] / a[3])(
                 stats.binomtest(a[2], a[0] + a[2], 0.5, "less").proportion_ci(0.95, "exact").high)]]
        for a in [(20, 100, 0, 100), (30, 1000, 10, 1200), (5, 50, 5, 60), (1204, 13025, 100, 12000)]],
}

json.dump(CASES, sys.stdout, indent=1)
print()
