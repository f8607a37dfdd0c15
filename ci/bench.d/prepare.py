"""How long a run prepares when everything is in the cache: from the program's start to its journal."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import measure

REPETITIONS = 9

with measure.scratch() as folder:
    folder = Path(folder)
    plan = measure.plan(folder, tests=["{name: race, run: swap-race, args: {memory: anon, strategy: preempt}, rounds: 1, stop: {at_most: 1s}}"])
    measure.twinboot("build", plan)
    times = []
    # The first one is not counted: it may have an image to make and an accelerator to try.
    for repetition in range(REPETITIONS + 1):
        out = folder / f"out{repetition}"
        command = [measure.TWINBOOT, "run", str(plan), "--out", str(out), "--data-dir", str(measure.ROOT)]
        started = time.monotonic()
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (out / "journal.jsonl").exists():
            if run.poll() is not None:
                sys.exit(f"twinboot ended with exit status {run.returncode} before it had prepared")
            time.sleep(0.001)
        times.append(time.monotonic() - started)
        run.send_signal(signal.SIGINT)
        run.wait()
    measure.tell("prepare", [measure.figure("a run with nothing to build: start to journal", times[1:], "s") | {"target": "<= 0.3"}])
