/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of one endpoint over real sockets on loopback, those who ask it for streams, and the
 * upstream, which runs on the same loop, speaks what the handshake or the pool says, and answers
 * when it is told to. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_POOL_RIG_H
#define WEIR_TESTS_POOL_RIG_H

#include "proxy/net/tls.h"
#include "proxy/upstream/pool.h"

enum { POOL_RIG_ASKS = 6, POOL_RIG_CONNS = 6, POOL_RIG_IDS = 8 };

struct pool_rig;

struct ask {
    struct pool_rig *f;
    struct pool_request wish;
    struct stream *stream;
    bool waited, ended;
    enum reason reason; /* why it failed */
};

/* A conn of the upstream's. */
struct upstream {
    struct conn conn;
    struct pool_rig *f;
    bool h2, preface, freed;
    uint32_t ids[POOL_RIG_IDS]; /* of streams that wait for an answer; h1: any number */
    unsigned n_ids;
};

struct pool_rig {
    struct reactor r;
    struct endpoint_spec endpoint;
    struct pool_spec spec;
    struct pool_stats stats;
    struct pool_view *view;
    struct tls_server_ctx *tls; /* of the upstream, or NULL */
    struct tls_client_options tls_options;
    struct http_head head;
    struct ask asks[POOL_RIG_ASKS];
    unsigned n_asks;
    struct upstream conns[POOL_RIG_CONNS];
    unsigned n_conns;
    int listener;
    bool deaf;  /* the upstream accepts nothing */
    char takes; /* streams at once, says the upstream; 0: it does not say */
};

/* Of cmocka: for the group, and for each test. The end of a test checks that all conns are gone. */
int pool_rig_setup_all(void **state);
int pool_rig_teardown_all(void **state);
int pool_rig_setup(void **state);
int pool_rig_teardown(void **state);

/* The same for one that is part of a test's own fixture: what is not zero is made, and undone. A
 * test that plays the upstream itself makes it deaf; a listener that it has closed is -1. */
void pool_rig_init(struct pool_rig *f);
void pool_rig_fini(struct pool_rig *f);

/* Makes the view. With TLS the upstream agrees to upstream_alpn, of enum tls_alpn. */
void pool_rig_speak(struct pool_rig *f, enum pool_protocol protocol);
void pool_rig_tls(struct pool_rig *f, enum pool_protocol protocol, uint8_t upstream_alpn);

/* The view gets a new context, as when certificates have changed. */
void pool_rig_secure(struct pool_rig *f);

/* A turn that does not wait, and what comes to the upstream in it. */
void pool_rig_turn(struct pool_rig *f);

/* Somebody asks for a stream, and sends a request on it as soon as it is there. */
struct ask *pool_rig_ask(struct pool_rig *f, bool fresh);

/* Answers the oldest request of a conn, which must come first. */
void pool_rig_answer(struct pool_rig *f, struct upstream *u);

/* Waits until it has ended in one way or the other; until it has failed for reason. */
void pool_rig_finish(struct pool_rig *f, const struct ask *a);
void pool_rig_failed(struct pool_rig *f, const struct ask *a, enum reason reason);

#endif
