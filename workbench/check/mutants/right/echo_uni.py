"""An echo server for one client at a time: it answers a client's first message, and closes.

Run it:  python3 echo_uni.py PORT
Bad at:  a second client, which waits until the first one is done.
"""

import signal
import socket
import sys
import threading
import time

MAX_MSG_LEN = 16 * 1024  # bytes, without the zero byte
LINGER = 0.5  # seconds for which the server still reads before it closes a connection


def main():
    listener = create_listen_socket(int(sys.argv[1]))
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    signal.sigwait(signals)  # the serving thread ends with the program


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
        try:
            handle_client(sock)
        except (OSError, ValueError):
            pass  # the next client is served
        finally:
            sock.close()


def handle_client(sock):
    msg = recv_msg(sock)
    if msg is not None:
        sock.sendall(prep_msg(msg))
    close_gently(sock)


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
