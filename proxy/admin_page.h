/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the admin's pages have in common: who asks, and how to answer. A page is a row of the table
 * in admin.c and a function in a file of its own. Control thread.
 */
#ifndef WEIR_ADMIN_PAGE_H
#define WEIR_ADMIN_PAGE_H

#include "proxy/admin.h"
#include "proxy/base/json.h"
#include "proxy/http/stream.h"

/* One request for a page. The head is the stream's, and lives as long as that. */
struct admin_ask {
    struct admin *admin;
    struct reactor *reactor;
    const struct admin_view *view;
    struct stream *stream;
    struct http_head *request;
    const struct http_peer *peer;
};

/* Answers in plain text, of at most 511 bytes. */
void admin_say(const struct admin_ask *ask, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with a field more. */
struct reply_field;
void admin_refuse(const struct admin_ask *ask, unsigned status, const struct reply_field *field,
                  const char *text);

/* Answers with a text of any length. */
void admin_text(const struct admin_ask *ask, unsigned status, struct span type, struct span text);

/* The same, with a policy of its own for what a browser may do with it. */
void admin_document(const struct admin_ask *ask, struct span type, struct span text,
                    struct span policy);

/* Answers with what write writes, however long: it is called again with more room if there was too
 * little. */
void admin_json(const struct admin_ask *ask, unsigned status,
                void (*write)(struct json *, const void *ctx), const void *ctx);

/* Is that the segment of a path, once it is percent-decoded? */
bool admin_segment_is(struct span segment, struct span text);

/* Somebody who is answered later: embedded in whatever remembers what for. */
struct admin_waiter {
    struct admin *admin;
    struct reactor *reactor;
    const struct admin_view *view;
    struct stream *stream;               /* NULL: the client has gone */
    void (*gone)(struct admin_waiter *); /* it just has; may free the waiter */
};

/* From now on the stream is the waiter's. */
void admin_wait(const struct admin_ask *ask, struct admin_waiter *w,
                void (*gone)(struct admin_waiter *));

/* To answer it with; its client is still there. */
struct admin_ask admin_waiter_ask(const struct admin_waiter *w);

/* It was answered, or never will be; fine if the client has gone. */
void admin_waiter_end(struct admin_waiter *w, enum reason reason);

/* Percent-decoded as forms are, a NUL staying as it is, into out with a NUL behind it; of what is
 * longer than the room, its beginning. */
void admin_decode(struct span from, char *out, size_t room);

/* The value of the next parameter of the name in a query, which is then what follows it, percent-
 * decoded into out with a NUL; of one that is longer than the room, its beginning. False: there is
 * none. */
bool admin_parameter(struct span *query, const char *name, char *out, size_t room);

#endif
