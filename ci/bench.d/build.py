"""What building through twinboot costs against plain make of the same tree, and what the second variant costs."""

import os
import shutil
import subprocess
from pathlib import Path

import measure

JOBS = os.cpu_count()

with measure.scratch() as folder:
    folder = Path(folder)
    tests = ["{name: race, run: swap-race, args: {memory: anon, strategy: preempt}, rounds: 1, stop: {at_most: 1s}}"]
    both = measure.plan(folder, tests=tests, name="both")
    first = measure.plan(folder, tests=tests, name="first", variants=["{name: patched, expect: clean, alone: true}"])
    # The source is there already: downloads are not what is measured.
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twinboot"
    measure.twinboot("build", first)
    cache = folder / "cache"
    cache.mkdir()
    shutil.copytree(usual / "sources", cache / "sources")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments = ["--cache-dir", str(cache), "--data-dir", str(measure.ROOT)]
    whole = measure.timed([measure.TWINBOOT, "build", str(first), *arguments], **quiet)
    second = measure.timed([measure.TWINBOOT, "build", str(both), *arguments], **quiet)
    work = next(path for path in (cache / "work").iterdir() if (path / "src").is_dir())
    kernel = next(path for path in (cache / "kernels").iterdir() if (path / "kernel.config").is_file())
    obj = folder / "obj"
    obj.mkdir()
    shutil.copy(kernel / "kernel.config", obj / ".config")
    make = ["make", "-C", str(work / "src"), f"O={obj}", f"-j{JOBS}"]
    subprocess.run([*make, "olddefconfig"], check=True, **quiet)
    plain = measure.timed([*make, "vmlinux"], **quiet)

    def told(name, pair):
        return measure.figure(f"{name}: wall", [pair[0]], "s"), measure.figure(f"{name}: CPU", [pair[1]], "s")

    (wall, cpu), (wall2, cpu2), (make_wall, make_cpu) = told("first variant", whole), told("second variant", second), told("plain make of vmlinux", plain)
    measure.tell("build", [wall, cpu, wall2, cpu2, make_wall, make_cpu,
                           measure.ratio("CPU, twinboot / plain make", cpu, make_cpu, "<= 1.03"),
                           measure.ratio("wall, twinboot / plain make", wall, make_wall),
                           measure.ratio("wall, second variant / first", wall2, wall, "<= 0.08")])
