/*
 * accept: a server that only echoes, the minimum with which `cargo tincan lab` compares echo servers.
 *
 * One client at a time, blocking: accept, read up to the zero byte, write the message back, close. A
 * session needs four system calls. An error of a client ends only that client's session.
 *
 *   cc -O2 -o accept accept.c
 *   ./accept PORT           with PORT 0 the system chooses the port
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what) { perror(what); exit(1); }

static void echo_once(int fd)
{
    char buf[16 * 1024 + 1];
    size_t len = 0;
    char *end = NULL;
    while (!end && len < sizeof buf) {
        ssize_t got = read(fd, buf + len, sizeof buf - len);
        if (got <= 0) return;
        end = memchr(buf + len, 0, got);
        len += got;
    }
    if (!end) return;
    for (char *at = buf; at <= end;) {
        ssize_t put = write(fd, at, end + 1 - at);
        if (put <= 0) return;
        at += put;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: accept PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (bind(listener, (struct sockaddr *)&addr, len) < 0) die("bind");
    if (listen(listener, 1024) < 0) die("listen");
    if (getsockname(listener, (struct sockaddr *)&addr, &len) < 0) die("getsockname");
    printf("Listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;   /* a client that left before it was accepted */
        echo_once(fd);
        close(fd);
    }
}
