"""A chat server: two threads and a queue for each client, and one lock.

A client's first thread receives messages and queues each for all clients while it holds the lock,
so that all get them in one order. Its second thread sends: only this one waits for a slow client.

Run it:  python3 chat_threads.py PORT
Bad at:  many clients. Each one costs two threads, and each message wakes a thread for each client.
"""

import queue
import resource
import select
import signal
import socket
import sys
import threading
import time

MAX_MSG_LEN = 16 * 1024  # bytes, without the zero byte
QUEUE_LIMIT = 256 * 1024  # bytes that may wait for a client whose socket accepts nothing
QUEUE_CEILING = 8 * 1024 * 1024  # bytes that may wait for any client
STALL = 0.1  # seconds after which a socket counts as accepting nothing
WRITE_DEADLINE = 10  # seconds for which a client may receive nothing while bytes wait for it
DRAIN = 3  # seconds for which the server still sends to a client that leaves
LINGER = 0.5  # seconds for which the server still reads before it closes a connection


class Client:
    def __init__(self, sock, addr):
        self.sock = sock
        self.name = "%s:%d" % addr
        self.send_queue = queue.SimpleQueue()  # contains frames; None ends it
        self.waiting = 0  # bytes that are queued or being sent
        self.deadline = None  # for a client that leaves: when to stop sending
        self.sending = threading.Thread(target=handle_client_send, args=(self,), daemon=True)


clients = []  # the clients in the room
lock = threading.Lock()  # protects the list and the fields of each client


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.stack_size(256 * 1024)
    listener = create_listen_socket(int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: listener.close())  # makes accept fail
    serve(listener)
    end_all_clients()


def create_listen_socket(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    listener.settimeout(1)  # a signal that arrives just before accept is noticed after it
    return listener


def serve(listener):
    while listener.fileno() >= 0:
        try:
            sock, addr = listener.accept()
        except socket.timeout:
            continue
        except OSError:  # that connection is already broken, or no descriptors are left
            time.sleep(0.05)
            continue
        client = Client(sock, addr)
        with lock:
            clients.append(client)
        try:
            threading.Thread(target=handle_client, args=(client,), daemon=True).start()
        except RuntimeError:  # the system cannot start another thread
            handle_disconnect(client)
            sock.close()


def end_all_clients():
    """Let each client's threads end as if it had shut down its sending side; wait at most DRAIN."""
    deadline = time.monotonic() + DRAIN
    with lock:
        for client in clients:
            shut_down(client.sock, socket.SHUT_RD)
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0, deadline - time.monotonic()))


def handle_client(client):
    last_words = None
    try:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sending.start()
        for msg in recv_msgs(client.sock):
            broadcast_msg(client, msg)
    except ValueError as err:
        last_words = prep_msg("server: %s" % err)
    except (OSError, RuntimeError):
        pass  # no other client is affected
    finally:
        handle_disconnect(client, last_words)
        if client.sending.is_alive():
            client.sending.join()
        close_gently(client.sock)


def recv_msgs(sock):
    """Yield each message of a client, until the end of its data."""
    rest = b""
    while True:
        data = sock.recv(65536)
        if not data:
            return
        *frames, rest = (rest + data).split(b"\0")
        for frame in frames:
            if frame:
                yield parse_frame(frame)
        if len(rest) > MAX_MSG_LEN:
            raise ValueError("the message is too long")


def parse_frame(frame):
    if len(frame) > MAX_MSG_LEN:
        raise ValueError("the message is too long")
    return frame.decode("utf-8")  # a decoding error is a ValueError too


def prep_msg(msg):
    return msg.encode("utf-8") + b"\0"


def broadcast_msg(sender, msg):
    frame = prep_msg("%s: %s" % (sender.name, msg))
    with lock:
        for client in list(clients):
            queue_frame(client, frame)


def queue_frame(client, frame):
    client.waiting += len(frame)
    if client.waiting > QUEUE_CEILING:
        clients.remove(client)
        shut_down(client.sock, socket.SHUT_RDWR)  # ends both threads of the client
    else:
        client.send_queue.put(frame)


def handle_disconnect(client, last_words=None):
    """Take a client out of the room. Its queue is still sent."""
    with lock:
        if client in clients:
            clients.remove(client)
        client.deadline = time.monotonic() + DRAIN
        if last_words:
            client.send_queue.put(last_words)
            client.waiting += len(last_words)
        client.send_queue.put(None)


def handle_client_send(client):
    try:
        frames = []
        while None not in frames:
            frames = [client.send_queue.get()]
            while not client.send_queue.empty():
                frames.append(client.send_queue.get())
            send_frames(client, b"".join(frame for frame in frames if frame))
    except OSError:
        shut_down(client.sock, socket.SHUT_RDWR)  # ends the thread that receives


def send_frames(client, data):
    unsent = memoryview(data)
    room = select.poll()
    room.register(client.sock, select.POLLOUT)
    took_at = time.monotonic()
    while unsent:
        try:
            sent = client.sock.send(unsent, socket.MSG_DONTWAIT)
        except BlockingIOError:
            is_stalled = not room.poll(STALL * 1000)
            if is_too_slow(client, is_stalled, took_at):
                raise TimeoutError("the client does not keep up")
            continue
        unsent = unsent[sent:]
        took_at = time.monotonic()
        with lock:
            client.waiting -= sent


def is_too_slow(client, is_stalled, took_at):
    now = time.monotonic()
    if client.deadline is not None:
        return now > client.deadline
    return is_stalled and (client.waiting > QUEUE_LIMIT or now > took_at + WRITE_DEADLINE)


def shut_down(sock, how):
    try:
        sock.shutdown(how)
    except OSError:
        pass  # the client has reset the connection


def close_gently(sock):
    """Shut down the sending side, and read for a moment longer.

    A close with bytes unread would send a reset, and the last bytes sent may be lost.
    """
    deadline = time.monotonic() + LINGER
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(LINGER)
        while time.monotonic() < deadline and sock.recv(65536):
            pass
    except OSError:
        pass
    sock.close()


if __name__ == "__main__":
    main()
