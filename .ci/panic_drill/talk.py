"""A server with panics in it, and clients of it."""

import os
import re
import signal
import socket
import ssl
import subprocess
import time

# How long anything may take that is expected to happen.
PATIENCE = 20.0


class Failed(Exception):
    pass


class Server:
    def __init__(self, name, program, args, log_file):
        self.log_file = log_file
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [program, *args, "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={k: v for k, v in os.environ.items() if k != "RUST_LOG"},
            )
        line = self.process.stdout.readline().decode()
        if not (found := re.fullmatch(r"Listening on (127\.0\.0\.1):(\d+)\n", line)):
            self.process.kill()
            raise Failed(f"{name} said {line!r} instead of its address")
        self.addr = (found[1], int(found[2]))

    def log_has(self, what, *parts):
        """Waits for a line of the log that has all the parts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(all(part in line for part in parts) for line in lines):
                return
            if time.monotonic() > deadline:
                raise Failed(f"no line of the log has {what}: {' and '.join(map(repr, parts))}")
            time.sleep(0.01)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed("the server does not end at SIGTERM") from None
        if code != 0:
            raise Failed(f"the server ended with {code} at SIGTERM")


class Client:
    """Speaks bytes, or tin-can messages; inside TLS if there is a CA to trust."""

    def __init__(self, server, ca=None):
        self.sock = socket.create_connection(server.addr, PATIENCE)
        host, port = self.sock.getsockname()
        self.addr = f"{host}:{port}"
        self.got = b""
        if ca:
            context = ssl.create_default_context(cafile=ca)
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def send(self, text):
        self.sock.sendall(text.encode() + b"\0")

    def exchange(self, says, hears):
        self.got = b""
        self.sock.sendall(says)
        while hears not in self.got:
            self.receive_some(hears)

    def receive(self, text):
        """Reads up to the message `text`, over others."""
        wanted = text.encode()
        while True:
            *msgs, self.got = self.got.split(b"\0")
            if wanted in msgs:
                self.got = b"".join(m + b"\0" for m in msgs[msgs.index(wanted) + 1 :]) + self.got
                return
            self.receive_some(wanted)

    def receive_some(self, wanted):
        try:
            data = self.sock.recv(65536)
        except OSError as err:
            raise Failed(f"waiting for {wanted!r}: {err}") from None
        if not data:
            raise Failed(f"disconnected while waiting for {wanted!r}")
        self.got += data

    def is_cut_off(self):
        try:
            while data := self.sock.recv(65536):
                self.got += data
        except TimeoutError:
            raise Failed("a client whose handler panicked is still connected") from None
        except (ConnectionError, ssl.SSLError):
            pass
        if b"panic" in self.got:
            raise Failed(f"the message at which the handler panicked was answered: {self.got!r}")
