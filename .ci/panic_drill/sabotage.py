"""Puts the panics into the source of a server."""

import re

from .talk import Failed

# Where a message has just been received: the echo stages answer it, the chats make a batch of all messages that
# have been received together.
ECHO_MARK = re.compile(r'^( *)info!\("\{addr\}: \{\}", printable\(&?(\w+)\)\);\n', re.M)
CHAT_MARK = re.compile(r"^( *)if !(batch)\.is_empty\(\) \{\n", re.M)
LOCK = "clients.table()"

# The loop of the sending half, where something is about to be sent; and where a
# client's handler gets the limit of its queue, by which alone its sending half knows it.
SEND_MARK = re.compile(
    r"^(?:async )?fn handle_client_send\((?P<arguments>[^{]*?)\) -> Result<\(\)> \{\n"
    r"(?:    .*\n)*?    while .*\{\n",
    re.M,
)
LIMIT_MARK = re.compile(r"^    let Connection \{[^}]*\blimit\b[^}]*\} = connection;\n", re.M)

DRILL = """
static DRILL: std::sync::Mutex<Option<std::net::SocketAddr>> = std::sync::Mutex::new(None);
"""
LIMITS = """
static LIMITS: std::sync::Mutex<Vec<(usize, std::net::SocketAddr)>> = std::sync::Mutex::new(Vec::new());
"""


def after(source, mark, lines):
    return source[: mark.end()] + lines + source[mark.end() :]


def before(source, mark, lines):
    return source[: mark.start()] + lines + source[mark.start() :]


def found(mark, source, file, what):
    if match := mark.search(source):
        return match
    raise Failed(f"{file}: found no {what}")


def echo_stage(file, source):
    mark = found(ECHO_MARK, source, file, "line where a message has just been received")
    indent, msg = mark.groups()
    return after(source, mark, f'{indent}assert!(*{msg} != *"panic!", "the drill");\n')


def chat(file, source):
    mark = found(CHAT_MARK, source, file, "line where messages have just been received")
    indent, frames = mark.groups()
    lines = f'{indent}assert!(!{frames}.ends_with(b": panic!\\0"), "the drill");\n'
    if LOCK in source:
        lines += f'{indent}if {frames}.ends_with(b": panic with the lock!\\0") {{\n'
        lines += f"{indent}    let _table = {LOCK};\n"
        lines += f'{indent}    panic!("the drill, with the lock");\n{indent}}}\n'
    lines += f'{indent}if {frames}.ends_with(b": panic while sending!\\0") {{\n'
    lines += f'{indent}    *DRILL.lock().expect("the drill") = Some(addr);\n{indent}}}\n'
    source = before(source, mark, lines) + DRILL
    mark = found(SEND_MARK, source, file, "loop in handle_client_send")
    if "client:" in mark["arguments"]:
        addr = "let addr = client.sock.peer_addr().ok();"
    else:
        addr = (
            "let limit_at = std::ptr::from_ref(limit) as usize;\n"
            '        let limits = LIMITS.lock().expect("the drill").clone();\n'
            "        let addr = limits.iter().rfind(|it| it.0 == limit_at).map(|it| it.1);"
        )
    lines = f"        {addr}\n"
    lines += '        let victim = *DRILL.lock().expect("the drill");\n'
    lines += '        assert!(victim.is_none() || victim != addr, "the drill, while sending");\n'
    source = after(source, mark, lines)
    if "client:" not in mark["arguments"]:
        mark = found(LIMIT_MARK, source, file, "place where a handler gets the limit of its client's queue")
        line = "    let limit_at = std::ptr::from_ref(&*limit) as usize;\n"
        line += '    LIMITS.lock().expect("the drill").push((limit_at, addr));\n'
        source = after(source, mark, line) + LIMITS
    return source


def row(row, source):
    mark = found(re.compile(row.mark), source, row.file, f"mark for {row.name}")
    return after(source, mark, row.panic + "\n")
