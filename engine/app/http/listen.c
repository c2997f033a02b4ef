#define _GNU_SOURCE
#include "engine/app/http/listen.h"

#include "engine/base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_INHERITED = 3, BACKLOG = 1024 };

static fc_status room(const char *text, size_t n) {
    if (n < HTTP_LISTENERS_MAX) return FC_OK;
    return FC_FAIL(FC_ERR_ARG, "%s: at most %d addresses can be listened at", text, (int)HTTP_LISTENERS_MAX);
}

static void set(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

/* Accepted sockets inherit these. A peer whose machine is gone sends no FIN: without keep-alive probes a request that
 * waits would keep its candidates for ever. */
static void tcp_options(int fd) {
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    /* Else the kernel holds megabytes for a slow reader, and takes new ones only when a third of them is gone. */
    set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 128 * 1024);
}

static fc_status name_of(int fd, http_listener *out) {
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&a, &size)) return FC_FAIL(FC_ERR_IO, "socket %d: %s", fd, strerror(errno));
    if (a.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(out->name, sizeof out->name, "%s:%d", host, ntohs(v4->sin_port));
    } else if (a.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(out->name, sizeof out->name, "[%s]:%d", host, ntohs(v6->sin6_port));
    } else if (a.ss_family == AF_UNIX) {
        snprintf(out->name, sizeof out->name, "unix:%.107s", ((const struct sockaddr_un *)&a)->sun_path);
    } else {
        return FC_FAIL(FC_ERR_ARG, "socket %d: neither TCP nor Unix", fd);
    }
    return FC_OK;
}

/* True when somebody answers at the path. */
static bool alive(const struct sockaddr_un *a) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool yes = fd >= 0 && (connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 || errno == EAGAIN);
    if (fd >= 0) close(fd);
    return yes;
}

/* *stale: a socket lies there that nobody answers at. */
static fc_status look_at(const char *path, struct sockaddr_un *out, bool *stale) {
    struct stat s;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *stale = false;
    if (*path == '\0' || strlen(path) >= sizeof out->sun_path)
        return FC_FAIL(FC_ERR_ARG, "unix:%s: a socket's path has 1 to %zu bytes", path, sizeof out->sun_path - 1);
    memcpy(out->sun_path, path, strlen(path));
    if (lstat(path, &s)) return FC_OK;
    if (!S_ISSOCK(s.st_mode)) return FC_FAIL(FC_ERR_ARG, "unix:%s: something that is no socket lies there", path);
    *stale = !alive(out);
    return *stale ? FC_OK : FC_FAIL(FC_ERR_IO, "unix:%s: another server answers there", path);
}

static fc_status listen_unix(const char *path, unsigned mode, http_listener *out) {
    struct sockaddr_un a;
    struct stat s;
    bool stale;
    int fd, rc;
    FC_TRY(look_at(path, &a, &stale));
    if (stale) unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode is set before listen: until then nobody can connect. */
    rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof a);
    if (rc == 0 && (chmod(path, mode) || listen(fd, BACKLOG))) {
        rc = errno;
        unlink(path);
        errno = rc;
        rc = -1;
    }
    if (rc) {
        fc_status st = FC_FAIL(FC_ERR_IO, "unix:%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return st;
    }
    out->fd = fd;
    snprintf(out->name, sizeof out->name, "unix:%s", path);
    if (lstat(path, &s) == 0) {
        out->made[0] = s.st_dev;
        out->made[1] = s.st_ino;
    }
    return FC_OK;
}

static int listen_at(const struct addrinfo *a) {
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved;
    if (fd < 0) return -1;
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* a restart need not wait for what the last one left in TIME_WAIT */
    if (a->ai_family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr));
    tcp_options(fd);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* *list: freed by freeaddrinfo; *port: of the text. */
static fc_status find_tcp(const char *text, struct addrinfo **list, unsigned long *port) {
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(text, ':');
    char host[HTTP_ADDRESS_SIZE] = "";
    size_t size = colon ? (size_t)(colon - text) : 0;
    char *end = NULL;
    int rc;
    *port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || size >= sizeof host || colon[1] < '0' || colon[1] > '9' || *end || *port > 65535)
        return FC_FAIL(FC_ERR_ARG, "%s: an address is HOST:PORT, [IPv6]:PORT or unix:PATH", text);
    if (size > 1 && text[0] == '[' && text[size - 1] == ']') memcpy(host, text + 1, size - 2);
    else memcpy(host, text, size);
    rc = getaddrinfo(*host ? host : NULL, colon + 1, &hints, list);
    return rc ? FC_FAIL(FC_ERR_ARG, "%s: %s", text, gai_strerror(rc)) : FC_OK;
}

