"""What a plan of many cells costs the orchestrator itself: its own CPU time for each cell, and its peak memory.

    python3 ci/bench.d/orchestrator.py [--cells N] [--rounds N] [--jobs N] [--keep DIR]

Runs `twinboot run` on a plan of 500 cells with the fake QEMU, whose guests are a real SSH server (dropbear) and a shell
script. What these burn is not counted: the processor time is that of the twinboot process alone, read from proc(5). The
time goes into the SSH session of each round, the processes it starts, and the journal; what grows with the number of
cells shows as a difference between the first and the last 130 rounds. The run directory, which a session's login keeps in
memory, is in memory where there is a /dev/shm.

TWINBOOT_PROGRAM is the twinboot to measure (target/release/twinboot), FAKE_QEMU the fake one (target/release/fake-qemu,
else target/debug/fake-qemu): `cargo build --release -p twinboot --features test-fakes --bin fake-qemu` makes it.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import measure as common

ROOT = common.ROOT
TICK = os.sysconf("SC_CLK_TCK")
# Rounds at either end that are held against each other.
WINDOW = 130
# Seconds between two looks at the running twinboot.
LOOK = 0.02

GUEST = """#!/bin/sh
cat <<'END'
{"type":"preflight","protocol":1,"test":"race","strategy":"none","kernel_release":"6.1.0-fake","kernel_version":"fake",\
"cpus":1,"preemption":"full","page_size":4096,"swap":null,"seed":1}
{"type":"progress","elapsed_ns":500000000,"tries":900,"landings":600,"reuses":600,"exposures":500,"corruptions":0}
END
case $FAKE_KERNEL in
corrupt) cat <<'END'
{"type":"corruption","elapsed_ns":15000000,"try":3,"page":0,"expected":4,"found":3,"kind":"lost_update",\
"entry_before":null,"entry_after":null}
{"type":"summary","elapsed_ns":1000000000,"tries":9000,"landings":6000,"reuses":6000,"exposures":5000,\
"corruptions":2500,"first_corruption_ns":15000000,"stopped_by":"deadline","seed":1}
END
;;
*) cat <<'END'
{"type":"summary","elapsed_ns":1000000000,"tries":9000,"landings":6000,"reuses":6000,"exposures":5000,\
"corruptions":0,"first_corruption_ns":null,"stopped_by":"deadline","seed":1}
END
;;
esac
"""


def fail(text):
    print(f"orchestrator.py: {text}", file=sys.stderr)
    sys.exit(2)


def program(variable, *places):
    """The program that an environment variable names, else the first of `places` that is there."""
    given = os.environ.get(variable)
    found = [path for path in ([pathlib.Path(given)] if given else [ROOT / place for place in places]) if path.is_file()]
    if not found:
        fail(f"no {places[0]}: build it with `cargo build --release -p twinboot --features test-fakes --bins`, or set {variable}")
    return found[0].resolve()


def kernel(wishes):
    """A file with the header of a bzImage (Documentation/arch/x86/boot.rst) that names a release, and what the fake QEMU
    is to do."""
    image = bytearray(0x300)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x100).to_bytes(2, "little")
    return bytes(image) + f"6.1.0-fake {wishes} ".encode()


def furnish(house, cells, rounds):
    """A plan of `cells` cells, its two kernels and its guest program."""
    (house / "guest").mkdir(mode=0o700)
    for name, text in (("twinboot-init", "#!/bin/sh\nexit 1\n"), ("race", GUEST)):
        path = house / "guest" / name
        path.write_text(text)
        path.chmod(0o755)
    for variant, kind in (("unpatched", "corrupt"), ("patched", "clean")):
        (house / variant).write_bytes(kernel(f"fake.kernel={kind} fake.ssh=guest"))
    tests = "".join(f"  - {{name: race-{n}, run: race, rounds: {rounds}}}\n" for n in range(1, cells // 2 + 1))
    (house / "plan.yaml").write_text(
        "name: bench\n"
        "kernels:\n  - {name: linux, source: {image: {kernel: unpatched}}}\n"
        "variants:\n"
        "  - {name: unpatched, image: {kernel: unpatched}, expect: corrupt}\n"
        "  - {name: patched, image: {kernel: patched}, expect: clean}\n"
        "guest: {cpus: 1, memory: 128M}\n"
        f"tests:\n{tests}"
    )


def own_cpu(pid):
    """Seconds of CPU that the threads of a process have used so far, also of one that has ended and was not waited for:
    fields 14 and 15 of proc_pid_stat(5). Those of its children stand in other fields."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Journal:
    """Counts the rounds that have ended, as the journal tells of them."""

    def __init__(self, path):
        self.path, self.file, self.rest, self.ended, self.begun = path, None, b"", 0, False

    def look(self):
        if self.file is None:
            if not self.path.exists():
                return
            self.file = self.path.open("rb")
        lines = (self.rest + self.file.read()).split(b"\n")
        self.rest = lines.pop()
        self.ended += sum(line.startswith(b'{"event":"round_finished"') for line in lines)
        self.begun = self.begun or any(line.startswith(b'{"event":"round_started"') for line in lines)


