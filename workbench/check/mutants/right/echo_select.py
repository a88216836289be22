"""An echo server for bytes: one thread that waits for all connections at once.

Run it:  python3 echo_select.py PORT
Bad at:  clients that never read: each connection and its queue stay in memory forever.
"""

import resource
import selectors
import signal
import socket
import sys
import time

WAITING = 64 * 1024  # bytes that may wait for a client before the server stops reading from it


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.send_queue = bytearray()
        self.at_end = False  # whether the end of its data has been read


selector = selectors.DefaultSelector()


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


def create_listen_socket(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def serve(listener, alarm):
    """Serve until a signal arrives; the end of the process closes every connection."""
    while True:
        for key, events in selector.select():
            if key.fileobj is alarm:
                return
            if key.fileobj is listener:
                accept_client(listener)
            else:
                handle_client(key.data, events)


def accept_client(listener):
    try:
        sock, _ = listener.accept()
        sock.setblocking(False)
    except BlockingIOError:
        return
    except OSError:  # that connection is already broken, or no descriptors are left
        time.sleep(0.01)
        return
    selector.register(sock, selectors.EVENT_READ, Client(sock))


def handle_client(client, events):
    try:
        if events & selectors.EVENT_READ:
            receive(client)
        send(client)
    except OSError:  # the client has reset the connection
        close_client(client)
        return
    if client.at_end and not client.send_queue:
        close_client(client)
    else:
        selector.modify(client.sock, what_to_wait_for(client), client)


def receive(client):
    try:
        data = client.sock.recv(16384)
    except BlockingIOError:
        return
    client.send_queue += data
    client.at_end = not data


def send(client):
    """Send as much as the socket accepts now; the rest waits until it accepts more."""
    try:
        sent = client.sock.send(client.send_queue) if client.send_queue else 0
    except BlockingIOError:
        sent = 0
    del client.send_queue[:sent]


def what_to_wait_for(client):
    """Wait to read only while the queue is short: then a client that does not read waits itself."""
    is_behind = len(client.send_queue) > WAITING
    wait_to_read = 0 if client.at_end or is_behind else selectors.EVENT_READ
    wait_to_write = selectors.EVENT_WRITE if client.send_queue else 0
    return wait_to_read | wait_to_write


def close_client(client):
    selector.unregister(client.sock)
    client.sock.close()


if __name__ == "__main__":
    main()
