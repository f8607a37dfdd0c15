"""The developer's loop: one line of a fix is changed, until the verdict is there."""

import random
import subprocess
from pathlib import Path

import measure

REPETITIONS = 3


def fix(nonce):
    """The pin put back in, with one line of it changed: a text for a patch on top of the one that takes it out."""
    lines = measure.UNPIN.read_text().split("\n---\n", 1)[1].splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("@@"))
    old, new = lines[header].split()[1:3]
    lines[header] = lines[header].replace(f"{old} {new}", f"-{new[1:]} +{old[1:]}")
    body = ["+" + line[1:] if line.startswith("-") else line for line in lines[header + 1:]]
    changed = [line.replace("schedule_timeout_uninterruptible(1)", f"schedule_timeout_uninterruptible(1 + {nonce} % 1)") for line in body]
    return "\n".join(lines[:header + 1] + changed) + "\n"


with measure.scratch() as folder:
    folder = Path(folder)
    patch = folder / "fix.patch"
    test = "{name: race, run: swap-race, args: {memory: anon, strategy: preempt}, rounds: 24, stop: {at_most: 250ms, min_rounds: 2, alpha: 1e-6}}"
    plan = measure.plan(folder, name="loop", tests=[test], variants=[
        f"{{name: unpatched, patches: [{measure.UNPIN}], expect: corrupt}}",
        f"{{name: patched, patches: [{measure.UNPIN}, fix.patch], expect: clean}}"])
    walls, compiles, shares, verdicts = [], [], [], []
    for repetition in range(REPETITIONS + 1):
        patch.write_text(fix(random.randrange(1, 1 << 30)))
        out = folder / f"out{repetition}"
        wall, _cpu = measure.timed([measure.TWINBOOT, "run", str(plan), "--out", str(out), "--data-dir", str(measure.ROOT)],
                                   stdout=subprocess.DEVNULL)
        built = next(entry for entry in measure.journal(out) if entry["event"] == "built" and entry["variant"] == "patched")
        # The first one may have found the base to be built and saved.
        if repetition:
            walls.append(wall)
            compiles.append(built["seconds"])
            shares.append(built["seconds"] / wall)
            verdicts.append("fixed" in (out / "mail.txt").read_text())
    measure.tell("loop", [
        measure.figure("one line of the fix changed: to the verdict", walls, "s") | {"target": "<= 40"},
        measure.figure("of which the patched kernel's build", compiles, "s"),
        measure.figure("the build's share", shares, "ratio") | {"target": ">= 0.6"},
        measure.figure("verdict is fixed", [float(value) for value in verdicts], "1 = yes"),
    ])
