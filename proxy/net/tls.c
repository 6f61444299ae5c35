/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS between a conn and its transport. Owns the transport below, OpenSSL's SSL, and the ciphertext
 * of both directions; must never call up but when the transport below does, or from the dispatch
 * loop. OpenSSL is called with nothing of it on the stack, and its callbacks only write down.
 * Reactor's thread.
 *
 *   below -> in -> BIO -> SSL -> the conn's block
 *   the conn's chain -> SSL -> BIO -> out -> below
 */
#include "proxy/net/tls.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>

#include "proxy/base/mem.h"
#include "proxy/net/tls_conn.h"

/* Most ciphertext of one read: four full records of TLS 1.3, whose bytes just fit the conn's block.
 * What a whole block of ciphertext has beyond them would leave in a write of its own. */
#define READ_MOST    (4 * (TLS_RECORD + RECORD_EXTRA))
#define RECORD_EXTRA 22 /* a header of 5 bytes, the type, a tag of 16 */

static const struct transport_ops tls_ops;
static const struct transport_events below_events;

static void tls_state(struct tls *t, enum tls_state to)
{
    static const uint8_t from[] = {
        [TLS_SHAKING] = 1 << TLS_DIALLING,
        [TLS_UP] = 1 << TLS_SHAKING,
        [TLS_FAILED] = 1 << TLS_DIALLING | 1 << TLS_SHAKING,
        [TLS_LEAVING] = 1 << TLS_UP | 1 << TLS_FAILED,
        [TLS_CLOSED] =
            1 << TLS_DIALLING | 1 << TLS_SHAKING | 1 << TLS_UP | 1 << TLS_FAILED | 1 << TLS_LEAVING,
    };
    CHECK(from[to] & 1 << t->state);
    t->state = (uint8_t)to;
}

/* ---- small things ---- */

/* Remembers the first thing that went wrong, in words. */
static void tls_wrong(struct tls *t, const char *why)
{
    if (t->info.error == NULL)
        t->info.error = mem_need(strdup(why));
}

/* OpenSSL said no: its words, or those of who checked the certificate. */
void tls_ssl_wrong(struct tls *t)
{
    long verdict = SSL_get_verify_result(t->ssl);
    bool by_verify = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    const char *why = tls_last_error();
    tls_wrong(t, by_verify && verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : why);
}

void tls_wake(struct tls *t)
{
    reactor_ready(t->base.reactor, &t->task);
}

/* OpenSSL has something to say without the transport below. */
static bool tls_has_input(const struct tls *t)
{
    return tls_in_left(t) > 0 || t->below_end != 0 || SSL_has_pending(t->ssl);
}

/* What may still be read, or is to be told. */
static bool tls_has_more(const struct tls *t)
{
    return t->end != 0 || tls_has_input(t);
}

/* Reads below as long as somebody has a use for it. */
void tls_arm(struct tls *t)
{
    bool use = t->state == TLS_SHAKING || (t->state == TLS_UP && t->reading && !t->ended) ||
               (t->state == TLS_LEAVING && t->alerted);
    bool on = use && t->below_end == 0 && t->out.bytes < OUT_STOP;
    if (on == t->below_reading)
        return;
    t->below_reading = on;
    t->below->ops->read(t->below, on);
}

/* ---- the handshake ---- */

static struct span span_of_text(const char *text)
{
    return text != NULL ? span_str(text) : span_of("", 0);
}

/* Of a client that has shown a certificate: who it is. */
static void tls_note_peer(struct tls *t)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    t->info.verified = cert != NULL && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE &&
                       SSL_get_verify_result(t->ssl) == X509_V_OK;
    if (!t->info.verified || t->info.client != NULL)
        return;
    t->info.subject = span_str(tls_subject_text(cert));
    t->info.san = span_str(tls_san_text(cert));
}

static void tls_note(struct tls *t)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_len);
    t->info.done = true;
    t->asides = 0;
    t->info.protocol = SSL_get_version(t->ssl);
    t->info.cipher = SSL_get_cipher_name(t->ssl);
    if (alpn_len > 0)
        t->info.alpn = span_of((const char *)alpn, alpn_len);
    t->info.sni = span_of_text(SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name));
    t->info.resumed = SSL_session_reused(t->ssl);
    tls_note_peer(t);
}

static void tls_failed(struct tls *t, int error)
{
    bool shaking = t->state == TLS_SHAKING;
    tls_state(t, TLS_FAILED);
    tls_wrong(t, error == UV_EOF ? "the peer closed the connection" : uv_strerror(error));
    if (t->info.client != NULL && shaking)
        tls_client_ended(t->info.client, t->endpoint, &t->info);
    if (t->info.client != NULL)
        tls_client_forget(t->info.client, t->endpoint);
    tls_arm(t);
    t->base.events->connected(t->base.owner, error == UV_EOF ? UV_ECONNRESET : error);
}

