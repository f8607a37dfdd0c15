"""Shows what the benchmarks told. usage: table.py FILE [JSON]"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

told = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
head = {"host": f"{cpu}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}", "qemu": qemu, "gcc": gcc,
        "commit": subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()}


def number(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


for name, value in head.items():
    print(f"{name}: {value}")
for benchmark in told:
    print(f"\n{benchmark['benchmark']}")
    for it in benchmark["figures"]:
        line = "nothing was measured"
        if it["n"]:
            spread = f" [{number(it['min'])} .. {number(it['max'])}] of {it['n']}" if it["n"] > 1 and "min" in it else ""
            unit = "" if it["unit"] in ("ratio", "") else " " + it["unit"]
            target = f"  (wanted: {it['target']})" if "target" in it else ""
            line = f"{number(it['median'])}{unit}{spread}{target}"
        print(f"  {it['what']:<76} {line}")
if len(sys.argv) > 2 and sys.argv[2]:
    Path(sys.argv[2]).write_text(json.dumps(head | {"benchmarks": told}, indent=1) + "\n")
