"""A calculator: adds up or multiplies the integers of a line, for all clients at once.

Run it:  python3 calc.py PORT
Bad at:  long numbers. While the server converts one of 65,536 digits, all other clients wait.
"""

import asyncio
import math
import resource
import signal
import sys

MAX_LINE_LEN = 64 * 1024  # bytes, without the line end
DRAIN = 3  # seconds for which the server still sends answers after a signal
LINGER = 0.5  # seconds for which the server still reads before it closes a connection

talkers = set()  # the tasks of clients that may still send messages
leavers = set()  # the tasks of clients that are being disconnected


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.set_int_max_str_digits(0)  # the line has a limit already
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
    for task in talkers:
        task.cancel()
    if talkers or leavers:
        await asyncio.wait(talkers | leavers, timeout=DRAIN)


async def handle_client(reader, writer):
    task = asyncio.current_task()
    talkers.add(task)
    try:
        await session(reader, writer)
    except (OSError, asyncio.CancelledError):
        pass  # the client has reset the connection, or the server ends
    finally:
        talkers.discard(task)
        leavers.add(task)
        await say_goodbye(reader, writer)
        leavers.discard(task)


async def session(reader, writer):
    mode = "sum"
    rest = bytearray()  # the beginning of a line that is not complete yet
    await answer(writer, "<welcome: starting in sum mode>\n")
    while True:
        try:
            line = await read_line(reader, rest)
        except ValueError:
            await answer(writer, "ERROR. A line has at most 65536 bytes\n")
            return
        if line is None:
            return
        if line == "quit":
            await answer(writer, "connection closed\r\n")
            return
        if line in ("sum", "product"):
            mode = line
            await answer(writer, f"<switching to {mode} mode>\r\n")
        else:
            await answer(writer, calculate(mode, line))


async def read_line(reader, rest):
    """Return the next line without its line end, or None at the end of the client's data."""
    while b"\n" not in rest:
        if len(rest) > MAX_LINE_LEN + 1:
            raise ValueError("the line is too long")
        data = await reader.read(65536)
        if not data:
            break
        rest += data
    line, end, after = rest.partition(b"\n")
    rest[:] = after
    if not line and not end:
        return None
    line = line.removesuffix(b"\r")
    if len(line) > MAX_LINE_LEN:
        raise ValueError("the line is too long")
    return line.decode("utf-8", "replace").rstrip()


def calculate(mode, line):
    try:
        numbers = [int(item) for item in line.split(",")]
    except ValueError:
        return "ERROR. Enter only integers separated by commas\n"
    result = sum(numbers) if mode == "sum" else math.prod(numbers)
    return f"{mode.capitalize()} of input numbers: '{result}'\r\n"


async def answer(writer, text):
    writer.write(text.encode("utf-8"))
    await writer.drain()  # no more lines are read from a client that does not read its answers


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