static void tls_shake(struct tls *t)
{
    if (t->wrong != NULL) {
        chain_clear(&t->out); /* no handshake: nothing that goes before it either */
        tls_wrong(t, t->wrong);
        tls_failed(t, UV_EPROTO);
        return;
    }
    size_t before = t->out.bytes;
    tls_fresh_errors();
    int ok = SSL_do_handshake(t->ssl);
    int how = ok == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, ok);
    if (how != SSL_ERROR_NONE && how != SSL_ERROR_WANT_READ) {
        tls_ssl_wrong(t);
        t->alerted = t->out.bytes > before;
    }
    tls_flush(t, false);
    if (how == SSL_ERROR_NONE) {
        tls_state(t, TLS_UP);
        tls_note(t);
        if (t->info.client != NULL)
            tls_client_ended(t->info.client, t->endpoint, &t->info);
        tls_arm(t);
        t->base.events->connected(t->base.owner, 0);
    } else if (how != SSL_ERROR_WANT_READ) {
        tls_failed(t, UV_EPROTO);
    } else if (t->below_end != 0) {
        tls_failed(t, t->below_end);
    } else if (t->write_error != 0) {
        tls_failed(t, t->write_error);
    } else {
        tls_arm(t);
    }
}

/* ---- reading ---- */

/* What the end of bytes means: t->end. */
static void tls_read_end(struct tls *t, int how)
{
    if (how == SSL_ERROR_ZERO_RETURN) {
        t->end = UV_EOF;
    } else if (how == SSL_ERROR_WANT_READ) {
        t->end = t->below_end == UV_EOF ? UV_ECONNRESET : t->below_end;
    } else {
        tls_ssl_wrong(t);
        t->end = UV_EPROTO;
    }
}

/* Decrypts into room until it is full or there is nothing: to be told so by OpenSSL costs a fifth
 * of what a small record does. */
static size_t tls_decrypt(struct tls *t, struct span room)
{
    size_t got = 0, n, before = t->out.bytes;
    tls_fresh_errors();
    while (got < room.len && t->end == 0 && tls_has_input(t)) {
        char *to = (char *)(uintptr_t)room.ptr + got;
        int ok = SSL_read_ex(t->ssl, to, room.len - got, &n);
        if (t->asides > ASIDES_MAX) {
            tls_wrong(t, "the peer changes keys or renegotiates too often");
            t->info.rekey_flood = true;
            t->end = UV_EPROTO;
            break;
        }
        if (ok == 1) {
            got += n;
            continue;
        }
        int how = SSL_get_error(t->ssl, ok);
        tls_read_end(t, how);
        if (how == SSL_ERROR_WANT_READ)
            break;
    }
    t->alerted = t->end == UV_EPROTO && t->out.bytes > before;
    return got;
}

static void tls_tell_end(struct tls *t)
{
    t->ended = true;
    t->reading = false;
    tls_arm(t);
    t->base.events->read(t->base.owner, t->end);
}

/* One buffer's worth; what is left has its turn once the conn has taken that. */
static void tls_deliver(struct tls *t)
{
    if (!t->reading || t->ended || t->out.bytes >= OUT_STOP)
        return;
    if (t->end != 0) {
        tls_tell_end(t);
        return;
    }
    struct span room = t->base.events->buffer(t->base.owner, NULL);
    if (room.len == 0) /* it has paused, and resumes */
        return;
    size_t n = tls_decrypt(t, room);
    if (t->held == 0)
        tls_flush(t, false); /* an alert, or the answer to a change of keys */
    tls_arm(t);
    t->base.events->read(t->base.owner, (ssize_t)n);
    if (t->end != 0 || (n > 0 && tls_has_more(t)))
        tls_wake(t); /* behind the conn, which takes these bytes first, or they would be moved */
}

static void tls_step(struct tls *t)
{
    if (t->state == TLS_SHAKING)
        tls_shake(t);
    else if (t->state == TLS_UP)
        tls_deliver(t);
}

static void tls_task(struct ready *task)
{
    struct tls *t = CONTAINER_OF(task, tls, task);
    if (t->waiting && t->write_error != 0) {
        t->waiting = false;
        t->base.events->writable(t->base.owner);
    }
    tls_step(t);
}

static void tls_read(struct transport *transport, bool on)
{
    struct tls *t = tls_of(transport);
    t->reading = on && !t->ended;
    tls_arm(t);
    if (t->reading && t->state == TLS_UP && tls_has_more(t))
        tls_wake(t);
}

/* ---- what the transport below tells ---- */

static void tls_close_below(struct tls *t, bool reset)
{
    tls_state(t, TLS_CLOSED);
    wheel_remove(&t->base.reactor->wheel, &t->leave);
    chain_clear(&t->out);
    block_drop(TAKE(t->own));
    t->below->ops->close(t->below, reset);
}

