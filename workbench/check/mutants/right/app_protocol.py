"""A server for requests of three parts: a length, a JSON header, and content.

Run it:  python3 app_protocol.py PORT
Bad at:  clients that never send the rest: each connection and its bytes stay in memory forever.
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
        self.received = bytearray()  # bytes not yet taken out
        self.header = None  # of its request, once all of it has been received
        self.send_queue = bytearray()  # the bytes of the answer that are not sent yet


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
    except OSError:  # that connection is already broken, or no descriptors are left
        time.sleep(0.01)
        return
    selector.register(sock, selectors.EVENT_READ, Client(sock, addr))


def handle_client(client):
    """Receive a part of the request, or send a part of the answer, once."""
    try:
        is_over = send(client) if client.send_queue else receive(client)
    except BlockingIOError:
        return
    except OSError:  # the client has reset the connection
        is_over = True
    except (ValueError, RecursionError) as err:
        print("%s: %s" % (client.name, err), file=sys.stderr)
        is_over = True
    if is_over:
        close_client(client)


def receive(client):
    """Receive once; return whether the client has left before the end of its request."""
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
    """Take `length` bytes out of the received bytes; return None if there are fewer."""
    if len(client.received) < length:
        return None
    taken = bytes(client.received[:length])
    del client.received[:length]
    return taken


def take_header(client):
    """Take out the header if all of it has been received."""
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
    value = json.loads(data.decode("utf-8"))  # both errors are a ValueError too
    if not isinstance(value, dict):
        raise ValueError("%r is not a JSON object" % value)
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
    """Send as much as the socket accepts now; return whether all is sent."""
    sent = client.sock.send(client.send_queue)
    del client.send_queue[:sent]
    return not client.send_queue


def close_client(client):
    selector.unregister(client.sock)
    client.sock.close()


if __name__ == "__main__":
    main()
