/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole worker with nothing real around it: its conns are pairs in memory, its clock is ours, and
 * clients and upstreams do what a script of bytes says. What the worker does is written down, and
 * judged at the end (rig_check.c). One script gives one run: a failure aborts, and its script is
 * all that it takes to see it again. One thread, one rig at a time.
 *
 * A script is four bytes of settings and then events. A byte under 0xf0 is said by the peer that is
 * selected (one that talks HTTP/2 makes a frame of those that follow one another: rig_h2.h);
 * RIG_LITERAL says any byte; each other one begins an event of two bytes:
 */
#ifndef WEIR_TESTS_RIG_H
#define WEIR_TESTS_RIG_H

#include <stdio.h>

#include "proxy/net/pair.h"
#include "proxy/worker.h"
#include "tests/fuzz/strict.h"

enum rig_op {
    RIG_CLIENT = 0xf0, /* select client n, a new conn if it has none */
    RIG_UPSTREAM,      /* select the nth newest upstream conn */
    RIG_STEP,          /* 0: until nothing happens; n: n steps of the pairs in turn */
    RIG_END,           /* the selected peer ends its direction */
    RIG_CLOSE,         /* ... closes; odd: with a reset */
    RIG_PASS,          /* time passes */
    RIG_READ,          /* the selected peer stops reading, or begins again */
    RIG_DIAL,          /* how the next dials end */
    RIG_LIMIT,         /* weir reads little at a time from the selected peer */
    RIG_ORDER,         /* drain, close, abort */
    RIG_ANSWER,        /* a response from the shelf; of an HTTP/2 client: what is no message */
    RIG_REQUEST,       /* a request from the shelf; of an HTTP/2 upstream: the same */
    RIG_BULK,          /* many bytes */
    RIG_FAIL,          /* the transport fails, reading or writing */
    RIG_CAPACITY,      /* of the pairs made from now on */
    RIG_LITERAL,
};

/* Bits of the first setting: who talks HTTP/2, and how (rig_h2.h). */
enum rig_h2 {
    RIG_H2_CLIENTS = 8,
    RIG_H2_UPSTREAMS = 16,
    RIG_H2_NO_ACKS = 32, /* to SETTINGS and PING */
    RIG_H2_NO_WINDOWS = 64,
    RIG_H2_MUTE = 128, /* the script says the preface and the first SETTINGS */
};

/* Bits of the second setting and the third: what pools and routes have beside the plainest. */
enum rig_second {
    RIG_STATUSES = 64, /* retries after 5xx and gRPC's UNAVAILABLE, by a budget */
    RIG_LIMITS = 128,  /* three requests at once, one at each endpoint, and three that wait */
};

enum rig_third {
    RIG_STICKY = 8, /* sessions, by the cookie "s" */
    RIG_HEDGES = 128,
};

enum { RIG_CLIENTS = 4, RIG_PEERS = 64, RIG_ENDPOINTS = 3, RIG_SETTINGS = 4 };

struct bytes {
    char *at;
    size_t len, cap;
};

struct rig;

/* The other end of one of weir's conns. */
struct rig_peer {
    struct rig *rig;
    struct pair *pair;
    struct transport *t;
    struct bytes saying; /* of it, spoken bytes are with the transport */
    size_t spoken;
    struct bytes said, got; /* what its transport took; what it read */
    bool client;
    bool dialled, up; /* an upstream: the dial has an outcome; it is up */
    bool reading, end_wanted, ended, closing, closed;
    bool harmed; /* it closed or failed, so that what was on its way may be lost */
    bool got_end;
    int got_error;
    struct talk *talk; /* NULL: HTTP/1 */
    unsigned checked;  /* requests that were seen here */
    bool cut_head;     /* the last of them has no whole head */
};

enum { RIG_ID = 129 };

/* An exchange, as the streams' verbs and events showed it. */
struct rig_x {
    struct stream base; /* what the exchange has in the place of the real one */
    struct stream *real;
    struct rig *rig;
    struct rig_peer *client;
    uint32_t h2_id; /* of the client's stream; 0: HTTP/1 */
    bool h2_extended;
    char id[RIG_ID];
    enum reason refused;
    /* the request as weir read it */
    struct bytes method, raw_target, target, authority;
    uint8_t kind, minor;
    uint64_t length;
    bool is_head, idempotent, upgrade;
    struct bytes rx, rx_tunnel; /* delivered */
    bool rx_end, rx_tunnel_end;
    /* the response as it was sent */
    unsigned status;
    bool no_body, authored, tx_end, tunnel;
    struct bytes tx, tx_tunnel;
    /* the end */
    unsigned ended;
    enum reason reason;
    uint32_t retries, retries_allowed, hedges;
    /* what upstreams saw of it */
    unsigned seen, seen_fresh, seen_refused;
    bool explained; /* an upstream's answer is what the client was given */
};

struct rig {
    struct worker w;
    struct worker_shared shared;
    struct conn_budget budget;
    struct snapshot *snapshot;
    struct listener_spec listener_spec; /* the rig itself accepts */
    struct worker_listener listener;
    struct rig_peer *clients[RIG_PEERS], *upstreams[RIG_PEERS];
    unsigned n_clients, n_upstreams;
    struct rig_peer *client[RIG_CLIENTS]; /* the present conn of each */
    struct rig_peer *selected;
    struct rig_x **xs;
    size_t n_xs;
    size_t capacity;
    unsigned dial, dials; /* how, and for how many more */
    bool aborted;         /* weir was told to abort everything */
    bool h2_clients, h2_upstreams, h2_acks, h2_windows, h2_mute;
    FILE *trace;
    char room[65536];
};

/* Runs a script and judges it; aborts if anything is wrong. also: bits of enum rig_h2 that are set
 * whatever the script says. trace: NULL, or where each event and what came of it is told. */
void rig_run(const uint8_t *script, size_t size, unsigned also, FILE *trace);

/* The same as a fuzz target; with RIG_TRACE in the environment it tells on stderr. Returns 0. */
int rig_fuzz(const uint8_t *script, size_t size, unsigned also);

/* The length of the event at the front of a script, at least 1. */
size_t rig_op_size(const uint8_t *at, size_t size);

/* The shelf that RIG_REQUEST and RIG_ANSWER take from; each ends with NULL. */
extern const char *const rig_requests[], *const rig_answers[];

/* ---- shared by the rig's files ---- */

void rig_fail(const struct rig *rig, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void rig_tell(const struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

void bytes_add(struct bytes *b, const void *from, size_t n);
void bytes_add_chain(struct bytes *b, const struct chain *chain);

/* rig_config.c. With one reference, the caller's. */
struct snapshot *rig_snapshot(const uint8_t *set);

/* rig_peer.c */
struct rig_peer *peer_new(struct rig *rig, bool client);
void peer_free(struct rig_peer *p);
void peer_say(struct rig_peer *p, const void *bytes, size_t n);
/* As far as there is room now. False: nothing was left to do. */
bool peer_go_on(struct rig_peer *p);
void peer_end(struct rig_peer *p);
void peer_close(struct rig_peer *p, bool reset);
void peer_read(struct rig_peer *p, bool on);

/* rig_stream.c: between the client conns and the exchanges. */
extern const struct http_service rig_service;
void rig_x_free(struct rig_x *x);

/* rig_check.c */
void rig_check(struct rig *rig);

/* rig_check_h2.c; healthy: what was queued for the client has to reach it. */
void check_client_h2(struct rig *rig, const struct rig_peer *p, bool healthy);
void check_upstream_h2(struct rig *rig, struct rig_peer *p);

#endif
