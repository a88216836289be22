"""The servers of this project: the gates read them from servers.json, as nothing has been built yet when they run.

The list itself is workbench/probe/src/servers.rs. After a change there: cargo tincan servers --json >.ci/servers.json
"""

import json
from pathlib import Path

SERVERS = json.loads(Path(__file__).with_name("servers.json").read_text(encoding="utf-8"))

STAGES = [server["name"] for server in SERVERS if server["is_stage"]]
"""The names of the stages, which are also their packages and folders, in reading order."""


def folder(name):
    """The folder of a server's package, relative to the workspace."""
    source = next(server["source"] for server in SERVERS if server["name"] == name)
    return source.partition("/src/")[0]


PAIRS = [
    (folder(server["compared_with"]), folder(server["name"]))
    for server in SERVERS
    if server["change"]
]
"""The folders of each server that was made from a copy of another one, the other one first."""
