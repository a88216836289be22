/* A chat server: one thread that waits for all clients with poll, and never for a single one.
 *
 * Run it:  cc -O2 -o chat_loop chat_loop.c && ./chat_loop PORT
 * Bad at:  many clients. Each turn examines each client, although most have sent nothing.
 */
#define _GNU_SOURCE /* for ppoll */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_MSG_LEN = 16 * 1024, /* bytes, without the zero byte */
    QUEUE_LIMIT = 256 * 1024, /* bytes that may wait for a client whose socket accepts nothing */
    QUEUE_CEILING = 8 * 1024 * 1024 /* bytes that may wait for any client */
};
static const double STALL = 0.1; /* seconds after which a socket counts as accepting nothing */
static const double WRITE_DEADLINE = 10; /* seconds a client may receive nothing of its queue */
static const double DRAIN = 3; /* seconds for which a leaving client still gets its queue */
static const double LINGER = 0.5; /* seconds for which the server still reads before a close */
static const int TICK = 100; /* milliseconds between two checks of the deadlines */

struct client {
    int sock; /* -1 once it is closed */
    char name[32];
    char rest[MAX_MSG_LEN]; /* the beginning of a message that is not complete yet */
    size_t rest_len;
    char *send_queue; /* the queued bytes are from begin to end */
    size_t begin, end, room;
    double took_at; /* when the socket last accepted bytes, or the queue was empty */
    bool leaves; /* has left the room, but bytes may still be queued for it */
    bool at_end; /* the end of its data has been read */
    double deadline; /* for a client that leaves */
};

static struct client **clients;
static struct pollfd *polled; /* the listener, and then the clients */
static size_t count;
static volatile sig_atomic_t stopping;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void close_client(struct client *client) {
    close(client->sock);
    client->sock = -1; /* the end of the turn removes it from the list */
}

/* Sends as much as the socket accepts now; the rest waits until it accepts more. */
static void handle_client_send(struct client *client) {
    size_t waiting = client->end - client->begin;
    ssize_t sent = 0;
    if (waiting > 0)
        sent = send(client->sock, client->send_queue + client->begin, waiting,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        close_client(client);
        return;
    }
    if (sent > 0) {
        client->begin += sent;
        client->took_at = now();
    }
    if (client->begin < client->end)
        return;
    free(client->send_queue);
    client->send_queue = NULL;
    client->begin = client->end = client->room = 0;
    if (client->leaves && client->at_end) {
        close_client(client);
    } else if (client->leaves && sent >= 0) {
        /* A close with bytes unread would send a reset, and the last bytes sent may be lost. */
        shutdown(client->sock, SHUT_WR);
        client->deadline = now() + LINGER;
    }
}

static void queue_frame(struct client *client, const char *frame, size_t len) {
    size_t waiting = client->end - client->begin;
    if (waiting == 0)
        client->took_at = now();
    if (client->end + len > client->room) {
        size_t room = 2 * (waiting + len);
        char *larger = malloc(room);
        if (larger == NULL) {
            close_client(client);
            return;
        }
        if (waiting > 0)
            memcpy(larger, client->send_queue + client->begin, waiting);
        free(client->send_queue);
        client->send_queue = larger;
        client->room = room;
        client->begin = 0;
        client->end = waiting;
    }
    memcpy(client->send_queue + client->end, frame, len);
    client->end += len;
    if (waiting + len > QUEUE_LIMIT)
        handle_client_send(client); /* test the queue only after a write was tried */
    waiting = client->end - client->begin;
    bool stalled = now() > client->took_at + STALL;
    if (client->sock >= 0 && waiting > (size_t)(stalled ? QUEUE_LIMIT : QUEUE_CEILING))
        close_client(client);
}

static void broadcast_msg(struct client *sender, const char *msg, size_t len) {
    char frame[sizeof sender->name + MAX_MSG_LEN + 3];
    size_t name_len = sprintf(frame, "%s: ", sender->name);
    memcpy(frame + name_len, msg, len);
    frame[name_len + len] = '\0';
    for (size_t i = 0; i < count; i++)
        if (clients[i]->sock >= 0 && !clients[i]->leaves)
            queue_frame(clients[i], frame, name_len + len + 1);
}

/* Takes a client out of the room. Its queue is still sent. */
static void handle_disconnect(struct client *client) {
    if (!client->leaves)
        client->deadline = now() + DRAIN;
    client->leaves = true;
    handle_client_send(client);
}

static void refuse(struct client *client, const char *reason) {
    char frame[100];
    int len = sprintf(frame, "server: %s", reason) + 1;
    queue_frame(client, frame, len);
    if (client->sock >= 0)
        handle_disconnect(client);
}

