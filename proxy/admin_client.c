/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the admin listener. Owns one conn for one request, which says HTTP/1.0, so that its
 * answer is never chunked; must never be called by a process that serves. The only thread.
 */
#include "proxy/admin_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls_ask.h"

#define HEAD_MAX 16384 /* of an answer */

struct asking {
    const char *at;
    int fd;
    struct tls_ask *tls; /* NULL: plain text */
    uint64_t until_ms;
    char *buf; /* what has come, NUL behind it */
    size_t len, size;
    char *why;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct asking *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(a->why, ADMIN_WHY, format, args);
    va_end(args);
    return false;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the conn ---- */

static bool wait_for(struct asking *a, short events)
{
    struct pollfd p = {.fd = a->fd, .events = events};
    for (;;) {
        uint64_t now = now_ms();
        int n = now < a->until_ms ? poll(&p, 1, (int)(a->until_ms - now)) : 0;
        if (n > 0)
            return true;
        if (n == 0)
            return fail(a, "%s does not answer in time", a->at);
        if (errno != EINTR)
            return fail(a, "poll: %s", strerror(errno));
    }
}

static bool connect_to(struct asking *a, const struct sockaddr *to, socklen_t len)
{
    int err = 0;
    socklen_t size = sizeof(err);
    a->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return fail(a, "socket: %s", strerror(errno));
    if (connect(a->fd, to, len) == 0)
        return true;
    err = errno;
    if (err == EINPROGRESS) {
        if (!wait_for(a, POLLOUT))
            return false;
        getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &size);
    }
    return err == 0 || fail(a, "cannot connect to %s: %s", a->at, strerror(err));
}

static bool connect_unix(struct asking *a, const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(un.sun_path))
        return fail(a, "%s: the path is too long for a socket", a->at);
    memcpy(un.sun_path, path, strlen(path) + 1);
    return connect_to(a, (struct sockaddr *)&un, sizeof(un));
}

/* The first address that takes the conn; what is said is of the last. */
static bool connect_any(struct asking *a, const struct addrinfo *found)
{
    for (const struct addrinfo *i = found; i != NULL; i = i->ai_next) {
        if (connect_to(a, i->ai_addr, i->ai_addrlen))
            return true;
        if (a->fd >= 0)
            close(a->fd);
        a->fd = -1;
    }
    return false;
}

/* Takes "host:port" apart. */
static bool split(struct asking *a, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(a->at, ':'), *from = a->at;
    if (colon == NULL || colon[1] == '\0')
        return fail(a, "%s is not an address: expected host:port, :port or unix:/path", a->at);
    size_t len = (size_t)(colon - from);
    if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len >= size)
        return fail(a, "%s: the host is too long", a->at);
    memcpy(host, from, len);
    host[len] = '\0';
    *port = colon + 1;
    return true;
}

static bool connect_tcp(struct asking *a)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    char host[256] = "";
    const char *port = NULL;
    if (!split(a, host, sizeof(host), &port))
        return false;
    int err = getaddrinfo(*host != '\0' ? host : "127.0.0.1", port, &hints, &found);
    if (err != 0)
        return fail(a, "%s: %s", a->at, gai_strerror(err));
    bool ok = connect_any(a, found);
    freeaddrinfo(found);
    return ok;
}

/* ---- the exchange ---- */

/* What a call that has moved nothing comes to: the socket is waited for, or it has failed. */
static bool again(struct asking *a, ssize_t n)
{
    if (a->tls != NULL && n == TLS_ASK_FAILED)
        return fail(a, "%s: %s", a->at, tls_ask_error(a->tls));
    if (a->tls != NULL)
        return wait_for(a, n == TLS_ASK_IN ? POLLIN : POLLOUT);
    return errno == EINTR || fail(a, "%s: %s", a->at, strerror(errno));
}

static bool send_all(struct asking *a, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = a->tls != NULL ? tls_ask_write(a->tls, text, len)
                                   : send(a->fd, text, len, MSG_NOSIGNAL);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if (a->tls == NULL && errno == EAGAIN) {
            if (!wait_for(a, POLLOUT))
                return false;
        } else if (!again(a, n)) {
            return false;
        }
    }
    return true;
}

static bool make_room(struct asking *a)
{
    if (a->len + 1 < a->size)
        return true;
    if (a->size > ADMIN_BODY_MAX)
        return fail(a, "the answer of %s has no end", a->at);
    a->size = a->size == 0 ? 4096 : 2 * a->size;
    a->buf = mem_need(realloc(a->buf, a->size));
    return true;
}

