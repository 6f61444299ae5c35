/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between protocols and exchanges. A stream is one request and its response on one conn,
 * of either side; the same two tables serve both sides and every protocol, so that n client
 * protocols and m upstream protocols cost n + m.
 *
 * Verbs go down (exchange to codec) and never call up before they return. Events go up (codec to
 * exchange), only from the dispatch loop, and are the codec's last touch of what it passed. An
 * upgraded connection is a stream whose body is BODY_TUNNEL in both directions.
 *
 * Message end, conn end and error are three facts: events->end says that the message is complete;
 * events->aborted that it never will be.
 */
#ifndef WEIR_HTTP_STREAM_H
#define WEIR_HTTP_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/reason.h"
#include "proxy/http/msg.h"

struct stream;
struct tls_info;

struct stream_ops {
    /* Queues a head: on a server stream any number of 1xx, then the final response; on a client
     * stream the request. head->body says what follows; the codec frames it. */
    void (*send_head)(struct stream *, const struct http_head *head);
    /* Queues body bytes and empties the chain. What has left comes back as events->drained. */
    void (*send_body)(struct stream *, struct chain *body);
    /* Ends the message; trailers NULL, or fields to send where the protocol has a place for them.
     * In a tunnel: ends our direction. */
    void (*send_end)(struct stream *, const struct http_head *trailers);
    /* n more body bytes may be delivered. */
    void (*credit)(struct stream *, size_t n);
    /* The exchange is done with the stream, for better (REASON_DONE) or worse: no event follows,
     * and the pointer is dead. What was queued complete is still sent; a message that is not
     * complete is cut so that the peer can tell. */
    void (*release)(struct stream *, enum reason reason);
    /* Client streams only: of its conn, as conn_tls. */
    const struct tls_info *(*tls)(const struct stream *);
};

struct stream_events {
    /* Client streams: 1xx, then the final head; server streams get theirs through http_service.
     * The head is valid during the call on client streams. */
    void (*head)(struct stream *, struct http_head *head);
    /* The receiver takes the slices out of the chain; what it leaves is dropped. */
    void (*body)(struct stream *, struct chain *body);
    /* The message is complete; trailers as in send_end, valid during the call. */
    void (*end)(struct stream *, struct http_head *trailers);
    /* n of the body bytes that were queued here have left weir. */
    void (*drained)(struct stream *, size_t n);
    /* The peer's message will not be completed. On a server stream whose reason has SIDE_CLIENT,
     * an answer may still be sent. */
    void (*aborted)(struct stream *, enum reason reason);
};

struct stream {
    uint32_t magic;
    const struct stream_ops *ops;
    const struct stream_events *events; /* set by the owner before it returns from open or before
                                           the first verb */
    void *owner;
    uint64_t connected_us; /* client streams: when their conn came up, by reactor_us; 0: before */
    bool reused;           /* client streams: the conn has served before, so it may be stale */
    bool also;             /* client streams: their conn is to the endpoint's other address */
    bool answered;         /* client streams: a byte of the response was seen */
    bool splices;          /* set by the codec: its conn takes body bytes in a pipe */
    bool opaque;           /* set by the owner, who from now on only passes the body on: it may come
                              in a pipe */
};

#define STREAM_MAGIC MAGIC('s', 't', 'r', 'm')

/* Who is at the other end of a server conn; lives as long as the conn. */
struct http_peer {
    const void *listener;       /* the service's own */
    const struct tls_info *tls; /* of its conn, until that closes; NULL: it speaks in clear text */
    bool trusted;               /* its X-Forwarded-* are believed */
    bool over_limit;            /* accepted only to be told so */
    bool local_known;           /* local and local_port are told */
    uint8_t text_len;
    uint8_t host_at, host_len; /* the part of text that is the host: "1.2.3.4", "::1", "unix:" */
    uint16_t local_port;
    uint8_t local[16]; /* the address that the client came to; of IPv4: mapped */
    char text[47];     /* "1.2.3.4:5", "[::1]:5", "unix:" */
};

/* As X-Forwarded-For has it; the peer's own memory. */
static inline struct span http_peer_host(const struct http_peer *peer)
{
    return span_of(peer->text + peer->host_at, peer->host_len);
}

struct net_addr;

/* listener: the service's own, kept as it is. trusted: see the struct. */
void http_peer_init(struct http_peer *peer, const struct net_addr *addr, const void *listener,
                    bool trusted);

/* Where the client came to; what is not of IP stays unknown. */
void http_peer_reached(struct http_peer *peer, const struct net_addr *local);

/* From where the client came, and to where; both are of no family unless both are known. */
void http_peer_ends(const struct http_peer *peer, struct net_addr *from, struct net_addr *to);

/* Who serves the requests of server conns. */
struct http_service {
    /* A request head is complete (reason NONE), or is refused for reason, with what was understood
     * of it in head (spans may be empty). The service sets events and owner, and answers. head and
     * peer live until the stream is released. */
    void (*request)(void *ctx, struct stream *, struct http_head *head,
                    const struct http_peer *peer, enum reason reason);
    /* Asked for every response: may the conn be kept for another request? And again, promised,
     * when it is answered and the client was told so. */
    bool (*keep_alive)(void *ctx, const struct http_peer *peer, bool promised);
    /* A conn is no more: its memory goes after this call. */
    void (*closed)(void *ctx, const struct http_peer *peer, enum reason reason);
};

#endif
