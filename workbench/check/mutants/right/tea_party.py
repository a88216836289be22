"""A tea party: a line-based chat, where clients log in with a name.

Run it:  python3 tea_party.py PORT
Bad at:  CPU-heavy work. While the server works for one client, all others wait.
"""

import asyncio
import resource
import signal
import sys
import unicodedata

MAX_LINE_LEN = 4096  # bytes before the line end
MAX_NAME_LEN = 32  # characters
QUEUE_LIMIT = 1024 * 1024  # bytes that may wait for a client
DRAIN = 3  # seconds for which the server still sends to a client that leaves
LINGER = 0.5  # seconds for which the server still reads before it closes a connection

talkers = set()  # the tasks of clients that may still send messages
leavers = set()  # the tasks of clients that are being disconnected
room = {}  # the names of the clients that are logged in, in order of arrival, by writer


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(
        handle_client, "127.0.0.1", int(sys.argv[1]), backlog=1024
    )
    await stop.wait()
    server.close()
    await end_all_clients()


async def end_all_clients():
    room.clear()  # all clients leave, so no client needs to be told
    for task in talkers:
        task.cancel()
    if talkers or leavers:
        await asyncio.wait(talkers | leavers, timeout=DRAIN)


async def handle_client(reader, writer):
    task = asyncio.current_task()
    talkers.add(task)
    try:
        await session(reader, writer)
    except ValueError as err:
        send(writer, str(err))
    except (OSError, asyncio.CancelledError):
        pass  # the client has reset the connection, or the server ends
    finally:
        talkers.discard(task)
        leavers.add(task)
        handle_disconnect(writer)
        await say_goodbye(reader, writer)
        leavers.discard(task)


async def session(reader, writer):
    """Go from state to state: at the login, in the room, logged out."""
    lines = read_lines(reader)
    send(writer, "Welcome to TestChat")
    name = await login(lines, writer)
    if name is not None:
        broadcast(f"{name} has entered the room.")
        room[writer] = name
        await chat(lines, writer, name)


async def read_lines(reader):
    """Yield the first word and the rest of each line that is not empty."""
    rest = b""
    while data := await reader.read(65536):
        *lines, rest = (rest + data).split(b"\n")
        if any(len(line) > MAX_LINE_LEN + 1 for line in (*lines, rest)):
            raise ValueError(f"A line has at most {MAX_LINE_LEN} bytes.")
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            if text:
                word, *others = text.split(maxsplit=1)
                yield word, "".join(others)


async def login(lines, writer):
    """Return the name with which the client logs in, or None if it leaves."""
    async for word, name in lines:
        if word == "logout":
            return None
        if word != "login":
            send(writer, 'Please log in\nUse "login <nick>"')
        elif not name:
            send(writer, "Please enter a name")
        elif not is_name(name):
            send(writer, f"A name has 1 to {MAX_NAME_LEN} characters, all to be seen.")
        elif fold(name) in map(fold, room.values()):
            send(writer, f'The name "{name}" is taken.\r\nPlease try again.')
        else:
            return name
    return None


def is_name(text):
    return len(text) <= MAX_NAME_LEN and not any(c.isspace() or is_control(c) for c in text)


def is_control(character):
    return unicodedata.category(character) == "Cc"


def fold(name):
    """Return a key that is equal for names that differ only in case or Unicode form."""
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", folded)


async def chat(lines, writer, name):
    async for word, text in lines:
        if word == "logout":
            return
        if word == "say":
            broadcast(f"{name}: {printable(text)}")
        elif word == "look":
            send(writer, "\r\n".join(["The following are in this room:", *room.values()]))
        elif word == "who":
            send(writer, "\r\n".join(["The following are logged in:", *room.values()]))
        else:
            send(writer, f"Unknown command: {printable(word)}")


def printable(text):
    """Replace control characters, so that no text can control another client's terminal."""
    return "".join(
        f"\\x{ord(c):02x}" if is_control(c) and c != "\t" else c for c in text
    )


def broadcast(text):
    """Queue a line for all clients in the room."""
    for writer in list(room):
        send(writer, text)


def send(writer, text):
    """Send as much as the socket accepts now; the rest waits if it is not too much."""
    if writer.transport.is_closing():
        return
    writer.write(f"{text}\r\n".encode("utf-8"))
    if writer.transport.get_write_buffer_size() > QUEUE_LIMIT:
        writer.transport.abort()


def handle_disconnect(writer):
    """Take a client out of the room, and tell the remaining clients."""
    name = room.pop(writer, None)
    if name is not None:
        broadcast(f"{name} has left the room.")


async def say_goodbye(reader, writer):
    """Send what is queued, shut down the sending side, and read for a moment longer.

    A close with bytes unread would send a reset, and the last bytes sent may be lost.
    """
    try:
        writer.write_eof()
        writer.transport.set_write_buffer_limits(0)
        await asyncio.wait_for(writer.drain(), DRAIN)
        await asyncio.wait_for(read_to_end(reader), LINGER)
    except (OSError, asyncio.TimeoutError):
        pass
    writer.transport.abort()


async def read_to_end(reader):
    while await reader.read(65536):
        pass


if __name__ == "__main__":
    asyncio.run(main())
