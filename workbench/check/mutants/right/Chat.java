import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;

/**
 * A chat server: one thread that waits for all clients at once, with a selector, and never
 * for a single one.
 *
 * Run it:  java Chat.java PORT
 * Bad at:  CPU-heavy work. While the server works for one client, all others wait.
 */
public class Chat {
    static final int MAX_MSG_LEN = 16 * 1024; // bytes, without the zero byte
    static final int QUEUE_LIMIT = 256 * 1024; // bytes that may wait while a socket accepts nothing
    static final int QUEUE_CEILING = 8 * 1024 * 1024; // bytes that may wait for any client
    static final long STALL = 100; // milliseconds after which a socket counts as accepting nothing
    static final long WRITE_DEADLINE = 10_000; // milliseconds a client may receive nothing
    static final long DRAIN = 3_000; // milliseconds for which a leaving client still gets its queue
    static final long LINGER = 500; // milliseconds for which the server still reads before a close
    static final long TICK = 100; // milliseconds between two checks of the deadlines

    static class ProtocolException extends Exception {
        ProtocolException(String reason) {
            super(reason);
        }
    }

    static class Client {
        SocketChannel sock;
        SelectionKey key;
        String name;
        ByteArrayOutputStream rest = new ByteArrayOutputStream(); // of an incomplete message
        ArrayDeque<ByteBuffer> sendQueue = new ArrayDeque<>();
        long waiting; // bytes in the queue
        long tookAt; // when the socket last accepted bytes, or the queue was empty
        boolean leaves; // has left the room, but bytes may still be queued for it
        boolean atEnd; // the end of its data has been read
        long deadline; // for a client that leaves
    }

