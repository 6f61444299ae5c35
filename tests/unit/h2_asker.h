/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn of HTTP/2 to an upstream on an in-memory wire, and its owner, who asks for things over it
 * and writes down what he is told: of the first request with "a", of the next with "b". Time is the
 * test's. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_H2_ASKER_H
#define WEIR_TESTS_H2_ASKER_H

#include "proxy/http/h2_client.h"
#include "tests/unit/h2_frames.h"
#include "tests/unit/notes.h"

enum { ASKER_ASKS = 8, ASKER_HEAD_MS = 5000, ASKER_BUFFER = 65535 };

/* One request. */
struct ask {
    struct asker *f;
    struct stream *stream; /* until it has ended */
    char name;
};

struct asker {
    struct wire w;
    struct h2_frames peer;
    struct h2_client_options options;
    struct h2_client *client;
    struct ask asks[ASKER_ASKS];
    struct http_head head;
    struct list_node list; /* of the client, while it has room */
    unsigned n_asks;
    bool hoard; /* what comes is not credited */
    struct notes notes;
    size_t body_len;
};

/* Of cmocka. The conn is not up yet. The end checks that it is gone and all memory came back. */
int asker_setup(void **state);
int asker_teardown(void **state);

/* Another conn, whose peer is thought to take so many streams at once. */
void asker_expects(struct asker *f, uint32_t takes);

/* The conn comes up, and both sides' settings are said; none of it is noted. */
void asker_up(struct asker *f);

/* What was written down since the last call; valid until the next. */
const char *asker_notes(struct asker *f);

/* A head for "/a"; valid until the next. */
struct http_head *asker_head(struct asker *f, const char *method, enum body_kind body);

/* A stream; one whose head is sent; a whole request, and what follows from it. */
struct ask *asker_open(struct asker *f);
struct ask *asker_begin(struct asker *f, const struct http_head *head);
struct ask *asker_ask(struct asker *f, const char *method);

void asker_send(struct ask *a, const void *bytes, size_t n);
void asker_release(struct ask *a, enum reason reason);
void asker_run(struct asker *f);

#define GOT(text)   assert_string_equal(h2_got(&f->peer), text)
#define NOTES(text) assert_string_equal(asker_notes(f), text)
#define GET_A       ":method=GET :scheme=http :authority=h :path=/a"

#endif
