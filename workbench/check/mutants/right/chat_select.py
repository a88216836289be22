"""A chat with names: a frame is a 4-byte length and a text of that many bytes.

Run it:  python3 chat_select.py PORT
Bad at:  CPU-heavy work. While the server works for one client, all others wait.
"""

import asyncio
import resource
import signal
import sys

MAX_MSG_LEN = 16 * 1024  # bytes of text in a frame
MAX_NAME_LEN = 255  # bytes: the name stands in front of each message
QUEUE_LIMIT = 1024 * 1024  # bytes that may wait for a client
DRAIN = 3  # seconds for which the server still sends to a client that leaves
LINGER = 0.5  # seconds for which the server still reads before it closes a connection

talkers = set()  # the tasks of clients that may still send messages
leavers = set()  # the tasks of clients that are being disconnected
room = {}  # the names of the clients in the room, by writer


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
        send(writer, f"server: {err}")
    except (OSError, EOFError, asyncio.CancelledError):
        pass  # the client has left, or the server ends
    finally:
        talkers.discard(task)
        leavers.add(task)
        handle_disconnect(writer)
        await say_goodbye(reader, writer)
        leavers.discard(task)


async def session(reader, writer):
    ip = writer.get_extra_info("peername")[0]
    name = f"{parse_name(await read_text(reader))}@{ip}"
    send(writer, f"CLIENT: {ip}")
    room[writer] = name
    broadcast(writer, f"(Connected: New client ({len(room)}) from {name})")
    while True:
        text = await read_text(reader)
        broadcast(writer, f"#{name}>>{text}")


async def read_text(reader):
    """Return the text of the next frame that is not empty."""
    size = 0
    while size == 0:
        size = int.from_bytes(await reader.readexactly(4), "big")
    if size > MAX_MSG_LEN:
        raise ValueError(f"a frame of {size} bytes announced, {MAX_MSG_LEN} allowed")
    return (await reader.readexactly(size)).decode("utf-8")


def parse_name(text):
    prefix, name = text[:6], text[6:]
    if prefix != "NAME: " or not 1 <= len(name.encode("utf-8")) <= MAX_NAME_LEN:
        raise ValueError("the first frame has to be a name")
    return name


def broadcast(sender, text):
    """Queue a text for all clients in the room except its sender."""
    for writer in list(room):
        if writer is not sender:
            send(writer, text)


def send(writer, text):
    """Send as much as the socket accepts now; the rest waits if it is not too much."""
    if writer.transport.is_closing():
        return
    data = text.encode("utf-8")
    writer.write(len(data).to_bytes(4, "big") + data)
    if writer.transport.get_write_buffer_size() > QUEUE_LIMIT:
        writer.transport.abort()


def handle_disconnect(writer):
    """Take a client out of the room, and tell the remaining clients."""
    name = room.pop(writer, None)
    if name is not None:
        broadcast(writer, f"(Now hung up: Client from {name})")


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
