"""The table: which servers there are, where a panic goes into each, and how to talk to it."""

import json
import struct
from dataclasses import dataclass

STAGES = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"]

# Tin-can chats: the mark is that of the chat stages.
CHATS = ["chat-green", "chat-smol", "chat-tls", "chat-uring", "chat-nats"]


@dataclass(frozen=True)
class Row:
    name: str
    # Where the panic goes in: behind what this matches.
    file: str
    mark: str
    panic: str
    # What has it run, and an exchange that must work before and after.
    victim: bytes
    says: bytes
    hears: bytes
    args: tuple = ()
    package: str = ""
    program: str = ""
    # One exchange for each connection; one connection at a time.
    once: bool = False
    alone: bool = False
    # What the log says of the victim.
    logged: str = "panicked"

    def of(self):
        folder = self.file.split("/")[1]
        return self.package or folder, self.program or self.name


def frame(text):
    return struct.pack("!I", len(text)) + text


def app_request(value):
    content = json.dumps({"action": "search", "value": value}).encode()
    header = json.dumps(
        {
            "byteorder": "little",
            "content-type": "text/json",
            "content-encoding": "utf-8",
            "content-length": len(content),
        }
    ).encode()
    return struct.pack("!H", len(header)) + header + content


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


# The line of the log that a server writes about what it has just received.
BY_ADDR = r'info!\("\{addr\}: \{\}", printable\(%s\)\);\n'
BY_SELF = r'info!\("\{\}: \{\}", self\.addr, printable\(%s\)\);\n'
LOSSY = r"&String::from_utf8_lossy\(%s\)"
MIXIN = {
    "file": "variations/echo-mixins/src/server.rs",
    "mark": BY_ADDR % LOSSY % "text",
    "panic": 'assert!(text != b"panic!", "the drill");',
    "victim": b"panic!",
    "says": b"still there?",
    "hears": b": still there?",
    "program": "echo-mixins",
    "once": True,
}
CALC = {
    "mark": BY_SELF % "line",
    "panic": 'assert!(line.as_str() != "panic!", "the drill");',
    "victim": b"panic!\n",
}
PARTY = {
    "file": "variations/tea-party/src/serve.rs",
    "mark": BY_ADDR % LOSSY % "&line",
    "panic": 'assert!(line[..] != *b"panic!", "the drill");',
    "victim": b"panic!\r\n",
    "says": b"still there?\r\n",
}

ROWS = [
    Row(name="echo-mixins fork", args=("--mixin", "fork"), logged=" failed", **MIXIN),
    Row(name="echo-mixins thread", args=("--mixin", "thread"), **MIXIN),
    Row(
        name="multiconn-server",
        file="variations/echo-select/src/bin/multiconn-server.rs",
        mark=r'info!\("\{\}: \{\}", client\.permit\.addr\(\), excerpt\(&bytes\[\.\.n\]\)\);\n',
        panic='assert!(bytes[..n] != *b"panic!", "the drill");',
        victim=b"panic!",
        says=b"still there?",
        hears=b"still there?",
    ),
    Row(
        name="app-server",
        file="variations/app-protocol/src/bin/app-server.rs",
        mark=r'    let value = scalar_field\(request, "value"\)\?;\n',
        panic='assert!(value != "panic!", "the drill");',
        victim=app_request("panic!"),
        says=app_request("ring"),
        hears=b"In the caves",
        once=True,
    ),
    Row(
        name="calc-reactor",
        file="variations/calc/src/bin/calc-reactor/main.rs",
        says=b"1,2\n",
        hears=b"Sum of input integers: '3'",
        **CALC,
    ),
    Row(
        name="calc-blocking",
        file="variations/calc/src/bin/calc-blocking/main.rs",
        says=b"1,2\n",
        hears=b"Sum of input numbers: '3'",
        alone=True,
        **CALC,
    ),
    Row(
        name="line-echo",
        file="variations/calc/src/bin/line-echo.rs",
        says=b"still there?\n",
        hears=b"Echoed: 'still there?'",
        alone=True,
        **CALC,
    ),
    Row(name="simple-chat", hears=b"still there?\r\n", **PARTY),
    Row(name="tea-party", hears=b"Please log in", **PARTY),
    Row(
        name="chat-select",
        file="variations/chat-select/src/server.rs",
        mark=r'info!\("\{\}: \{\}", client\.permit\.addr\(\), printable\(msg\)\);\n',
        panic='assert!(msg != "panic!", "the drill");',
        victim=frame(b"NAME: victim") + frame(b"panic!"),
        says=frame(b"NAME: somebody"),
        hears=b"CLIENT: 127.0.0.1",
        args=("--name", "server"),
        once=True,
    ),
    Row(
        name="web-epoll",
        file="variations/web-epoll/src/server.rs",
        mark=r'info!\("\{\}: \{\} \{\}", self\.permit\.addr\(\), [^;]*;\n',
        panic='assert!(!request.line.contains("/panic!"), "the drill");',
        victim=get("/panic!"),
        says=get("/"),
        hears=b"Hello from Epoll Server!",
    ),
    Row(
        name="echo-framework",
        file="variations/echo-framework/src/main.rs",
        mark=BY_SELF % "&text",
        panic='assert!(text != "panic!", "the drill");',
        victim=b"panic!\n",
        says=b"still there?\n",
        hears=b"You said: still there?\n",
    ),
]
