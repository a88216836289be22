"""What several gates use: the list of servers, a reader of Rust, and the command line of a gate.

A gate is a program that checks rules which neither the compiler nor a test can check. It prints a line for each
place that breaks a rule, and exits with 1 if there is one. With --self-test, it breaks each of its rules in
made-up text, and exits with 1 if it does not notice.
"""

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The table is in workbench/probe/src/servers.rs. The gates run before anything is built, so they read this copy.
# After a change: cargo tincan servers --json >.ci/servers.json
SERVERS = json.loads((ROOT / ".ci/servers.json").read_text(encoding="utf-8"))

# The names of the stages, in reading order. Their packages and folders have the same names.
STAGES = [server["name"] for server in SERVERS if server["is_stage"]]

# The comments, strings and characters of Rust, which may contain braces and keywords.
TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|\b[bc]?r(?P<hashes>#*)\".*?\"(?P=hashes)|\"(?:\\.|[^\"\\])*\"|'(?:\\.[^']*|[^\\'\n])'", re.S
)


def read(file):
    return file.read_text(encoding="utf-8")


def files(root, pattern):
    """Yields the files of the workspace with such names, but none that a program has made."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - {".git", "target", "node_modules"})
        yield from (Path(folder, name) for name in sorted(fnmatch.filter(names, pattern)))


def line_of(text, at):
    """Returns the number of the line that contains this offset."""
    return text.count("\n", 0, at) + 1


def cargo(*words):
    """Returns the output of a cargo command in the workspace."""
    return subprocess.run(["cargo", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def packages():
    """Returns what cargo knows about each package of the workspace."""
    return json.loads(cargo("metadata", "--no-deps", "--format-version", "1", "--locked"))["packages"]


def run(doc, check, cases, arguments=()):
    """Runs a gate with its command line, and returns the exit code.

    `check` gets the arguments and returns problems, a line each. `cases` yields for each case of the self-test
    its name, a part of each problem that is expected, and the problems that were found.
    """
    words = sys.argv[1:]
    if words == ["--self-test"]:
        return self_test(cases())
    if len(words) != len(arguments) or any(word.startswith("-") for word in words):
        print(doc.strip(), file=sys.stderr)
        return 2
    problems = list(check(*words))
    sys.stdout.flush()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def self_test(cases):
    passed = failed = 0
    for name, expected, found in cases:
        found = list(found)
        if len(found) == len(expected) and all(part in problem for part, problem in zip(expected, found)):
            passed += 1
        else:
            failed += 1
            print(f"{name}: expected {expected}, found {found}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