static fc_status listen_tcp(const char *text, http_listener *out, size_t *n) {
    const size_t first = *n;
    struct addrinfo *list = NULL;
    fc_status st = FC_OK;
    int saved = EADDRNOTAVAIL;
    unsigned long port;
    FC_TRY(find_tcp(text, &list, &port));
    for (const struct addrinfo *a = list; a && !st; a = a->ai_next) {
        int fd;
        st = room(text, *n);
        if (st) break;
        if (*n > first && port == 0) { /* the port that the first address was given */
            const char *p = strrchr(out[first].name, ':');
            in_port_t own = htons((in_port_t)atoi(p + 1));
            if (a->ai_family == AF_INET6) ((struct sockaddr_in6 *)a->ai_addr)->sin6_port = own;
            else ((struct sockaddr_in *)a->ai_addr)->sin_port = own;
        }
        fd = listen_at(a);
        if (fd < 0) {
            saved = errno;
            /* A name may have an address that this machine lacks, or two that one socket covers. */
            if (*n > first || a->ai_next) continue;
            break;
        }
        out[*n] = (http_listener){.fd = fd};
        st = name_of(fd, &out[(*n)++]);
    }
    freeaddrinfo(list);
    if (!st && *n == first)
        st = FC_FAIL(saved == EADDRINUSE ? FC_ERR_FULL : FC_ERR_IO, "%s: %s", text, strerror(saved));
    return st;
}

fc_status http_listen(const char *text, unsigned mode, http_listener *out, size_t *n) {
    FC_TRY(room(text, *n));
    if (strncmp(text, "unix:", 5)) return listen_tcp(text, out, n);
    out[*n] = (http_listener){.fd = -1};
    FC_TRY(listen_unix(text + 5, mode, &out[*n]));
    ++*n;
    return FC_OK;
}

fc_status http_listen_check(const char *text) {
    struct addrinfo *list = NULL;
    struct sockaddr_un a;
    unsigned long port;
    bool stale;
    if (strncmp(text, "unix:", 5) == 0) return look_at(text + 5, &a, &stale);
    FC_TRY(find_tcp(text, &list, &port));
    freeaddrinfo(list);
    return FC_OK;
}

fc_status http_listen_inherited(http_listener *out, size_t *n) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    long count = fds ? strtol(fds, NULL, 10) : 0;
    bool ours = pid && strtol(pid, NULL, 10) == (long)getpid();
    unsetenv("LISTEN_PID"); /* a child of ours must not take them for its own */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!ours || count <= 0) return FC_OK;
    if (count > HTTP_LISTENERS_MAX) return room("LISTEN_FDS", HTTP_LISTENERS_MAX);
    for (int fd = FIRST_INHERITED; fd < FIRST_INHERITED + (int)count; fd++) {
        int yes = 0, flags = fcntl(fd, F_GETFL);
        socklen_t size = sizeof yes;
        FC_TRY(room("LISTEN_FDS", *n));
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) || !yes)
            return FC_FAIL(FC_ERR_ARG, "LISTEN_FDS: descriptor %d is no listening socket", fd);
        out[*n] = (http_listener){.fd = fd};
        FC_TRY(name_of(fd, &out[*n]));
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        if (strncmp(out[*n].name, "unix:", 5)) tcp_options(fd);
        ++*n;
    }
    return FC_OK;
}

void http_listener_close(http_listener *l) {
    struct stat s;
    if (l->fd < 0) return;
    /* Another server may have put its own in that place meanwhile. */
    if (l->made[1] && lstat(l->name + 5, &s) == 0 && s.st_dev == l->made[0] && s.st_ino == l->made[1])
        unlink(l->name + 5);
    close(l->fd);
    l->fd = -1;
}

void http_notify(const char *state) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    int fd;
    if (n == 0) return;
    if ((path[0] != '/' && path[0] != '@') || n >= sizeof a.sun_path) {
        fc_log(FC_LOG_WARN, "NOTIFY_SOCKET: \"%s\" is no Unix socket", path);
        return;
    }
    memcpy(a.sun_path, path, n);
    if (path[0] == '@') a.sun_path[0] = '\0'; /* the abstract name space */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        fc_log(FC_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(errno));
    if (fd >= 0) close(fd);
}
