/*
 * broadcast: a server that only relays, the minimum with which `cargo tincan lab` compares chats.
 *
 * One thread, no features: the messages of each client go to all clients, including the sender. In one
 * turn of its loop it reads at most 64 KiB from each ready client, collects everything in one buffer,
 * and then writes that buffer once to every client. Bytes that the kernel does not take wait in a buffer
 * of that client, without a limit: do not use it as a real server.
 *
 *   cc -O2 -o broadcast broadcast.c
 *   ./broadcast PORT        relay whole messages as they are (each ends with a zero byte)
 *   ./broadcast -p PORT     put "ADDR: " before each message, as the tin-can chat does
 *
 * With PORT 0 the system chooses the port. An error of a client ends that client; any other error ends
 * the program.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024, MAX_EVENTS = 1024, MAX_FDS = 65536, NAME_SIZE = 24 };

struct bytes { char *data; size_t len, cap; };

struct client {
    int fd;
    unsigned name_len;
    char name[NAME_SIZE];   /* "127.0.0.1:50312: " */
    struct bytes half;      /* the beginning of a message whose zero byte has not come */
    struct bytes rest;      /* bytes that the kernel has not yet taken */
};

static struct client *by_fd[MAX_FDS];
static struct client *all[MAX_FDS];     /* the same clients, without gaps */
static int n_clients, epoll_fd, with_prefix;
static struct bytes turn;               /* the messages of this turn of the loop */

static void die(const char *what) { perror(what); exit(1); }

static void append(struct bytes *b, const char *data, size_t len)
{
    if (b->len + len > b->cap) {
        b->cap = (b->len + len) * 2;
        b->data = realloc(b->data, b->cap);
        if (!b->data) die("realloc");
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void watch(struct client *c, int op, unsigned events)
{
    struct epoll_event event = { .events = events, .data.fd = c->fd };
    if (epoll_ctl(epoll_fd, op, c->fd, &event) < 0) die("epoll_ctl");
}

static void drop(struct client *c)
{
    for (int i = 0; i < n_clients; i++)
        if (all[i] == c) { all[i] = all[--n_clients]; break; }
    by_fd[c->fd] = NULL;
    close(c->fd);
    free(c->half.data);
    free(c->rest.data);
    free(c);
}

static void accept_all(int listener)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int fd;
    while ((fd = accept4(listener, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK)) >= 0) {
        struct client *c = calloc(1, sizeof *c);
        if (!c || fd >= MAX_FDS) die("too many clients");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        c->fd = fd;
        c->name_len = snprintf(c->name, NAME_SIZE, "%s:%d: ", inet_ntoa(addr.sin_addr),
                               ntohs(addr.sin_port));
        by_fd[fd] = all[n_clients++] = c;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
        len = sizeof addr;
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept4");
}

/* Adds the whole messages in data to the messages of this turn. Returns their length in bytes. */
static size_t collect(struct client *c, const char *data, size_t len)
{
    const char *last = memrchr(data, 0, len);
    size_t whole = last ? last + 1 - data : 0;
    if (!with_prefix) {
        append(&turn, data, whole);
        return whole;
    }
    for (size_t at = 0; at < whole;) {
        size_t msg = (const char *)memchr(data + at, 0, whole - at) + 1 - (data + at);
        append(&turn, c->name, c->name_len);
        append(&turn, data + at, msg);
        at += msg;
    }
    return whole;
}

static void read_from(struct client *c)
{
    static char buf[READ_SIZE];
    ssize_t len = read(c->fd, buf, sizeof buf);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (len <= 0) { drop(c); return; }
    if (c->half.len == 0) {
        size_t done = collect(c, buf, len);
        if (done < (size_t)len) append(&c->half, buf + done, len - done);
    } else {
        append(&c->half, buf, len);
        size_t done = collect(c, c->half.data, c->half.len);
        c->half.len -= done;
        memmove(c->half.data, c->half.data + done, c->half.len);
    }
}

/* Writes data, and keeps the bytes that the kernel does not take. Returns 0 when the client is gone. */
static int write_to(struct client *c, const char *data, size_t len)
{
    ssize_t done = write(c->fd, data, len);
    if (done < 0) {
        if (errno != EAGAIN && errno != EINTR) { drop(c); return 0; }
        done = 0;
    }
    if (data == c->rest.data) {
        c->rest.len -= done;
        memmove(c->rest.data, c->rest.data + done, c->rest.len);
        if (c->rest.len == 0) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    } else if ((size_t)done < len) {
        append(&c->rest, data + done, len - done);
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    return 1;
}

static void relay_turn(void)
{
    for (int i = n_clients - 1; i >= 0; i--) {      /* downwards: drop() moves the last one here */
        struct client *c = all[i];
        if (c->rest.len == 0)
            write_to(c, turn.data, turn.len);
        else
            append(&c->rest, turn.data, turn.len);  /* EPOLLOUT will tell when */
    }
    turn.len = 0;
}

int main(int argc, char **argv)
{
    with_prefix = argc > 1 && strcmp(argv[1], "-p") == 0;
    if (argc != 2 + with_prefix) {
        fprintf(stderr, "usage: broadcast [-p] PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1 + with_prefix])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (bind(listener, (struct sockaddr *)&addr, len) < 0) die("bind");
    if (listen(listener, 1024) < 0) die("listen");
    if (getsockname(listener, (struct sockaddr *)&addr, &len) < 0) die("getsockname");
    printf("Listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);

    epoll_fd = epoll_create1(0);
    struct client listening = { .fd = listener };
    watch(&listening, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) { accept_all(listener); continue; }
            struct client *c = by_fd[fd];
            if (c && (events[i].events & EPOLLOUT) && c->rest.len > 0
                && !write_to(c, c->rest.data, c->rest.len)) continue;
            if (c && (events[i].events & ~EPOLLOUT)) read_from(c);
        }
        if (turn.len > 0) relay_turn();
    }
}