/* The conn is gone; the transport below goes once it has taken everything. Behind an alert it reads
 * on until the peer has ended: a socket that is closed with unread bytes in it sends an RST, which
 * takes the alert away from a peer that has said more than we have read. */
static void tls_leave(struct tls *t)
{
    tls_flush(t, true);
    bool dead = t->write_error != 0 || (t->below_end != 0 && t->below_end != UV_EOF);
    bool heard = !t->alerted || t->below_end != 0 || t->unheard > LEAVE_BYTES;
    if (dead || (heard && chain_empty(&t->out)))
        tls_close_below(t, false);
    else
        tls_shutdown_below(t);
}

static void tls_left_late(struct wheel_timer *timer)
{
    tls_close_below(CONTAINER_OF(timer, tls, leave), false);
}

/* Room of in for one read. */
static size_t tls_in_room(const struct tls *t)
{
    uint32_t room = block_room(t->in);
    return room < READ_MOST ? room : READ_MOST;
}

static struct span on_buffer(void *owner, struct block **pipe)
{
    struct tls *t = tls_of(owner);
    (void)pipe;
    if (t->in == NULL) {
        t->in = block_get(&t->base.reactor->bufs, t->bulk_in);
        t->in_pos = 0;
    }
    return span_of(t->in->data + t->in->used, tls_in_room(t));
}

/* Nobody is there to hear it. */
static void tls_unheard(struct tls *t, ssize_t n)
{
    block_drop(TAKE(t->in));
    if (n > 0)
        t->unheard += (uint32_t)n;
    tls_leave(t);
}

static void on_read(void *owner, ssize_t n)
{
    struct tls *t = tls_of(owner);
    if (n > 0) {
        t->bulk_in = (size_t)n == tls_in_room(t);
        t->in->used += (uint32_t)n;
    } else if (n < 0) {
        t->below_end = (int)n;
        t->below_reading = false;
    }
    if (t->in != NULL && t->in->used == 0)
        block_drop(TAKE(t->in));
    if (t->state == TLS_LEAVING)
        tls_unheard(t, n);
    else
        tls_step(t);
}

static void on_writable(void *owner)
{
    struct tls *t = tls_of(owner);
    if (t->state == TLS_LEAVING) {
        tls_leave(t);
        return;
    }
    if (t->held > 0) { /* it writes on, and learns what has left */
        t->base.events->writable(t->base.owner);
        return;
    }
    tls_flush(t, t->shut);
    if (t->state == TLS_SHAKING && t->write_error != 0) {
        tls_failed(t, t->write_error);
        return;
    }
    tls_shutdown_below(t);
    tls_arm(t);
    if (t->waiting && chain_empty(&t->out))
        t->base.events->writable(t->base.owner);
}

static void on_connected(void *owner, int status)
{
    struct tls *t = tls_of(owner);
    if (status < 0) {
        t->write_error = status;
        tls_failed(t, status);
        return;
    }
    t->base.also = t->below->also;
    t->info.below_us = reactor_us(t->base.reactor);
    tls_state(t, TLS_SHAKING);
    tls_step(t);
}

static void on_closed(void *owner)
{
    struct tls *t = tls_of(owner);
    const struct transport_events *events = t->base.events;
    struct reactor *r = t->base.reactor;
    void *above = t->base.owner;
    CHECK(t->state == TLS_CLOSED);
    SSL_free(t->ssl);
    tls_ctx_unref(t->ctx);
    free((char *)(uintptr_t)t->info.error);
    if (t->info.verified && t->info.client == NULL) {
        free((char *)(uintptr_t)t->info.subject.ptr);
        free((char *)(uintptr_t)t->info.san.ptr);
    }
    t->base.magic = 0;
    reactor_free(r, SLAB_TLS, t);
    events->closed(above);
}

static const struct transport_events below_events = {
    .buffer = on_buffer,
    .read = on_read,
    .writable = on_writable,
    .connected = on_connected,
    .closed = on_closed,
};

/* ---- life ---- */

/* An orderly end says so, if everything before it is encrypted. */
static void tls_farewell(struct tls *t)
{
    if (t->state == TLS_UP && t->write_error == 0 && !t->behind)
        tls_notify(t);
}

/* Whether what is encrypted, an alert or our end not least, can still leave. Not a request that its
 * stream may have called unsent: it may be on its way to another endpoint. */
static bool tls_can_leave(const struct tls *t)
{
    return (t->state == TLS_UP || t->state == TLS_FAILED) && t->write_error == 0 &&
           !t->below_shut && (t->info.client == NULL || t->held == 0);
}

