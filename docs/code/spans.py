# Prints the spans of a trace: lane, name, when it began, and how long it took, in milliseconds.
import collections
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read().rstrip()
if not text.endswith("]"):  # the server leaves the array open; its last event may be cut off
    text = text[: text.rindex("},") + 1] + "]"
events = json.loads(text)

lanes = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
spans = []
open_spans = collections.defaultdict(list)  # for each lane, the innermost span last
for event in events:
    lane = open_spans[event["tid"]]
    if event["ph"] == "B":
        lane.append(event)
    elif event["ph"] == "E" and lane:
        begin = lane.pop()
        spans.append((begin, event["ts"] - begin["ts"]))
spans += [(begin, None) for lane in open_spans.values() for begin in lane]

for begin, took in sorted(spans, key=lambda span: span[0]["ts"]):
    took = "not ended" if took is None else f"{took / 1000:.3f}"
    print(f"{lanes.get(begin['tid'])}\t{begin['name']}\t{begin['ts'] / 1000:.3f}\t{took}")
