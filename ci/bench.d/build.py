"""What building through twinboot costs against unpacking the same source and plain make, and what the second variant costs."""

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
    kernel = next(path for path in (cache / "kernels").iterdir() if (path / "kernel.config").is_file())
    package = next(path / "package.deb" for path in (cache / "sources").iterdir() if "6.1" in subprocess.run(
        ["dpkg-deb", "-f", path / "package.deb", "Package"], capture_output=True, text=True, check=True).stdout)
    subprocess.run(["dpkg-deb", "-x", package, folder / "package"], check=True)
    source, obj = folder / "source", folder / "obj"
    source.mkdir()
    obj.mkdir()
    tarball = next((folder / "package/usr/src").glob("*.tar.*"))
    unpacked = measure.timed(["tar", "-xf", str(tarball), "-C", str(source), "--strip-components=1"], **quiet)
    shutil.copy(kernel / "kernel.config", obj / ".config")
    make = ["make", "-C", str(source), f"O={obj}", f"-j{JOBS}"]
    subprocess.run([*make, "olddefconfig"], check=True, **quiet)
    made = measure.timed([*make, "vmlinux"], **quiet)
    plain = tuple(map(sum, zip(unpacked, made)))

    def told(name, pair):
        return measure.figure(f"{name}: wall", [pair[0]], "s"), measure.figure(f"{name}: CPU", [pair[1]], "s")

    (wall, cpu), (wall2, cpu2), (make_wall, make_cpu) = told("first variant", whole), told("second variant", second), told("tar and plain make of vmlinux", plain)
    measure.tell("build", [wall, cpu, wall2, cpu2, make_wall, make_cpu,
                           measure.ratio("CPU, twinboot / tar and plain make", cpu, make_cpu, "<= 1.03"),
                           measure.ratio("wall, twinboot / tar and plain make", wall, make_wall),
                           measure.ratio("wall, second variant / first", wall2, wall, "<= 0.08")])
