"""An echo server with a thread for each client: it answers a client's first message, and closes.

Run it:  python3 echo_multi.py PORT
Bad at:  many clients. Each one needs a thread, even while it is silent.
"""

import resource
import signal
import socket
import sys
import threading
import time

MAX_MSG_LEN = 16 * 1024  # bytes, without the zero byte
LINGER = 0.5  # seconds for which the server still reads before it closes a connection


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.stack_size(256 * 1024)
    listener = create_listen_socket(int(sys.argv[1]))
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    signal.sigwait(signals)  # the threads of the clients end with the program


def create_listen_socket(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


def serve(listener):
    while True:
        try:
            sock, addr = listener.accept()
        except OSError:  # that connection is already broken, or no descriptors are left
            time.sleep(0.05)
            continue
        client = threading.Thread(target=handle_client, args=(sock, addr), daemon=True)
        try:
            client.start()
        except RuntimeError:  # the system cannot start another thread
            sock.close()


def handle_client(sock, addr):
    try:
        msg = recv_msg(sock)
        if msg is not None:
            sock.sendall(prep_msg("%s:%d: %s" % (addr[0], addr[1], msg)))
        close_gently(sock)
    except (OSError, ValueError):
        pass  # no other client is affected
    finally:
        sock.close()


def recv_msg(sock):
    """Return the client's first message, or None if it leaves before the message is complete."""
    rest = b""
    while True:
        data = sock.recv(4096)
        if not data:
            return None
        *frames, rest = (rest + data).split(b"\0")
        for frame in frames:
            if frame:
                return parse_frame(frame)
        if len(rest) > MAX_MSG_LEN:
            raise ValueError("the message is too long")


def parse_frame(frame):
    if len(frame) > MAX_MSG_LEN:
        raise ValueError("the message is too long")
    return frame.decode("utf-8")  # a decoding error is a ValueError too


def prep_msg(msg):
    return msg.encode("utf-8") + b"\0"


def close_gently(sock):
    """Shut down the sending side, and read for a moment longer.

    A close with bytes unread would send a reset, and the answer may be lost.
    """
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(LINGER)
    deadline = time.monotonic() + LINGER
    while time.monotonic() < deadline and sock.recv(65536):
        pass


if __name__ == "__main__":
    main()