def measure(house, run, twinboot, qemu, jobs):
    """Runs the plan; (CPU seconds at each number of ended rounds, CPU seconds in all, peak bytes, seconds, exit code)."""
    command = [twinboot, "run", "plan.yaml", "--accel", "tcg", "--seed", "1", "--jobs", str(jobs), "--out", "out"]
    command += ["--qemu", qemu, "--cache-dir", house / "cache", "--guest-dir", house / "guest", "--data-dir", ROOT]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": house / "home",
        "XDG_RUNTIME_DIR": run,
        "TMPDIR": run,
    }
    start = time.monotonic()
    with (house / "stderr").open("wb") as stderr:
        child = subprocess.Popen(
            command, cwd=house, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    journal, seen = Journal(house / "out/journal.jsonl"), {}
    while True:
        over = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        cpu = own_cpu(child.pid)
        journal.look()
        if journal.begun:
            seen.setdefault(journal.ended, cpu)
        if over:
            break
        time.sleep(LOOK)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    # The largest of twinboot and the processes that it waited for: never less than twinboot's own.
    return seen, cpu, usage.ru_maxrss * 1024, time.monotonic() - start, child.returncode


def at(seen, ended):
    """CPU seconds when `ended` rounds had ended."""
    return seen[min(count for count in seen if count >= ended)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1, help="of each cell")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path, help="work in this new folder and leave it there")
    arguments = parser.parse_args()
    twinboot = program("TWINBOOT_PROGRAM", "target/release/twinboot")
    qemu = program("FAKE_QEMU", "target/release/fake-qemu", "target/debug/fake-qemu")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bench") as scratch, tempfile.TemporaryDirectory(prefix="run", dir=memory) as run:
        house = arguments.keep.absolute() if arguments.keep else pathlib.Path(scratch)
        house.mkdir(parents=True, exist_ok=not arguments.keep)
        furnish(house, arguments.cells, arguments.rounds)
        seen, cpu, peak, seconds, code = measure(house, run, twinboot, qemu, arguments.jobs)
        ended = max(seen, default=0)
        # 1 is an answer: one round of each is too few for a verdict.
        if code not in (0, 1) or ended < arguments.cells:
            sys.stderr.write((house / "stderr").read_text(errors="replace")[-2000:])
            fail(f"twinboot ended with {code} after {ended} rounds")
    window = min(WINDOW, ended)
    def told(what, value, unit, **more):
        return common.figure(what, [value], unit) | more

    first, last = at(seen, window) - at(seen, 0), at(seen, ended) - at(seen, ended - window)
    common.tell("orchestrator", [
        told("cells, each of one round" if arguments.rounds == 1 else "cells", arguments.cells, ""),
        told("guests at a time", arguments.jobs, ""),
        told("peak memory", peak / 2**20, "MiB", target="<= 100"),
        told("own CPU for each cell", 1000 * cpu / arguments.cells, "ms", target="<= 10"),
        told("own CPU before the first round", 1000 * at(seen, 0), "ms"),
        told(f"own CPU for each of the first {window} rounds", 1000 * first / window, "ms"),
        told(f"own CPU for each of the last {window} rounds", 1000 * last / window, "ms"),
        told("own CPU after the last round", 1000 * (cpu - at(seen, ended)), "ms"),
        told("wall time", seconds, "s"),
    ])


main()
