/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's conn on an in-memory wire, and a service that writes down what it is told and answers
 * when a test says so. Time is the test's. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_H1_SERVICE_H
#define WEIR_TESTS_H1_SERVICE_H

#include "proxy/http/h1_server.h"
#include "tests/unit/notes.h"
#include "tests/unit/wire.h"

enum { SERVICE_BUFFER = 4096, SERVICE_HEAD_MS = 10000 };

struct service {
    struct wire w;
    struct h1_server_options options;
    struct list_node conns;
    struct h1_server *srv;
    struct stream *stream; /* of the request in progress */
    struct http_head *head;
    size_t credit;           /* what every body event gives back at once */
    unsigned answer_at_once; /* in the request event, this status; 0: not */
    bool keep;               /* what keep_alive answers */
    bool release_on_abort;
    struct notes notes;
};

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

/* What the conn is given; its bounds and times are those of the fixture. */
struct h1_server_options service_options(const struct http_service *service, void *ctx);

/* Of cmocka. The end checks that the conn is gone and all memory came back. */
int service_setup(void **state);
int service_teardown(void **state);

/* A new wire of this capacity, and a conn on it; rewire ends those that there are. */
void service_begin(struct service *f, size_t capacity);
void service_rewire(struct service *f, size_t capacity);

/* What was written down since the last call; valid until the next. */
const char *service_notes(struct service *f);

/* The verbs of the stream in progress. They come from outside of the dispatch loop: run it then. */
void service_send_head(struct service *f, unsigned status, enum body_kind body, uint64_t length);
void service_send_bytes(struct service *f, const void *bytes, size_t n);
void service_release(struct service *f, enum reason reason);
void service_run(struct service *f);

/* Queues a whole answer, of 200 or another status, and lets go. */
void service_answer(struct service *f, const char *body);
void service_answer_with(struct service *f, unsigned status, const char *body);

#endif
