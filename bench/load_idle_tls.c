/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idle conns over TLS: a handshake and one answer each, one conn after another. Then only the
 * socket is kept, for what the client's side would cost is of no interest; nobody notices as long
 * as neither side says anything. One thread, which blocks.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/load_dial.h"
#include "bench/load_modes.h"
#include "bench/load_report.h"

/* Blocks, with --timeout for each call. */
static int connect_to(const struct net *n)
{
    int fd = socket(n->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t us = n->options->timeout_ns / 1000;
    struct timeval limit = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (long)(us % 1000000)};
    int one = 1;

    if (fd < 0)
        return -1;
    /* else the request waits for the ACK of what ended the handshake, which may be 40 ms late */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&n->address, n->address_len) == 0)
        return fd;
    close(fd);
    return -1;
}

/* One request, and its answer to the last byte. */
static bool exchange(SSL *ssl, const struct request *r)
{
    struct answer answer = {.to_head = r->to_head};
    char bytes[16384];
    size_t n, held = 0;

    if (SSL_connect(ssl) != 1 || SSL_write_ex(ssl, r->bytes, r->len, &n) != 1)
        return false;
    while (held < sizeof(bytes) && SSL_read_ex(ssl, bytes + held, sizeof(bytes) - held, &n) == 1) {
        held += n;
        size_t used = answer_feed(&answer, bytes, held);
        if (answer.phase == ANSWER_DONE || answer.phase == ANSWER_BAD)
            return answer.phase == ANSWER_DONE && answer.status == 200 && used == held;
        held -= used;
        memmove(bytes, bytes + used, held);
    }
    return false;
}

/* A conn that had its answer, or -1. */
static int open_one(const struct net *n, SSL_CTX *ctx, const struct request *r)
{
    int fd = connect_to(n);
    SSL *ssl = fd >= 0 ? SSL_new(ctx) : NULL;
    bool ok = ssl && SSL_set_fd(ssl, fd) == 1 && exchange(ssl, r);

    ERR_clear_error();
    SSL_free(ssl); /* says nothing to the peer, and leaves the socket open */
    if (!ok && fd >= 0)
        close(fd);
    return ok ? fd : -1;
}

/* Whether the peer has not ended it. */
static bool is_open(int fd)
{
    char bytes[4096];
    ssize_t got;

    while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {}
    return got < 0 && errno == EAGAIN;
}

void mode_idle_tls(const struct load_options *o)
{
    struct requests requests;
    struct net n = {.options = o};
    unsigned held = 0, open = 0;
    int *fds = calloc(o->connections, sizeof(*fds));
    SSL_CTX *ctx = tls_context();
    char c;

    if (!fds)
        net_die("out of memory", "use fewer connections");
    signal(SIGPIPE, SIG_IGN);
    dial_file_limit(o->connections);
    dial_address(&n);
    requests_init(&requests, o);
    for (unsigned i = 0; i < o->connections; i++) {
        fds[held] = open_one(&n, ctx, requests_at(&requests, i));
        held += fds[held] >= 0;
    }
    printf("{\"ready\":true,\"open\":%u}", held);
    report_line_end();

    uint64_t from = net_clock();
    while (read(STDIN_FILENO, &c, 1) > 0) {}
    for (unsigned i = 0; i < held; i++) {
        open += is_open(fds[i]);
        close(fds[i]);
    }
    printf("{\"mode\":\"idle\",\"connections\":%u,\"seconds\":%.6f,\"open\":%u,\"closed\":%u,"
           "\"failed\":%u}",
           o->connections, (double)(net_clock() - from) / 1e9, open, held - open,
           o->connections - held);
    report_line_end();
    SSL_CTX_free(ctx);
    requests_fini(&requests);
    free(fds);
}
