"""A server for requests that say how long they are: a length, a JSON header, content.

Run it:  python3 app_protocol.py PORT
Bad at:  clients that never send the rest: each keeps its place, and what it has sent, for ever.
"""

import json
import resource
import selectors
import signal
import socket
import struct
import sys
import time

MAX_CONTENT = 1024 * 1024  # bytes
FIELDS = ("byteorder", "content-type", "content-encoding", "content-length")
KNOWN = {
    "morpheus": "Follow the white rabbit. 🐰",
    "ring": "In the caves beneath the Misty Mountains. 💍",
    "🐶": "🐾 Playing ball! 🏐",
}


class Client:
    def __init__(self, sock, addr):
        self.sock = sock
        self.name = "%s:%d" % addr
        self.received = bytearray()  # and not taken out yet
        self.header = None  # of its request, when all of that has come
        self.send_queue = bytearray()  # what is left of the answer, once there is one


selector = selectors.DefaultSelector()


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = create_listen_socket(int(sys.argv[1]))
    alarm, bell = socket.socketpair()
    bell.setblocking(False)
    signal.set_wakeup_fd(bell.fileno())  # a signal makes the alarm readable
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
    """Serve until a signal comes; the end of the process closes every connection."""
    while True:
        for key, _ in selector.select():
            if key.fileobj is alarm:
                return
            if key.fileobj is listener:
                accept_client(listener)
            else:
                handle_client(key.data)


def accept_client(listener):
    try:
        sock, addr = listener.accept()
        sock.setblocking(False)
    except BlockingIOError:
        return
    except OSError:  # that connection has broken already, or there are no descriptors left
        time.sleep(0.01)
        return
    selector.register(sock, selectors.EVENT_READ, Client(sock, addr))


def handle_client(client):
    """Do once what there is to do: receive a part of the request, or send a part of the answer."""
    try:
        is_over = send(client) if client.send_queue else receive(client)
    except BlockingIOError:
        return
    except OSError:  # the client has broken the connection
        is_over = True
    except (ValueError, RecursionError) as err:
        print("%s: %s" % (client.name, err), file=sys.stderr)
        is_over = True
    if is_over:
        close_client(client)


def receive(client):
    """Receive once; return whether the client has left amid its request."""
    data = client.sock.recv(65536)
    if not data:
        return True
    client.received += data
    if client.header is None:
        client.header = take_header(client)
    if client.header is not None:
        content = take(client, client.header["content-length"])
        if content is not None:
            client.send_queue += answer(client.header, content)
            selector.modify(client.sock, selectors.EVENT_WRITE, client)
    return False


def take(client, length):
    """Take so many bytes out of what was received; None if there are fewer."""
    if len(client.received) < length:
        return None
    taken = bytes(client.received[:length])
    del client.received[:length]
    return taken


def take_header(client):
    """Take out the header, as soon as all of it is there."""
    if len(client.received) < 2:
        return None
    (length,) = struct.unpack(">H", client.received[:2])
    if len(client.received) < 2 + length:
        return None
    return parse_header(take(client, 2 + length)[2:])


def parse_header(data):
    header = parse_object(data)
    for field in FIELDS:
        if field not in header:
            raise ValueError("the header has no %s" % field)
    length = header["content-length"]
    if type(length) is not int or length < 0:
        raise ValueError("the content-length is %r" % length)
    if length > MAX_CONTENT:
        raise ValueError("%d bytes of content are too many" % length)
    return header


def parse_object(data):
    value = json.loads(data.decode("utf-8"))  # the errors of both are a ValueError, too
    if not isinstance(value, dict):
        raise ValueError("%r is no JSON object" % value)
    return value


def answer(header, content):
    if header["content-type"] != "text/json":
        content = b"First 10 bytes of request: " + content[:10]
        return prep_msg("binary/custom-server-binary-type", "binary", content)
    result = find(parse_object(content))
    content = json.dumps({"result": result}, ensure_ascii=False).encode("utf-8")
    return prep_msg("text/json", "utf-8", content)


def find(request):
    action, value = request.get("action"), request.get("value")
    if action != "search":
        return "Error: invalid action '%s'." % action
    return KNOWN.get(str(value), "No match for '%s'." % value)


def prep_msg(content_type, encoding, content):
    header = {
        "byteorder": sys.byteorder,
        "content-type": content_type,
        "content-encoding": encoding,
        "content-length": len(content),
    }
    header = json.dumps(header).encode("utf-8")
    return struct.pack(">H", len(header)) + header + content


def send(client):
    """Send what the socket takes now; return whether that was the rest."""
    sent = client.sock.send(client.send_queue)
    del client.send_queue[:sent]
    return not client.send_queue


def close_client(client):
    selector.unregister(client.sock)
    client.sock.close()


if __name__ == "__main__":
    main()