static bool receive_all(struct asking *a)
{
    for (;;) {
        if (!make_room(a))
            return false;
        size_t room = a->size - a->len - 1;
        ssize_t n = a->tls != NULL ? tls_ask_read(a->tls, a->buf + a->len, room)
                                   : recv(a->fd, a->buf + a->len, room, 0);
        if (n == 0)
            break;
        if (n > 0) {
            a->len += (size_t)n;
        } else if (a->tls == NULL && errno == EAGAIN) {
            if (!wait_for(a, POLLIN))
                return false;
        } else if (!again(a, n)) {
            return false;
        }
    }
    a->buf[a->len] = '\0';
    return true;
}

/* What Content-Length says, or `rest`, which is there. */
static size_t content_length(const char *head, const char *end, size_t rest)
{
    static const char name[] = "\r\nContent-Length:";
    for (const char *at = head; at < end; at++)
        if (strncasecmp(at, name, sizeof(name) - 1) == 0)
            return (size_t)strtoull(at + sizeof(name) - 1, NULL, 10);
    return rest;
}

/* The status of "HTTP/1.1 200 ...", or 0. */
static unsigned status_of(const char *head)
{
    static const char line[] = "HTTP/1.";
    const char *at = head + sizeof(line); /* behind the minor version */
    if (strncmp(head, line, sizeof(line) - 1) != 0 || at[-1] == '\0' || at[0] != ' ')
        return 0;
    char *end;
    unsigned long status = strtoul(at + 1, &end, 10);
    return end == at + 4 && status >= 100 && status <= 599 ? (unsigned)status : 0;
}

/* What has come becomes the answer's body. */
static bool take_apart(struct asking *a, struct admin_answer *answer)
{
    const char *end = strstr(a->buf, "\r\n\r\n");
    unsigned status = status_of(a->buf);
    if (end == NULL || end - a->buf > HEAD_MAX || status == 0)
        return fail(a,
                    a->len == 0 ? "%s ends the connection without an answer"
                                : "what listens on %s does not speak HTTP",
                    a->at);
    size_t rest = a->len - (size_t)(end + 4 - a->buf);
    if (content_length(a->buf, end, rest) != rest)
        return fail(a, "the answer of %s was cut", a->at);
    memmove(a->buf, end + 4, rest + 1);
    *answer = (struct admin_answer){.status = status, .body = TAKE(a->buf), .len = rest};
    return true;
}

static bool exchange(struct asking *a, const char *token, const char *method, const char *path,
                     struct span body, struct admin_answer *answer)
{
    char *request = NULL;
    size_t len = 0;
    FILE *out = mem_need(open_memstream(&request, &len));
    fprintf(out, "%s %s HTTP/1.0\r\nHost: weir\r\nX-Weir: 1\r\n", method, path);
    if (token != NULL)
        fprintf(out, "Authorization: Bearer %s\r\n", token);
    if (body.len > 0)
        fprintf(out, "Content-Length: %zu\r\n", body.len);
    fputs("\r\n", out);
    if (body.len > 0)
        fwrite(body.ptr, 1, body.len, out);
    mem_need(fclose(out) == 0 ? request : NULL);
    bool ok = send_all(a, request, len) && receive_all(a) && take_apart(a, answer);
    free(request);
    return ok;
}

/* Before the first byte. A peer that goes while TLS writes is no reason to die. */
static void secure(struct asking *a, const struct admin_server *server, bool is_unix)
{
    char host[256] = "";
    const char *port;
    bool named = !server->any_name && !is_unix && split(a, host, sizeof(host), &port);
    const struct tls_ask_options options = {
        .ca = server->ca,
        .name = named && host[0] != '\0' ? host : NULL,
        .cert = server->cert,
        .key = server->key,
    };
    signal(SIGPIPE, SIG_IGN);
    a->tls = tls_ask_new(a->fd, &options);
}

bool admin_ask(const struct admin_server *server, const char *method, const char *path,
               struct span body, uint64_t within_ms, struct admin_answer *answer,
               char why[ADMIN_WHY])
{
    static const char prefix[] = "unix:";
    struct asking a = {.at = server->at, .fd = -1, .until_ms = now_ms() + within_ms, .why = why};
    bool is_unix = strncmp(a.at, prefix, sizeof(prefix) - 1) == 0;
    bool ok = is_unix ? connect_unix(&a, a.at + sizeof(prefix) - 1) : connect_tcp(&a);
    if (ok && server->tls)
        secure(&a, server, is_unix);
    ok = ok && exchange(&a, server->token, method, path, body, answer);
    tls_ask_free(a.tls);
    if (a.fd >= 0)
        close(a.fd);
    free(a.buf);
    return ok;
}

void admin_answer_free(struct admin_answer *answer)
{
    free(TAKE(answer->body));
}
