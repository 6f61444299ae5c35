/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing through TLS: records, what waits below, and our end. Must never call up. Reactor's
 * thread.
 */
#include <string.h>

#include "proxy/net/pipe.h"
#include "proxy/net/tls_conn.h"

/* A slice of more is a record by itself, or several: copying it costs more than a record does. */
#define GATHER_MOST (8 * 1024)

/* Gives the transport below what it takes. */
void tls_flush(struct tls *t, bool last)
{
    if (chain_empty(&t->out))
        return;
    if (t->write_error == 0) {
        ssize_t n = t->below->ops->write(t->below, &t->out, last);
        if (n < 0)
            t->write_error = (int)n;
    }
    if (t->write_error != 0)
        chain_clear(&t->out);
    if (chain_empty(&t->out))
        block_drop(TAKE(t->own));
}

/* The bytes that have left go off the conn's chain. As many may still be here as ciphertext is:
 * that is always a little more. */
static size_t tls_settle(struct tls *t, struct chain *from)
{
    size_t still = t->held < t->out.bytes ? t->held : t->out.bytes;
    size_t gone = t->held - still;
    chain_drop(from, gone);
    t->held = still;
    return gone;
}

/* The slice in which byte `at` is; *at becomes its place therein. */
static const struct slice *slice_at(const struct chain *chain, size_t *at)
{
    const struct slice *s = chain->head;
    while (s != NULL && *at >= s->len) {
        *at -= s->len;
        s = s->next;
    }
    return s;
}

/* What is behind the held bytes comes out of its pipe. */
static void tls_unpipe(struct tls *t, struct chain *from)
{
    struct chain front;
    chain_init(&front);
    chain_move_bytes(&front, from, t->held);
    chain_unpipe(from, &t->base.reactor->bufs);
    chain_move(&front, from);
    *from = front;
}

/* The next record's bytes: of one slice, or of several small ones, side by side. */
static struct span tls_record(struct tls *t, struct chain *from)
{
    size_t at = t->held, n = 0;
    const struct slice *s = slice_at(from, &at);
    if (s->block->piped) {
        tls_unpipe(t, from);
        at = t->held;
        s = slice_at(from, &at);
    }
    size_t part = s->len - at;
    if (part > GATHER_MOST || s->next == NULL)
        return span_of(s->ptr + at, part < TLS_RECORD ? part : TLS_RECORD);
    for (; s != NULL && n < TLS_RECORD && !s->block->piped; s = s->next, at = 0) {
        part = s->len - at;
        if (part > GATHER_MOST)
            break;
        if (part > TLS_RECORD - n)
            part = TLS_RECORD - n;
        memcpy(t->ctx->scratch + n, s->ptr + at, part);
        n += part;
    }
    return span_of(t->ctx->scratch, n);
}

/* Encrypts from behind the held bytes on, as much as may wait. */
static void tls_encrypt(struct tls *t, struct chain *from)
{
    t->bulk_out = from->bytes - t->held > BLOCK_BYTES;
    while (t->held < from->bytes && t->out.bytes < OUT_MAX && t->write_error == 0) {
        struct span record = tls_record(t, from);
        size_t n = 0;
        tls_fresh_errors();
        if (SSL_write_ex(t->ssl, record.ptr, record.len, &n) == 1) {
            t->held += n;
        } else {
            tls_ssl_wrong(t);
            t->write_error = UV_EPIPE;
        }
    }
}

/* Our close_notify, behind everything else; once. */
void tls_notify(struct tls *t)
{
    if (t->shut)
        return;
    t->shut = true;
    tls_fresh_errors();
    if (SSL_shutdown(t->ssl) < 0)
        tls_fresh_errors(); /* OpenSSL has given up on this conn, and so will its peer */
}

ssize_t tls_write(struct transport *transport, struct chain *from, bool last)
{
    struct tls *t = tls_of(transport);
    size_t taken = 0;
    CHECK(t->state == TLS_UP);
    for (;;) {
        tls_flush(t, t->shut);
        if (t->write_error != 0)
            break;
        taken += tls_settle(t, from);
        if (!chain_empty(&t->out) || chain_empty(from))
            break;
        CHECK(!t->shut);
        tls_encrypt(t, from);
        if (last && t->held == from->bytes)
            tls_notify(t);
    }
    t->waiting = !chain_empty(from);
    t->behind = t->held < from->bytes;
    tls_arm(t);
    return taken > 0 || t->write_error == 0 ? (ssize_t)taken : t->write_error;
}

void tls_shutdown_below(struct tls *t)
{
    if (!t->shut || t->below_shut || !chain_empty(&t->out))
        return;
    t->below_shut = true;
    t->below->ops->shutdown(t->below);
}

void tls_shutdown(struct transport *transport)
{
    struct tls *t = tls_of(transport);
    if (t->state != TLS_UP)
        return;
    tls_notify(t);
    tls_flush(t, true);
    tls_shutdown_below(t);
}
