"""A chat server: one thread that waits for all clients at once, and never for a single one.

Run it:  python3 chat_loop.py PORT
Bad at:  CPU-heavy work. While the server works for one client, all others wait.
"""

import resource
import selectors
import signal
import socket
import sys
import time

MAX_MSG_LEN = 16 * 1024  # bytes, without the zero byte
QUEUE_LIMIT = 256 * 1024  # bytes that may wait for a client whose socket accepts nothing
QUEUE_CEILING = 8 * 1024 * 1024  # bytes that may wait for any client
STALL = 0.1  # seconds after which a socket counts as accepting nothing
WRITE_DEADLINE = 10  # seconds for which a client may receive nothing while bytes wait for it
DRAIN = 3  # seconds for which the server still sends to a client that leaves
LINGER = 0.5  # seconds for which the server still reads before it closes a connection
TICK = 0.1  # seconds between two checks of the deadlines


class Client:
    def __init__(self, sock, addr):
        self.sock = sock
        self.name = "%s:%d" % addr
        self.rest = b""  # the beginning of a message that is not complete yet
        self.send_queue = bytearray()
        self.took_at = 0.0  # when its socket last accepted bytes, or its queue was empty
        self.deadline = None  # for a client that leaves: when to stop sending
        self.at_end = False  # whether the end of its data has been read


selector = selectors.DefaultSelector()
clients = []  # the clients in the room
leavers = []  # clients that have left the room, but still have bytes queued


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = create_listen_socket(int(sys.argv[1]))
    alarm, bell = socket.socketpair()
    bell.setblocking(False)
    signal.set_wakeup_fd(bell.fileno())  # a signal makes `alarm` readable
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(alarm, selectors.EVENT_READ)
    serve(listener, alarm)
    end_all_clients()


def create_listen_socket(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def serve(listener, alarm):
    while True:
        for sock in wait_for_sockets():
            if sock is alarm:
                selector.unregister(alarm)
                selector.unregister(listener)
                listener.close()
                return
            accept_client(listener)


def end_all_clients():
    """Treat each client as if it had shut down its sending side; wait at most DRAIN."""
    deadline = time.monotonic() + DRAIN
    for client in clients:
        shut_down(client.sock, socket.SHUT_RD)
    while (clients or leavers) and time.monotonic() < deadline:
        wait_for_sockets()


def wait_for_sockets():
    """Serve each client that is ready; return the other sockets that are ready."""
    others = []
    is_busy = leavers or any(client.send_queue for client in clients)
    for key, events in selector.select(TICK if is_busy else None):
        client = key.data
        if client is None:
            others.append(key.fileobj)
            continue
        if events & selectors.EVENT_WRITE and is_open(client):
            handle_client_send(client)
        if events & selectors.EVENT_READ and is_open(client):
            handle_client(client)
    for client in clients + leavers:
        if is_late(client):
            close_client(client)
    return others


def accept_client(listener):
    try:
        sock, addr = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BlockingIOError:
        return
    except OSError:  # that connection is already broken, or no descriptors are left
        time.sleep(0.01)
        return
    client = Client(sock, addr)
    clients.append(client)
    selector.register(sock, selectors.EVENT_READ, client)


def handle_client(client):
    try:
        data = client.sock.recv(65536)
    except BlockingIOError:
        return
    except OSError:
        close_client(client)
        return
    if not data:
        client.at_end = True
        handle_disconnect(client)
    elif client in clients:  # what a leaving client sends is ignored
        relay_msgs(client, data)


def relay_msgs(client, data):
    frames = []
    last_words = b""
    try:
        for msg in parse_recvd_data(client, data):
            frames.append(prep_msg("%s: %s" % (client.name, msg)))
    except ValueError as err:
        last_words = prep_msg("server: %s" % err)
    if frames:
        broadcast_msg(client, b"".join(frames))
    if last_words and is_open(client):
        client.send_queue += last_words
        handle_disconnect(client)


def parse_recvd_data(client, data):
    """Yield each complete message, and keep the rest."""
    *frames, client.rest = (client.rest + data).split(b"\0")
    for frame in frames:
        if frame:
            yield parse_frame(frame)
    if len(client.rest) > MAX_MSG_LEN:
        raise ValueError("the message is too long")


def parse_frame(frame):
    if len(frame) > MAX_MSG_LEN:
        raise ValueError("the message is too long")
    return frame.decode("utf-8")  # a decoding error is a ValueError too


def prep_msg(msg):
    return msg.encode("utf-8") + b"\0"


def broadcast_msg(sender, frames):
    for client in list(clients):
        if not client.send_queue:
            client.took_at = time.monotonic()
        client.send_queue += frames
        handle_client_send(client)


def handle_client_send(client):
    """Send as much as the socket accepts now; the rest waits until it accepts more."""
    try:
        sent = client.sock.send(client.send_queue) if client.send_queue else 0
    except BlockingIOError:
        sent = 0
    except OSError:
        close_client(client)
        return
    if sent:
        client.took_at = time.monotonic()
    del client.send_queue[:sent]
    if is_full(client):
        close_client(client)
    elif client.deadline is not None and not client.send_queue:
        say_goodbye(client)
    else:
        wait_to_write = selectors.EVENT_WRITE if client.send_queue else 0
        wait_to_read = 0 if client.at_end else selectors.EVENT_READ
        selector.modify(client.sock, wait_to_read | wait_to_write, client)


def is_full(client):
    is_stalled = time.monotonic() > client.took_at + STALL
    most = QUEUE_LIMIT if is_stalled else QUEUE_CEILING
    return len(client.send_queue) > most and client.deadline is None


def is_late(client):
    if client.deadline is not None:
        return time.monotonic() > client.deadline
    return client.send_queue and time.monotonic() > client.took_at + WRITE_DEADLINE


def handle_disconnect(client):
    """Take a client out of the room. Its queue is still sent."""
    if client in clients:
        clients.remove(client)
        leavers.append(client)
        client.deadline = time.monotonic() + DRAIN
    handle_client_send(client)


def say_goodbye(client):
    """Shut down the sending side, and read for a moment longer.

    A close with bytes unread would send a reset, and the last bytes sent may be lost.
    """
    if client.at_end:
        close_client(client)
    else:
        client.deadline = time.monotonic() + LINGER
        shut_down(client.sock, socket.SHUT_WR)
        selector.modify(client.sock, selectors.EVENT_READ, client)


def close_client(client):
    if client in clients:
        clients.remove(client)
    if client in leavers:
        leavers.remove(client)
    selector.unregister(client.sock)
    client.sock.close()


def is_open(client):
    return client.sock.fileno() >= 0


def shut_down(sock, how):
    try:
        sock.shutdown(how)
    except OSError:
        pass  # the client has reset the connection


if __name__ == "__main__":
    main()
