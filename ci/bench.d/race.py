"""How hard the race is run: tries, exposures and corruptions a second, and the time to the first corruption, of each
strategy; and whether warm clones race like cold guests."""

import statistics
from pathlib import Path

import measure

ROUNDS = 10


def rate(end, what):
    """A counter of a round, a second."""
    return end["summary"][what] / (end["summary"]["elapsed_ns"] / 1e9)


def share(end):
    """Corruptions per exposure of a round."""
    return end["summary"]["corruptions"] / end["summary"]["exposures"] if end["summary"]["exposures"] else None


def told(name, ends):
    """The figures of some rounds."""
    first = [end["summary"]["first_corruption_ns"] for end in ends]
    return [measure.figure(f"{name}: {what} a second", [rate(end, what) for end in ends], "1/s")
            for what in ("tries", "exposures", "corruptions")] + [
        measure.figure(f"{name}: time to first corruption", [at / 1e6 for at in first if at is not None], "ms"),
        measure.figure(f"{name}: rounds without a corruption", [sum(at is None for at in first)], "rounds"),
    ]


with measure.scratch() as folder:
    folder = Path(folder)
    test = "{{name: {0}, run: swap-race, args: {{memory: anon, strategy: {0}}}, rounds: {1}, stop: {{at_most: {2}s, sequential: false}}}}"
    plan = measure.plan(folder, clone="[warm, cold]", tests=[test.format("preempt", ROUNDS, 2), test.format("smp", ROUNDS // 2, 4)])
    # One round of each by turns: the run's own order.
    measure.twinboot("run", plan, "--out", folder / "out")
    entries = measure.journal(folder / "out")
    figures = []
    for strategy in ("preempt", "smp"):
        for variant in ("unpatched", "patched"):
            ends = measure.rounds(entries, f".{variant}.{strategy}")
            figures += told(f"{strategy}, {variant}", ends) if variant == "unpatched" else told(f"{strategy}, {variant}", ends)[:2]
    warm, cold = (measure.rounds(entries, f".unpatched.preempt.{clone}") for clone in ("warm", "cold"))
    for what, of in (("exposures a second", lambda end: rate(end, "exposures")), ("corruptions per exposure", share)):
        pair = [measure.figure(f"preempt, unpatched, {name}: {what}", [of(end) for end in ends], "")
                for name, ends in (("warm", warm), ("cold", cold))]
        figures += [*pair, measure.ratio(f"{what}, warm / cold", *pair)]
    for name, ends in (("warm", warm), ("cold", cold)):
        shares = [value for value in map(share, ends) if value is not None]
        figures.append(measure.figure(f"preempt, unpatched, {name}: standard deviation of corruptions per exposure between rounds",
                                      [statistics.stdev(shares)] if len(shares) > 1 else [], ""))
    measure.tell("race", figures)
