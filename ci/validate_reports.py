"""The checks of ci/validate-reports: each file by the tool of those who read it, and all of them for telling the same."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import xmlschema
from kcidb_io.schema import V5_3

from browser import Browser

FILES = ["summary.json", "report.md", "report.html", "mail.txt", "junit.xml", "results.ktap", "kcidb.json"]
MAIL_WIDTH = 72
LOOKS = [(width, scheme) for width in (1200, 390) for scheme in ("light", "dark")]
# What a page could load. Plain links would be harmless, but the report has none.
SOURCES = """[...document.querySelectorAll('*')].flatMap(it => [...it.attributes])
    .filter(it => /^(src|srcset|href|xlink:href|action|formaction|data|poster|background|ping)$/i.test(it.name)
        || /url\\(|^on/i.test(it.name + ' ' + it.value) && (it.name == 'style' || /^on/i.test(it.name)))
    .map(it => it.name + '=' + it.value).filter(it => !/^href=data:,$/.test(it))"""
# Elements that stick out of the window although nothing around them scrolls.
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


class Failures(list):
    """What was wrong, each told at once."""

    def check(self, good, what):
        if not good:
            print(f"  WRONG {what}")
            self.append(what)


def expected(cell):
    """How a cell, a drawn interleaving or a sweep of summary.json counts as a test."""
    if cell["outcome"] == "nothing":
        return "SKIP"
    return {"yes": "PASS", "no": "FAIL", "undecided": "FAIL", "unmeasured": "ERROR"}[cell["met"]]


def counts(statuses):
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def junit(folder, rules, statuses, wrong):
    path = folder / "junit.xml"
    for error in rules.iter_errors(str(path)):
        wrong.check(False, f"{path}: {error.reason} at {error.path}")
    suites = rules.to_dict(str(path), validation="skip").get("testsuite") or []
    told = []
    for suite in suites:
        for case in suite.get("testcase") or []:
            kinds = [name for name in ("skipped", "error", "failure") if case.get(name) is not None]
            told.append({"skipped": "SKIP", "error": "ERROR", "failure": "FAIL"}[kinds[0]] if kinds else "PASS")
        cases = len(suite.get("testcase") or [])
        wrong.check(int(suite["@tests"]) == cases, f"{path}: a suite of {cases} says {suite['@tests']} tests")
    wrong.check(counts(told) == counts(statuses), f"{path}: {counts(told)}, but summary.json {counts(statuses)}")


def ktap(folder, kunit, statuses, wrong):
    path = folder / "results.ktap"
    done = subprocess.run([sys.executable, kunit, "parse", "--json", str(path.resolve())], capture_output=True,
                          text=True, timeout=120, cwd=os.path.dirname(kunit))
    start = done.stdout.find("\n{\n")
    if start < 0:
        wrong.check(not statuses, f"{path}: kunit.py says\n{done.stdout}{done.stderr}")
        return
    said, document = done.stdout[:start], json.loads(done.stdout[start:])
    # Lines of the report itself start with '#'.
    wrong.check(not re.search(r"^\[[\d:]+\] =* ?\[(ERROR|CRASHED)\]", said, re.M), f"{path}: kunit.py says\n{said}")
    groups = document["sub_groups"]
    wrong.check(not document["test_cases"], f"{path}: tests outside suites")
    told = [case["status"] for group in groups for case in group["test_cases"]]
    # KTAP has no word for "could not be measured": not ok.
    asked = ["FAIL" if status == "ERROR" else status for status in statuses]
    wrong.check(counts(told) == counts(asked), f"{path}: kunit.py saw {counts(told)}, summary.json has {counts(asked)}")
    wrong.check((done.returncode == 0) == ("FAIL" not in asked), f"{path}: kunit.py ended with {done.returncode}")


def kcidb(folder, statuses, wrong):
    path = folder / "kcidb.json"
    document = json.loads(path.read_text())
    try:
        V5_3.validate_exactly(document)
    except Exception as error:  # whatever it says, it refused
        wrong.check(False, f"{path}: {str(error).splitlines()[0]}")
    told = [test["status"] for test in document["tests"]]
    wrong.check(counts(told) == counts(statuses), f"{path}: {counts(told)}, but summary.json {counts(statuses)}")


def mail(folder, wrong):
    path = folder / "mail.txt"
    body, _, again = path.read_text().partition("\nagain:\n")
    for line in body.splitlines():
        wrong.check(len(line) <= MAIL_WIDTH, f"{path}: {len(line)} columns: {line}")
    for line in again.splitlines():
        # A word of a command can't be broken.
        words = line.strip().removesuffix(" \\")
        wrong.check(len(line) <= MAIL_WIDTH or re.search(r"['\"]", words) or " " not in words, f"{path}: {line}")


def page(folder, browser, shots, wrong):
    path = folder / "report.html"
    text = path.read_text()
    wrong.check("<script" not in text.lower(), f"{path}: a script")
    for width, scheme in LOOKS:
        browser.look(width, scheme)
        requests, console = browser.open(path)
        wrong.check(not requests, f"{path}: asks for {requests}")
        wrong.check(not console, f"{path}: says on the console {console}")
        sources = browser.evaluate(SOURCES)
        wrong.check(not sources, f"{path}: refers to {sources}")
        content, window = browser.evaluate(WIDTHS)
        wrong.check(content <= window, f"{path}: {content} wide in a window of {window}")
        browser.screenshot(shots / f"{folder.resolve().name}-{width}-{scheme}.png")


def main():
    parser = argparse.ArgumentParser(prog="ci/validate-reports")
    parser.add_argument("folders", nargs="+", type=Path, metavar="RESULTS")
    for name in ("schema", "junit", "kunit", "shots"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    wrong, shots = Failures(), Path(args.shots)
    shots.mkdir(parents=True, exist_ok=True)

    missing = [str(folder / name) for folder in args.folders for name in FILES if not (folder / name).is_file()]
    if missing:
        sys.exit("ci/validate-reports: there is no " + ", ".join(missing))

    summaries = [str(folder / "summary.json") for folder in args.folders]
    checker = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([checker, "--schemafile", args.schema, *summaries], capture_output=True, text=True, timeout=300)
    wrong.check(done.returncode == 0, f"check-jsonschema: {done.stdout}{done.stderr}")

    rules = xmlschema.XMLSchema(args.junit)
    with Browser() as browser:
        for folder in args.folders:
            print(f"{folder}: summary, junit, ktap, kcidb, mail, page")
            summary = json.loads((folder / "summary.json").read_text())
            cases = summary["cells"] + summary.get("forced", []) + summary.get("sweeps", [])
            statuses = [expected(case) for case in cases]
            junit(folder, rules, statuses, wrong)
            ktap(folder, args.kunit, statuses, wrong)
            kcidb(folder, statuses, wrong)
            mail(folder, wrong)
            page(folder, browser, shots, wrong)
    if wrong:
        sys.exit(f"ci/validate-reports: {len(wrong)} things are wrong")
    print(f"ci/validate-reports: {len(args.folders)} folders are as their readers want them; look at {shots}")


main()