    final Selector selector = Selector.open();
    final ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.INET);
    final ByteBuffer data = ByteBuffer.allocateDirect(64 * 1024);
    List<Client> clients = new ArrayList<>();
    volatile boolean stopping;

    public static void main(String[] args) throws IOException {
        new Chat(Integer.parseInt(args[0])).serve();
    }

    Chat(int port) throws IOException {
        listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
        listener.bind(new InetSocketAddress("127.0.0.1", port), 1024);
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        Thread serving = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { // runs on SIGINT and SIGTERM
            stopping = true;
            selector.wakeup();
            try {
                serving.join();
            } catch (InterruptedException e) {
                // end without waiting
            }
            Runtime.getRuntime().halt(0);
        }));
    }

    void serve() throws IOException {
        while (!stopping) {
            serveOnce();
        }
        listener.close();
        for (Client client : clients) { // treat each as if it had shut down its sending side
            shutDownInput(client);
        }
        long deadline = now() + DRAIN;
        while (!clients.isEmpty() && now() < deadline) {
            serveOnce();
        }
    }

    /** Waits until a socket is ready, and serves each client whose socket is. */
    void serveOnce() throws IOException {
        boolean busy = clients.stream().anyMatch(client -> client.leaves || client.waiting > 0);
        selector.select(busy ? TICK : 0);
        for (SelectionKey key : selector.selectedKeys()) {
            Client client = (Client) key.attachment();
            if (key.isValid() && key.isAcceptable()) {
                acceptClient();
            }
            if (key.isValid() && key.isWritable()) {
                handleClientSend(client);
            }
            if (key.isValid() && key.isReadable()) {
                handleClient(client);
            }
        }
        selector.selectedKeys().clear();
        for (Client client : clients) {
            boolean waits = client.leaves || client.waiting > 0;
            if (waits && now() > (client.leaves ? client.deadline : client.tookAt + WRITE_DEADLINE)) {
                closeClient(client);
            }
        }
        clients.removeIf(client -> !client.sock.isOpen());
    }

    void acceptClient() {
        try {
            SocketChannel sock = listener.accept();
            if (sock == null) {
                return;
            }
            InetSocketAddress addr = (InetSocketAddress) sock.getRemoteAddress();
            Client client = new Client();
            client.sock = sock;
            client.name = addr.getAddress().getHostAddress() + ":" + addr.getPort();
            sock.configureBlocking(false);
            sock.setOption(StandardSocketOptions.TCP_NODELAY, true);
            client.key = sock.register(selector, SelectionKey.OP_READ, client);
            clients.add(client);
        } catch (IOException e) { // that connection is already broken, or no descriptors are left
            sleep(10);
        }
    }

    void handleClient(Client client) {
        data.clear();
        try {
            client.atEnd = client.sock.read(data) < 0;
        } catch (IOException e) {
            closeClient(client);
            return;
        }
        if (client.atEnd) {
            handleDisconnect(client);
        } else if (!client.leaves) { // what a leaving client sends is ignored
            relayMsgs(client, data.flip());
        }
    }

    void relayMsgs(Client client, ByteBuffer data) {
        ByteArrayOutputStream frames = new ByteArrayOutputStream();
        String lastWords = null;
        try {
            while (data.hasRemaining()) {
                byte next = data.get();
                if (next != 0) {
                    client.rest.write(next);
                } else if (client.rest.size() > 0) {
                    frames.writeBytes(prepMsg(client.name + ": " + parseFrame(client.rest)));
                    client.rest.reset();
                }
                if (client.rest.size() > MAX_MSG_LEN) {
                    throw new ProtocolException("the message is too long");
                }
            }
        } catch (ProtocolException e) {
            lastWords = "server: " + e.getMessage();
        }
        if (frames.size() > 0) {
            broadcastMsg(client, frames.toByteArray());
        }
        if (lastWords != null && client.sock.isOpen()) {
            queueFrames(client, prepMsg(lastWords));
            handleDisconnect(client);
        }
    }

    static String parseFrame(ByteArrayOutputStream frame) throws ProtocolException {
        try {
            ByteBuffer bytes = ByteBuffer.wrap(frame.toByteArray());
            return StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
        } catch (CharacterCodingException e) {
            throw new ProtocolException("the message is not UTF-8");
        }
    }

    static byte[] prepMsg(String msg) {
        return (msg + "\0").getBytes(StandardCharsets.UTF_8);
    }

    void broadcastMsg(Client sender, byte[] frames) {
        for (Client client : clients) {
            if (client.sock.isOpen() && !client.leaves) {
                queueFrames(client, frames);
                handleClientSend(client);
            }
        }
    }

    static void queueFrames(Client client, byte[] frames) {
        if (client.waiting == 0) {
            client.tookAt = now();
        }
        client.sendQueue.add(ByteBuffer.wrap(frames));
        client.waiting += frames.length;
    }

    /** Sends as much as the socket accepts now; the rest waits until it accepts more. */
    void handleClientSend(Client client) {
        try {
            while (client.waiting > 0) {
                ByteBuffer first = client.sendQueue.peek();
                int sent = client.sock.write(first);
                if (sent > 0) {
                    client.tookAt = now();
                    client.waiting -= sent;
                }
                if (first.hasRemaining()) {
                    break;
                }
                client.sendQueue.poll();
            }
        } catch (IOException e) {
            closeClient(client);
            return;
        }
        boolean isStalled = now() > client.tookAt + STALL;
        if (!client.leaves && client.waiting > (isStalled ? QUEUE_LIMIT : QUEUE_CEILING)) {
            closeClient(client);
        } else if (client.leaves && client.waiting == 0) {
            sayGoodbye(client);
        } else {
            client.key.interestOps((client.atEnd ? 0 : SelectionKey.OP_READ)
                    | (client.waiting > 0 ? SelectionKey.OP_WRITE : 0));
        }
    }

    /** Takes a client out of the room. Its queue is still sent. */
    void handleDisconnect(Client client) {
        if (!client.leaves) {
            client.leaves = true;
            client.deadline = now() + DRAIN;
        }
        handleClientSend(client);
    }

    /**
     * Shuts down the sending side, and reads for a moment longer: a close with bytes unread would
     * send a reset, and the last bytes sent may be lost.
     */
    void sayGoodbye(Client client) {
        try {
            client.sock.shutdownOutput();
            client.deadline = now() + LINGER;
            client.key.interestOps(SelectionKey.OP_READ);
        } catch (IOException e) {
            client.atEnd = true; // the client has reset the connection
        }
        if (client.atEnd) {
            closeClient(client);
        }
    }

    static void shutDownInput(Client client) {
        try {
            client.sock.shutdownInput();
        } catch (IOException e) {
            closeClient(client); // the client has reset the connection
        }
    }

    static void closeClient(Client client) {
        try {
            client.sock.close(); // the next turn removes it from the list
        } catch (IOException e) {
            // the socket is closed anyway
        }
        client.sendQueue.clear();
        client.waiting = 0;
    }

    static long now() {
        return System.nanoTime() / 1_000_000;
    }

    static void sleep(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
