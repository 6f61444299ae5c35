/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream's conn on an in-memory wire, and the owner of it and of its stream, who writes down
 * what he is told. Time is the test's. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_H1_OWNER_H
#define WEIR_TESTS_H1_OWNER_H

#include "proxy/http/h1_client.h"
#include "tests/unit/notes.h"
#include "tests/unit/wire.h"

enum { OWNER_BUFFER = 4096, OWNER_HEAD_MS = 5000 };

struct owner {
    struct wire w;
    struct h1_client_options options;
    struct h1_client *client;
    struct stream *stream;
    bool idle; /* the client is in our hands */
    bool credit, release_on_end;
    struct notes notes;
};

#define OK_5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* Of cmocka. The conn is not up yet. The end checks that it is gone and all memory came back. */
int owner_setup(void **state);
int owner_teardown(void **state);

/* Another capacity of the wire than usual, with a new conn. */
void owner_rewire(struct owner *f, size_t capacity);

/* What was written down since the last call; valid until the next. */
const char *owner_notes(struct owner *f);

/* The upstream accepts. */
void owner_connect_up(struct owner *f);

/* The verbs of the stream. They come from outside of the dispatch loop: run it then. */
void owner_open_stream(struct owner *f);
void owner_send_head(struct owner *f, const char *method, enum body_kind body, bool upgrade);
void owner_send_bytes(struct owner *f, const void *bytes, size_t n);
void owner_release(struct owner *f, enum reason reason);
void owner_run(struct owner *f);

/* A whole request on a conn that is up, or that comes up first. */
void owner_ask(struct owner *f, const char *method);
void owner_ask_up(struct owner *f, const char *method);

#endif