static void tls_close(struct transport *transport, bool reset)
{
    struct tls *t = tls_of(transport);
    if (t->state == TLS_LEAVING || t->state == TLS_CLOSED)
        return;
    if (!reset)
        tls_farewell(t);
    if (t->state == TLS_UP && t->info.error == NULL) /* or else its session is forgotten */
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    if (t->info.client != NULL && t->state == TLS_SHAKING) /* it took too long */
        tls_client_ended(t->info.client, t->endpoint, &t->info);
    list_unlink(&t->task.link);
    block_drop(TAKE(t->in));
    if (reset || !tls_can_leave(t)) {
        tls_close_below(t, reset);
        return;
    }
    tls_state(t, TLS_LEAVING);
    tls_leave(t);
    if (t->state == TLS_CLOSED)
        return;
    tls_arm(t);
    wheel_set(&t->base.reactor->wheel, &t->leave, reactor_now(t->base.reactor) + LEAVE_MS);
}

static const struct transport_ops tls_ops = {
    .name = "tls",
    .read = tls_read,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .close = tls_close,
};

static SSL *new_ssl(struct tls *t)
{
    SSL *ssl = SSL_new(t->ctx->ssl);
    BIO *bio = BIO_new(t->ctx->bio);
    if (ssl == NULL || bio == NULL || SSL_set_app_data(ssl, t) != 1) {
        SSL_free(ssl);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return ssl;
}

/* NULL: no memory; below is as it was. */
static struct tls *tls_new(struct transport *below, struct tls_ctx *ctx,
                           const struct transport_events *events, void *owner)
{
    struct reactor *r = below->reactor;
    struct tls *t = reactor_alloc(r, SLAB_TLS, sizeof(*t));
    *t = (struct tls){.base = {TLS_MAGIC, false, &tls_ops, events, owner, r},
                      .below = below,
                      .ctx = ctx,
                      .state = TLS_DIALLING,
                      .task.run = tls_task,
                      .info = {.protocol = "", .cipher = "", .alpn = {"", 0}, .sni = {"", 0}}};
    t->info.subject = t->info.san = span_of("", 0);
    tls_fresh_errors();
    t->ssl = new_ssl(t);
    if (t->ssl == NULL) {
        tls_fresh_errors();
        reactor_free(r, SLAB_TLS, t);
        return NULL;
    }
    ctx->refs++;
    list_init(&t->task.link);
    wheel_timer_init(&t->leave, tls_left_late);
    chain_init(&t->out);
    below->events = &below_events;
    below->owner = t;
    return t;
}

/* Bytes that came before us are the first of in. */
static void tls_take_first(struct tls *t, struct span first)
{
    if (first.len == 0)
        return;
    t->in = block_get(&t->base.reactor->bufs, first.len > BLOCK_BYTES - sizeof(struct block));
    CHECK(first.len <= t->in->cap);
    memcpy(t->in->data, first.ptr, first.len);
    t->in->used = (uint32_t)first.len;
}

struct transport *tls_wrap_server(struct transport *below, struct tls_server_ctx *ctx,
                                  struct span first, const struct transport_events *events,
                                  void *owner)
{
    struct tls *t = tls_new(below, tls_server_ctx_base(ctx), events, owner);
    if (t == NULL)
        return NULL;
    SSL_set_accept_state(t->ssl);
    tls_take_first(t, first);
    tls_state(t, TLS_SHAKING);
    tls_arm(t);
    if (t->in != NULL)
        tls_wake(t);
    return &t->base;
}

struct transport *tls_wrap_client(struct transport *below, struct tls_client_ctx *ctx,
                                  uint32_t endpoint, const struct net_addr *to, bool connecting,
                                  struct chain *first, const struct transport_events *events,
                                  void *owner)
{
    struct tls *t = tls_new(below, tls_client_ctx_base(ctx), events, owner);
    if (t == NULL)
        return NULL;
    t->info.client = ctx;
    t->endpoint = endpoint;
    chain_move(&t->out, first);
    SSL_set_connect_state(t->ssl);
    t->wrong = tls_client_prepare(ctx, t->ssl, endpoint, to);
    if (!connecting) {
        tls_state(t, TLS_SHAKING);
        tls_wake(t);
    }
    return &t->base;
}

const struct tls_info *tls_info(const struct transport *t)
{
    return t != NULL && t->ops == &tls_ops ? &CONTAINER_OF(t, tls, base)->info : NULL;
}

SSL *tls_ssl_of(struct transport *t)
{
    return tls_of(t)->ssl;
}

void tls_aside(const SSL *ssl)
{
    struct tls *t = SSL_get_app_data(ssl);
    if (t->asides <= ASIDES_MAX)
        t->asides++;
}

uint32_t tls_endpoint(const SSL *ssl)
{
    const struct tls *t = SSL_get_app_data(ssl);
    return t->endpoint;
}
