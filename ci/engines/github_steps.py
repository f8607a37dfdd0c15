"""Runs the shell steps of ci/github/twinboot.yml as a runner would, with a fake QEMU's plan: the job that deals the plan out, one
share for each entry of its matrix, the merge. Actions (checkout, cache, artifacts) are stood in for by shared folders.

usage: github_steps.py WORKFLOW HOUSE TESTS      HOUSE as ci/engines/house makes it
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML


def expand(text, context):
    """Fills in `${{ … }}` where it is a plain name."""
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda found: str(context[found[1]]), str(text))


def run_step(step, folder, context, outputs, summary):
    """Runs one step in `folder` and returns its exit code."""
    output = folder / ".output"
    output.write_text("")
    env = {key: expand(value, context) for key, value in step.get("env", {}).items()}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **env, **files}, capture_output=True, text=True)
    for line in output.read_text().splitlines():
        name, _, value = line.partition("=")
        outputs[name] = value
    if done.returncode not in (0, 75):
        print(done.stdout, done.stderr, file=sys.stderr)
    return done.returncode


def named(jobs, job, name):
    """The step of that name."""
    return next(step for step in jobs[job]["steps"] if step.get("name") == name)


def main(workflow, house, tests):
    jobs = YAML(typ="safe").load(workflow)["jobs"]
    root, house = workflow.resolve().parent.parent.parent, house.resolve()
    context = {
        "inputs.plan": house / "plan.yaml", "inputs.only": "*.race-*", "inputs.jobs": 256, "github.run_id": 42,
        "inputs.args": "--accel tcg --jobs 1", "inputs.repository != '' && 'twinboot-source' || '.'": root,
    }
    os.environ["TWINBOOT_BINARIES"] = str(house / "bin")
    runner = house / "runner"
    runner.mkdir()

    outputs = {}
    for name in ("build", "deal the plan out"):
        assert run_step(named(jobs, "program", name), runner, context, outputs, runner / "summary") == 0, name
    line = outputs["matrix"]
    matrix = json.loads(line)["include"]
    assert len(matrix) == tests, line

    # The first share's host is broken once: the step itself tries again.
    (house / f"broken-1-of-{tests}").touch()
    artifacts = house / "artifacts"
    for entry in matrix:
        machine = house / f"runner-{entry['id']}"
        machine.mkdir()
        shutil.copy(runner / "twinboot-program.tar.gz", machine)
        here = {**context, **{f"matrix.{key}": value for key, value in entry.items()}}
        kept = {}
        for name in ("unpack and install what is missing", "run", "name what is in the cache"):
            assert run_step(named(jobs, "share", name), machine, here, kept, machine / "summary") == 0, (entry, name)
        assert re.fullmatch("[0-9a-f]{64}", kept["sum"]), kept
        assert "fixed" in (machine / "summary").read_text(), "a share writes no summary"
        shutil.copytree(machine / "twinboot-shares" / entry["id"], artifacts / f"twinboot-share-{entry['id']}")
    assert not (house / f"broken-1-of-{tests}").exists()

    end = house / "runner-merge"
    end.mkdir()
    shutil.copy(runner / "twinboot-program.tar.gz", end)
    shutil.copytree(artifacts, end / "twinboot-shares")
    assert run_step(named(jobs, "merge", "merge"), end, context, outputs, end / "summary") == 0
    assert outputs["exit-code"] == "0", outputs
    summary = json.loads((end / "twinboot-report/summary.json").read_text())
    assert [pair["verdict"] for pair in summary["comparisons"]] == ["fixed"] * tests
    assert (end / "summary").read_text().count("race-") >= tests, "the merge writes no step summary"
    print(f"the shell steps ran: {tests} shares, one of them twice, all {len(summary['cells'])} cells in the merged report")

    # With a share lost, the rest is reported and the end says that it is worth a retry.
    shutil.rmtree(end / "twinboot-shares" / f"twinboot-share-{matrix[0]['id']}")
    shutil.rmtree(end / "twinboot-report")
    assert run_step(named(jobs, "merge", "merge"), end, context, outputs, end / "summary") == 75
    assert outputs["exit-code"] == "75", outputs


main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
