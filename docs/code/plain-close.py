# A server answers and closes the connection, although the client has sent more than the server has read.
import socket
import threading

ANSWER = b"x" * 1_000_000


def serve(listener, lingers):
    sock, _ = listener.accept()
    sock.recv(10)  # the other bytes stay in the kernel, unread
    sock.sendall(ANSWER)
    if lingers:
        sock.shutdown(socket.SHUT_WR)  # the client will read the end of the stream
        while sock.recv(4096):  # reads and discards until the client closes its side
            pass
    sock.close()


for lingers in (False, True):
    listener = socket.create_server(("127.0.0.1", 0))
    server = threading.Thread(target=serve, args=(listener, lingers))
    server.start()
    client = socket.create_connection(listener.getsockname())
    received, end = 0, "the end"
    try:
        doing = "sending"
        client.sendall(b"y" * 100_000)
        client.shutdown(socket.SHUT_WR)
        doing = "receiving"
        while data := client.recv(65536):
            received += len(data)
    except OSError:
        end = f"a reset while the client was {doing}"
    client.close()
    server.join()
    how = "after lingering" if lingers else "at once"
    print(f"closed {how}: {received} bytes of {len(ANSWER)}, then {end}")
