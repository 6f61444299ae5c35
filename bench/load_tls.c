/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS on a load's conns. Owns the SSL of each; must never wait, nor close a descriptor. One thread.
 */
#include "bench/load_tls.h"

#include <errno.h>
#include <openssl/err.h>

#include "bench/load_net.h"

SSL_CTX *tls_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx)
        net_die("out of memory", "use fewer connections");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* one read for a record's head and the rest */
    return ctx;
}

/* What SSL_get_error said of a call, as recv() says it. */
static ssize_t as_errno(int how)
{
    int before = errno;

    ERR_clear_error();
    if (how == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else
        errno = how == SSL_ERROR_SYSCALL && before ? before : EPROTO;
    return -1;
}

int tls_shake(const struct net *n, struct conn *c)
{
    if (!c->ssl) {
        c->ssl = SSL_new(n->tls);
        if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
            net_die("out of memory", "use fewer connections");
        SSL_set_connect_state(c->ssl);
    }
    int ok = SSL_do_handshake(c->ssl);
    if (ok == 1)
        return 1;
    return as_errno(SSL_get_error(c->ssl, ok)) < 0 && errno == EAGAIN ? 0 : -1;
}

ssize_t tls_send(struct conn *c, const char *bytes, size_t len)
{
    size_t done;
    int ok = SSL_write_ex(c->ssl, bytes, len, &done);

    return ok == 1 ? (ssize_t)done : as_errno(SSL_get_error(c->ssl, ok));
}

ssize_t tls_recv(struct conn *c, char *to, size_t len)
{
    size_t done;
    int ok = SSL_read_ex(c->ssl, to, len, &done);

    return ok == 1 ? (ssize_t)done : as_errno(SSL_get_error(c->ssl, ok));
}

void tls_forget(struct conn *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
}
