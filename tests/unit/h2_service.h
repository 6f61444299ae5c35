/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 client's conn on an in-memory wire, a client that is nghttp2's or speaks frames by
 * hand, and a service that writes down what it is told and answers when a test says so. Time is the
 * test's. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_H2_SERVICE_H
#define WEIR_TESTS_H2_SERVICE_H

#include <nghttp2/nghttp2.h>

#include "proxy/http/h2_server.h"
#include "tests/unit/wire.h"

#define H2_STREAMS 128 /* that a test may begin */

struct h2_service;

/* One request, by the order they came in. */
struct h2_served {
    struct h2_service *f;
    struct stream *stream; /* NULL: released */
    struct http_head *head;
    unsigned number;
    size_t body_len;
    char body[256]; /* its beginning */
};

struct h2_service {
    struct wire w;
    struct h2_server_options options;
    struct list_node conns;
    struct h2_server *srv;
    struct h2_served served[H2_STREAMS];
    unsigned n_served;
    bool credit;    /* what body events bring is credited at once */
    bool hold_body; /* it is kept in held, which the test clears */
    struct chain held;
    bool keep;           /* what keep_alive answers */
    bool answer_at_once; /* in the request event, with 200 and "now" */
    bool keep_on_abort;  /* what is aborted is not released at once */
    bool quiet;
    char log[16384];     /* of the service */
    nghttp2_session *ng; /* the client, or NULL */
    char seen[16384];    /* of the client */
    size_t got_body;     /* DATA bytes, of all streams */
    bool hold_window;    /* the client consumes nothing */
    const char *upload;  /* that h2_post sends, and its rest */
    size_t upload_len;
};

/* Of cmocka. The end checks that the conn is gone and all memory came back. */
int h2_setup(void **state);
int h2_teardown(void **state);

/* A new wire of this capacity, and a conn on it; ends those that there are. client: nghttp2's. */
void h2_rewire(struct h2_service *f, size_t capacity, bool client);

/* What was written down by the service, by the client, since the last call. */
const char *h2_notes(struct h2_service *f);
const char *h2_seen(struct h2_service *f);

/* Everything happens that can: also what the client has to say. */
void h2_run(struct h2_service *f);

/* ---- the client ---- */

/* Begins a request of method GET or POST; returns the stream's id. fields: "name", "value", ...,
 * NULL. body: NULL for none. */
int32_t h2_get(struct h2_service *f, const char *path);
int32_t h2_post(struct h2_service *f, const char *path, const char *body, size_t len);
int32_t h2_ask(struct h2_service *f, const char *const *fields, const char *body, size_t len);

/* A frame by hand. */
void h2_frame(struct h2_service *f, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
              size_t len);

/* The preface and an empty SETTINGS by hand, and an acknowledgement of the server's. */
void h2_preface(struct h2_service *f);

/* HEADERS by hand: literal fields "name", "value", ..., NULL without Huffman. */
void h2_headers(struct h2_service *f, uint8_t flags, uint32_t id, const char *const *fields);

/* The frames that a client by hand got since the last call, as text: "settings|headers 1 end|". */
const char *h2_frames(struct h2_service *f);

/* ---- the service ---- */

void h2_send_head(struct h2_served *s, unsigned status, enum body_kind body, uint64_t length);
void h2_send_bytes(struct h2_served *s, const void *bytes, size_t n);
void h2_send_end(struct h2_served *s);
void h2_release(struct h2_served *s, enum reason reason);
void h2_answer(struct h2_served *s, const char *body);

#endif
