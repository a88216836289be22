# Prints the spans of a trace: lane, name, when it began, and how long it took, in milliseconds.
import collections
import json
import sys

events = json.load(open(sys.argv[1]))
lanes = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
spans = []
going_on = collections.defaultdict(list)  # for each lane, the innermost last
for e in sorted((e for e in events if e["ph"] in "XBE"), key=lambda e: e["ts"]):
    lane = going_on[e["tid"]]
    if e["ph"] == "X":
        spans.append((e, e["dur"]))
    elif e["ph"] == "B":
        lane.append(e)
    elif lane:  # empty if the beginning was left out
        begin = lane.pop()
        spans.append((begin, e["ts"] - begin["ts"]))
spans += [(e, None) for lane in going_on.values() for e in lane]

for e, took in sorted(spans, key=lambda span: span[0]["ts"]):
    took = "goes on" if took is None else f"{took / 1000:.3f}"
    print(f"{lanes.get(e['tid'])}\t{e['name']}\t{e['ts'] / 1000:.3f}\t{took}")
