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
    bool blocked = t->out.bytes >= OUT_STOP;
    if (chain_empty(&t->out))
        return;
    if (t->write_error == 0) {
        ssize_t n = t->below->ops->write(t->below, &t->out, last);
        if (n < 0)
            t->write_error = (int)n;
        else
            t->left += (uint32_t)n;
    }
    if (t->write_error != 0)
        chain_clear(&t->out);
    if (chain_empty(&t->out))
        block_drop(TAKE(t->own));
    if (blocked && t->out.bytes < OUT_STOP && t->state == TLS_UP)
        tls_wake(t);
}

/* The bytes of records that have left whole go off the conn's chain. */
static size_t tls_settle(struct tls *t, struct chain *from)
{
    size_t gone = 0;
    unsigned n = 0;
    while (n < t->records_n && t->records[n].end <= t->left)
        gone += t->records[n++].bytes;
    t->records_n -= (uint8_t)n;
    memmove(t->records, t->records + n, t->records_n * sizeof(t->records[0]));
    chain_drop(from, gone);
    t->held -= gone;
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
static struct span tls_gather(struct tls *t, struct chain *from)
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

static void tls_encrypt_one(struct tls *t, struct span bytes)
{
    size_t n = 0;
    if (SSL_write_ex(t->ssl, bytes.ptr, bytes.len, &n) != 1) {
        tls_ssl_wrong(t);
        t->write_error = UV_EPIPE;
        return;
    }
    t->held += n;
    t->records[t->records_n++] = (struct tls_record){(uint32_t)n, (uint32_t)t->out.bytes};
}

/* Encrypts as much as may wait. */
static void tls_encrypt(struct tls *t, struct chain *from)
{
    CHECK(t->held == 0 && chain_empty(&t->out));
    t->left = 0;
    t->bulk_out = from->bytes > BLOCK_BYTES;
    while (t->held < from->bytes && t->out.bytes < OUT_MAX && t->records_n < RECORDS_MAX &&
           t->write_error == 0)
        tls_encrypt_one(t, tls_gather(t, from));
}

/* While ciphertext waits, the conn's bytes in it are not kept twice: what stands for them in the
 * chain is a slice of the ciphertext's block. Nobody looks at it, only its length counts. */
static void tls_forget(struct tls *t, struct chain *from)
{
    struct chain held;
    if (t->own == NULL || t->held > t->own->cap)
        return;
    chain_init(&held);
    chain_append(&held, t->own, t->own->data, t->held);
    chain_drop(from, t->held);
    chain_move(&held, from);
    *from = held;
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
        taken += tls_settle(t, from);
        if (t->write_error != 0)
            break;
        if (!chain_empty(&t->out) || chain_empty(from))
            break;
        CHECK(!t->shut);
        tls_encrypt(t, from);
        if (last && t->held == from->bytes)
            tls_notify(t);
    }
    if (t->held > 0)
        tls_forget(t, from);
    t->waiting = !chain_empty(from);
    t->behind = t->held < from->bytes;
    tls_arm(t);
    if (taken == 0)
        return t->write_error;
    if (t->write_error != 0)
        tls_wake(t); /* the next write says so */
    return (ssize_t)taken;
}

void tls_shutdown_below(struct tls *t)
{
    bool last = t->shut || (t->alerted && t->state == TLS_LEAVING);
    if (!last || t->below_shut || !chain_empty(&t->out))
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
