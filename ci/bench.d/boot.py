"""How long until a guest test says its first record: cold, as a warm clone, and against the floor, which is a bare QEMU with
the same kernel and an init that prints one line."""

import subprocess
import sys
import time
from pathlib import Path

import measure

INIT = """
#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>
int main(void) { write(open("/dev/console", O_WRONLY), "floor\\n", 6); reboot(RB_POWER_OFF); pause(); }
"""

REPETITIONS = 15


def initramfs(folder):
    """A static init in an initramfs."""
    (folder / "init.c").write_text(INIT)
    tree = folder / "tree"
    (tree / "dev").mkdir(parents=True)
    subprocess.run(["gcc", "-O2", "-static", "-o", tree / "init", folder / "init.c"], check=True)
    # The console's node must be there before anything is mounted.
    listing = "\n".join(str(path.relative_to(tree)) for path in [tree, *tree.rglob("*")])
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=listing.encode(), capture_output=True, check=True)
    (folder / "floor.cpio").write_bytes(archive.stdout)
    return folder / "floor.cpio"


def floor(kernel, initrd, accelerator):
    """Seconds from QEMU's start to the init's line."""
    accel = ["-accel", "kvm", "-cpu", "host"] if accelerator == "kvm" else ["-accel", "tcg,thread=multi", "-cpu", "max"]
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *accel,
               "-machine", "q35", "-smp", "2", "-m", "512M", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
               "-append", "console=ttyS0 quiet panic=-1 no_timer_check"]
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
        seen = next((time.monotonic() - started for line in qemu.stdout if b"floor" in line), None)
        qemu.kill()
    if seen is None:
        sys.exit("the bare guest ended without a word")
    return seen


def reached(end, name):
    """Seconds from QEMU's start to a milestone of a round."""
    return next((at for milestone, at in end["boot"] if milestone == name), None)


with measure.scratch() as folder:
    folder = Path(folder)
    test = f"{{name: boot, run: swap-race, args: {{memory: anon, strategy: preempt}}, rounds: {REPETITIONS // 3}, stop: {{at_most: 1s, exposures: 1, corruptions: 1, sequential: false}}}}"
    plan = measure.plan(folder, clone="[warm, cold]", tests=[test])
    kernel = next(line.split()[-1] for line in measure.twinboot("build", plan).splitlines() if " patched: " in line)
    initrd = initramfs(folder)
    floors = []
    warm, cold, saved = [], [], []
    # Thirds of each by turns.
    for third in range(3):
        measure.twinboot("run", plan, "--only", "*.patched.*", "--seed", third, "--out", folder / f"out{third}", good=(0, 1, 75))
        entries = measure.journal(folder / f"out{third}")
        accelerator = next(entry["accelerator"]["name"] for entry in entries if entry["event"] == "run_started")
        floors += [floor(kernel, initrd, accelerator) for _ in range(REPETITIONS // 3)]
        warm += measure.rounds(entries, ".warm")
        cold += measure.rounds(entries, ".cold")
    first = {name: measure.figure(f"{name}: QEMU's start to the first record", [reached(end, "first record") for end in ends], "s")
             for name, ends in (("warm", warm), ("cold", cold))}
    bare = measure.figure("bare QEMU, same kernel, static init: to its line", floors, "s")
    ready = measure.figure("cold: QEMU's start to ready", [reached(end, "ready") for end in cold], "s")
    woken = measure.figure("warm: QEMU's start to ready", [reached(end, "ready") for end in warm], "s")
    login = measure.figure("SSH login, warm and cold", [reached(end, "login") - reached(end, "ready") for end in warm + cold], "s")
    measure.tell("boot", [bare, ready, first["cold"], woken, first["warm"], login,
                          measure.ratio("cold to first record / bare floor", first["cold"], bare, "<= 1.5"),
                          measure.ratio("warm to first record / cold to first record", first["warm"], first["cold"], "<= 0.25")])
