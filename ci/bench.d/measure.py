"""What every benchmark here needs: the plan of quick.yaml varied, twinboot run, figures summed up.

A figure is a median with its spread over repetitions; where two things are compared, the repetitions alternate within one
run and the ratio is of the medians, so that a host that is busy is as busy for both.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TWINBOOT = os.environ.get("TWINBOOT_PROGRAM", str(ROOT / "target/release/twinboot"))
UNPIN = ROOT / "kernels/patches/6.1/0001-mm-swap-take-out-the-swapin-pin.patch"


def plan(folder, *, variants=None, clone="[warm]", tests, name="bench"):
    """Writes a plan over the kernel of plans/quick.yaml, so that its builds serve here too. Returns its path."""
    variants = variants or [f"{{name: unpatched, patches: [{UNPIN}], expect: corrupt}}", "{name: patched, expect: clean}"]
    path = Path(folder) / f"{name}.yaml"
    path.write_text(
        f"name: {name}\n"
        "kernels:\n  - {name: linux-6.1, source: {debian: linux-source-6.1}, config: [base, swap, preempt, symbols]}\n"
        "variants:\n" + "".join(f"  - {variant}\n" for variant in variants) +
        "guest: {cpus: 2, memory: 512M, swap: {zram: {size: 64K, algorithm: lzo-rle}}}\n"
        "tests:\n" + "".join(f"  - {test}\n" for test in tests) +
        f"matrix: {{guest.clone: {clone}}}\n"
    )
    return path


def twinboot(*args, good=(0, 1)):
    """Runs twinboot and returns its standard output; what it says otherwise goes to standard error."""
    done = subprocess.run([TWINBOOT, *map(str, args), "--data-dir", str(ROOT)], stdout=subprocess.PIPE, text=True)
    if done.returncode not in good:
        sys.exit(f"`twinboot {' '.join(map(str, args))}` ended with exit status {done.returncode}")
    return done.stdout


def journal(results):
    """The journal's entries."""
    return [json.loads(line) for line in (Path(results) / "journal.jsonl").read_text().splitlines()]


def rounds(entries, cell):
    """The finished rounds of the cells whose id holds `cell`."""
    ends = [entry for entry in entries if entry["event"] == "round_finished" and cell in entry["cell"]]
    for end in ends:
        if end["outcome"] != "finished":
            print(f"left out: {end['cell']} round {end['round']}: {end['outcome']}", file=sys.stderr)
    return [end for end in ends if end["outcome"] == "finished"]


def scratch():
    """A folder that goes away."""
    return tempfile.TemporaryDirectory(prefix="twinboot-bench-")


def timed(command, **how):
    """Runs a command to its end: (wall seconds, CPU seconds of it and all it waited for)."""
    def children():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    wall, cpu = time.monotonic(), children()
    subprocess.run(command, check=True, **how)
    return time.monotonic() - wall, children() - cpu


def figure(what, values, unit):
    """A figure from repetitions."""
    values = [value for value in values if value is not None]
    if not values:
        return {"what": what, "unit": unit, "n": 0}
    return {"what": what, "unit": unit, "n": len(values), "median": statistics.median(values),
            "min": min(values), "max": max(values)}


def ratio(what, above, below, target=None):
    """The ratio of two figures' medians."""
    if not (above.get("n") and below.get("n") and below["median"]):
        return {"what": what, "unit": "ratio", "n": 0}
    told = {"what": what, "unit": "ratio", "n": min(above["n"], below["n"]), "median": above["median"] / below["median"]}
    return told | ({"target": target} if target else {})


def tell(name, figures):
    """Prints the benchmark's only output."""
    json.dump({"benchmark": name, "figures": figures}, sys.stdout)
    print()
