# A server that answers and closes, while the client has sent more than the server has read.
import socket
import threading

ANSWER = b"x" * 1_000_000


def serve(listener, close_gently):
    sock, _ = listener.accept()
    sock.recv(10)  # the rest stays in the kernel, unread
    sock.sendall(ANSWER)
    if close_gently:
        sock.shutdown(socket.SHUT_WR)  # "I send no more"
        while sock.recv(4096):  # reads on until the client closes
            pass
    sock.close()


for close_gently in (False, True):
    listener = socket.create_server(("127.0.0.1", 0))
    server = threading.Thread(target=serve, args=(listener, close_gently))
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
    how = "gently" if close_gently else "plainly"
    print(f"closed {how}: {received} bytes of {len(ANSWER)}, then {end}")
