/*
 * A library that interrupts system calls, to be loaded into a server before all others (LD_PRELOAD).
 *
 * When a signal comes while a call waits, the call returns EINTR. It has done nothing, except connect(2),
 * which goes on in the background. No test can send a signal in each of these moments, so this library
 * does without one: of the calls of each function in each thread, the first, the third, the fifth, …
 * return EINTR and do nothing. The others do what they always do.
 *
 * What the kernel never interrupts is left alone where the libraries of the servers rely on it: a call
 * with MSG_DONTWAIT (signal-hook's handler), an eventfd (mio's waker), a connect that does not block.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* The real function is looked up at the start, because a signal handler must not do that. */
#define INTERRUPT(condition, result, name, parameters, arguments)            \
    static result(*real_##name) parameters;                                  \
    __attribute__((constructor)) static void find_##name(void)               \
    {                                                                        \
        real_##name = (result(*) parameters)dlsym(RTLD_NEXT, #name);         \
    }                                                                        \
    result name parameters                                                   \
    {                                                                        \
        static __thread unsigned calls;                                      \
        if ((condition) && calls++ % 2 == 0) {                               \
            errno = EINTR;                                                   \
            return -1;                                                       \
        }                                                                    \
        if (real_##name == 0)                                                \
            find_##name();                                                   \
        return real_##name arguments;                                        \
    }

#define ALWAYS 1
#define MAY_WAIT !(flags & MSG_DONTWAIT)
#define BLOCKS !(fcntl(fd, F_GETFL) & O_NONBLOCK)
#define NO_EVENTFD has_a_type(fd)

/* Of all descriptors here, only those of an eventfd and an epoll have no type. */
static int has_a_type(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && (about.st_mode & S_IFMT) != 0;
}

INTERRUPT(NO_EVENTFD, ssize_t, read, (int fd, void *buf, size_t len), (fd, buf, len))
INTERRUPT(ALWAYS, ssize_t, readv, (int fd, const struct iovec *iov, int n), (fd, iov, n))
INTERRUPT(NO_EVENTFD, ssize_t, write, (int fd, const void *buf, size_t len), (fd, buf, len))
INTERRUPT(ALWAYS, ssize_t, writev, (int fd, const struct iovec *iov, int n), (fd, iov, n))
INTERRUPT(MAY_WAIT, ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
INTERRUPT(MAY_WAIT, ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
INTERRUPT(MAY_WAIT, ssize_t, recvfrom,
          (int fd, void *buf, size_t len, int flags, struct sockaddr *addr, socklen_t *size),
          (fd, buf, len, flags, addr, size))
INTERRUPT(MAY_WAIT, ssize_t, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags))
INTERRUPT(MAY_WAIT, ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
INTERRUPT(MAY_WAIT, ssize_t, sendto,
          (int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr, socklen_t size),
          (fd, buf, len, flags, addr, size))
INTERRUPT(ALWAYS, int, accept, (int fd, struct sockaddr *addr, socklen_t *size), (fd, addr, size))
INTERRUPT(ALWAYS, int, accept4,
          (int fd, struct sockaddr *addr, socklen_t *size, int flags), (fd, addr, size, flags))
INTERRUPT(BLOCKS, int, connect, (int fd, const struct sockaddr *addr, socklen_t size), (fd, addr, size))
INTERRUPT(ALWAYS, int, poll, (struct pollfd *fds, nfds_t n, int timeout), (fds, n, timeout))
INTERRUPT(ALWAYS, int, ppoll,
          (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
          (fds, n, timeout, mask))
INTERRUPT(ALWAYS, int, select,
          (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout), (n, r, w, e, timeout))
INTERRUPT(ALWAYS, int, pselect,
          (int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout, const sigset_t *mask),
          (n, r, w, e, timeout, mask))
INTERRUPT(ALWAYS, int, epoll_wait,
          (int fd, struct epoll_event *events, int max, int timeout), (fd, events, max, timeout))
INTERRUPT(ALWAYS, int, epoll_pwait,
          (int fd, struct epoll_event *events, int max, int timeout, const sigset_t *mask),
          (fd, events, max, timeout, mask))
INTERRUPT(ALWAYS, pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