static bool is_utf8(const char *text, size_t len) {
    const unsigned char *byte = (const unsigned char *)text, *end = byte + len;
    while (byte < end) {
        unsigned first = *byte++, low = 0x80, high = 0xBF;
        int more = first < 0x80 ? 0 : first < 0xC2 ? -1 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
        if (more < 0 || first > 0xF4 || end - byte < more)
            return false;
        if (first == 0xE0) low = 0xA0; /* no overlong forms, */
        if (first == 0xF0) low = 0x90;
        if (first == 0xED) high = 0x9F; /* no UTF-16 surrogates, */
        if (first == 0xF4) high = 0x8F; /* and nothing beyond U+10FFFF */
        for (; more > 0; more--, byte++, low = 0x80, high = 0xBF)
            if (*byte < low || *byte > high)
                return false;
    }
    return true;
}

static void relay_msgs(struct client *client, const char *data, size_t len) {
    while (len > 0 && client->sock >= 0) {
        const char *zero = memchr(data, '\0', len);
        size_t part = zero ? (size_t)(zero - data) : len;
        if (client->rest_len + part > MAX_MSG_LEN) {
            refuse(client, "the message is too long");
            return;
        }
        memcpy(client->rest + client->rest_len, data, part);
        client->rest_len += part;
        if (zero == NULL)
            return;
        if (!is_utf8(client->rest, client->rest_len)) {
            refuse(client, "the message is not UTF-8");
            return;
        }
        if (client->rest_len > 0)
            broadcast_msg(client, client->rest, client->rest_len);
        client->rest_len = 0;
        data = zero + 1;
        len -= part + 1;
    }
}

static void handle_client(struct client *client) {
    static char data[64 * 1024];
    ssize_t len = recv(client->sock, data, sizeof data, MSG_DONTWAIT);
    if (len < 0) {
        if (errno != EAGAIN && errno != EINTR)
            close_client(client);
    } else if (len == 0) {
        client->at_end = true;
        handle_disconnect(client);
    } else if (!client->leaves) { /* what a leaving client sends is ignored */
        relay_msgs(client, data, len);
    }
}

static void accept_client(int listener) {
    struct sockaddr_in addr;
    socklen_t addr_len = sizeof addr;
    int yes = 1, sock = accept(listener, (struct sockaddr *)&addr, &addr_len);
    if (sock < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
            usleep(10000); /* no descriptors are left: wait until some are free */
        return;
    }
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct client **longer = realloc(clients, (count + 1) * sizeof *clients);
    if (longer != NULL)
        clients = longer;
    struct pollfd *more = realloc(polled, (count + 2) * sizeof *polled);
    if (more != NULL)
        polled = more;
    struct client *client = longer && more ? calloc(1, sizeof *client) : NULL;
    if (client == NULL) {
        close(sock);
        return;
    }
    client->sock = sock;
    sprintf(client->name, "%s:%d", inet_ntoa(addr.sin_addr), ntohs(addr.sin_port));
    clients[count++] = client;
}

/* Waits until a socket is ready, and serves each client whose socket is. */
static void serve_once(int listener, const sigset_t *signals_let_in) {
    struct timespec tick = {0, TICK * 1000000L};
    bool busy = stopping;
    polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < count; i++) {
        bool waits = clients[i]->begin < clients[i]->end;
        short events = (clients[i]->at_end ? 0 : POLLIN) | (waits ? POLLOUT : 0);
        polled[i + 1] = (struct pollfd){.fd = clients[i]->sock, .events = events};
        busy = busy || waits || clients[i]->leaves;
    }
    if (ppoll(polled, count + 1, busy ? &tick : NULL, signals_let_in) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct client *client = clients[i];
        if (client->sock >= 0 && polled[i + 1].revents & (POLLOUT | POLLERR))
            handle_client_send(client);
        if (client->sock >= 0 && polled[i + 1].revents & (POLLIN | POLLHUP | POLLERR))
            handle_client(client);
        double deadline = client->leaves ? client->deadline : client->took_at + WRITE_DEADLINE;
        bool waits = client->leaves || client->begin < client->end;
        if (client->sock >= 0 && waits && now() > deadline)
            close_client(client);
    }
    if (polled[0].revents)
        accept_client(listener);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (clients[i]->sock >= 0) {
            clients[kept++] = clients[i];
        } else {
            free(clients[i]->send_queue);
            free(clients[i]);
        }
    }
    count = kept;
}

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static int create_listen_socket(int port) {
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 1024) < 0) {
        perror("cannot listen");
        exit(1);
    }
    fcntl(listener, F_SETFL, O_NONBLOCK);
    return listener;
}

int main(int argc, char **argv) {
    int listener = create_listen_socket(argc > 1 ? atoi(argv[1]) : 4040);
    struct rlimit descriptors;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigset_t stops, before; /* signals are unblocked only while ppoll waits */
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, &before);
    polled = malloc(sizeof *polled);
    while (!stopping)
        serve_once(listener, &before);
    close(listener);
    /* Treat each client as if it had shut down its sending side. */
    for (size_t i = 0; i < count; i++)
        shutdown(clients[i]->sock, SHUT_RD);
    double deadline = now() + DRAIN;
    while (count > 0 && now() < deadline)
        serve_once(-1, &before);
    return 0;
}
