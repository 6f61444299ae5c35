/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS transport, as its files see it: tls.c (its life, the handshake, reading), tls_write.c and
 * tls_bio.c. Only they may include it. Reactor's thread.
 */
#ifndef WEIR_NET_TLS_CONN_H
#define WEIR_NET_TLS_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "proxy/base/buf.h"
#include "proxy/base/check.h"
#include "proxy/net/reactor.h"
#include "proxy/net/tls.h"
#include "proxy/net/tls_ssl.h"
#include "proxy/net/transport.h"

#define TLS_MAGIC MAGIC('t', 'l', 's', ' ')
/* Ciphertext that may wait below: with so much of it nothing more is encrypted. Reading goes on, or
 * else two peers could wait for one another, up to OUT_STOP: that much comes together only of
 * answers to a peer that changes its keys all the time and does not read. What is above OUT_MAX by
 * a record's beginning still fits a big block. */
#define OUT_MAX  (51 * 1024)
#define OUT_STOP (128 * 1024)
/* Records of the conn's bytes that may wait below: OUT_MAX is spent sooner, but for a chain in
 * which large and small slices take turns. */
#define RECORDS_MAX 8
/* What a peer may say besides bytes once the handshake is done: changes of keys, tickets, wishes to
 * renegotiate. Nobody needs so many of them, and each costs us more than its sender. OpenSSL counts
 * five steps for one. */
#define ASIDES_MAX (1000 * 5)
/* That ciphertext has to leave once the conn is gone, and the peer to read an alert; and what it
 * may say meanwhile. */
#define LEAVE_MS    1000
#define LEAVE_BYTES (256 * 1024)

enum tls_state {
    TLS_DIALLING, /* the transport below is being dialled */
    TLS_SHAKING,
    TLS_UP,
    TLS_FAILED,  /* the conn was told; it closes */
    TLS_LEAVING, /* the conn has closed, and what was encrypted is on its way */
    TLS_CLOSED,
};

/* One SSL_write. A peer can make no use of any of its bytes before the last of its ciphertext. */
struct tls_record {
    uint32_t bytes; /* of the conn's */
    uint32_t end;   /* ciphertext up to here, counted as tls.left is */
};

struct tls {
    struct transport base;
    struct transport *below;
    struct tls_ctx *ctx;
    uint32_t endpoint;
    uint8_t state;      /* enum tls_state */
    bool reading;       /* the conn wants to */
    bool below_reading; /* what we told the transport below */
    bool bulk_in;       /* the last read filled its block */
    bool bulk_out;      /* much is being written */
    bool waiting;       /* the conn is to be told when it may write on */
    bool behind;        /* the conn has given more than is encrypted */
    bool shut;          /* close_notify was made */
    bool below_shut;
    bool alerted;      /* the last that we said is why there is nothing more to say */
    bool ended;        /* the conn was told of the end */
    uint16_t asides;   /* of the peer since the handshake; see ASIDES_MAX */
    uint32_t unheard;  /* bytes that came after the conn had closed */
    int below_end;     /* UV_EOF or an error that was read below; 0: none */
    int end;           /* what the conn is to be told behind the bytes; 0: nothing */
    int write_error;   /* nothing more can be written; 0: it can */
    const char *wrong; /* why there can be no handshake at all, or NULL */
    SSL *ssl;
    struct block *in; /* ciphertext, of which in_pos bytes are consumed; NULL: none */
    uint32_t in_pos;
    struct block *own; /* the last of out's blocks, that is being filled */
    struct chain out;
    size_t held;   /* bytes at the front of the conn's chain that out carries, all of records */
    uint32_t left; /* ciphertext that has left since the first of records was made */
    uint8_t records_n;
    struct tls_record records[RECORDS_MAX]; /* not empty: only tls_write may flush */
    struct ready task;
    struct wheel_timer leave; /* LEAVE_MS */
    struct tls_info info;
};

static inline struct tls *tls_of(void *transport)
{
    return CAST_OBJ(tls, transport, TLS_MAGIC);
}

/* Ciphertext that OpenSSL has not seen yet. */
static inline uint32_t tls_in_left(const struct tls *t)
{
    return t->in != NULL ? t->in->used - t->in_pos : 0;
}

/* Before each call of OpenSSL that may fail: its verdict looks at the queue of errors. */
static inline void tls_fresh_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* OpenSSL said no: notes its words, or those of who checked the certificate. */
void tls_ssl_wrong(struct tls *t);

/* Reads below as long as somebody has a use for it. */
void tls_arm(struct tls *t);

/* What may be done without the transport below is, from the dispatch loop. */
void tls_wake(struct tls *t);

/* ---- tls_write.c ---- */

/* Gives the transport below what it takes. While out carries bytes of a conn that is still there
 * only tls_write may, which tells at once what has left: else somebody who is told of an end in
 * between would believe that it has not. */
void tls_flush(struct tls *t, bool last);

/* Makes our close_notify, behind everything else; once. */
void tls_notify(struct tls *t);

/* Ends the transport below once everything has left, if we have said our last. */
void tls_shutdown_below(struct tls *t);

/* Of transport_ops. */
ssize_t tls_write(struct transport *transport, struct chain *from, bool last);
void tls_shutdown(struct transport *transport);

#endif
