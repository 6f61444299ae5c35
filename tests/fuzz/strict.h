/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second reader of HTTP/1, whole messages at a time, that shares no code and no library with
 * weir's: what weir takes for one message and this for two is request smuggling. It follows RFC
 * 9112 and nothing else; what weir may forgive a client (empty lines before a request, chunk
 * extensions) is an option. Pure; any thread.
 */
#ifndef WEIR_TESTS_STRICT_H
#define WEIR_TESTS_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRICT_FIELDS 300

enum strict_verdict {
    STRICT_MORE, /* right so far */
    STRICT_WHOLE,
    STRICT_BAD,
};

enum strict_body { STRICT_NONE, STRICT_LENGTH, STRICT_CHUNKED, STRICT_CLOSE, STRICT_TUNNEL };

struct strict_text {
    const char *at;
    size_t len;
};

struct strict_field {
    struct strict_text name, value;
};

struct strict_options {
    bool forgiving; /* takes what weir forgives a client */
    bool to_head;   /* responses: this one answers HEAD */
    bool to_upgrade;
    bool ended; /* the sender's end came behind the bytes */
};

struct strict_msg {
    struct strict_text method, target; /* requests */
    unsigned status, minor;
    struct strict_field fields[STRICT_FIELDS], trailers[STRICT_FIELDS];
    size_t n_fields, n_trailers;
    bool head; /* the head is whole */
    enum strict_body kind;
    uint64_t length;   /* Content-Length */
    char *body;        /* decoded, as far as it is there; strict_free gives it back */
    size_t body_len;   /* of a tunnel: nothing */
    size_t len;        /* of the message on the wire */
    const char *wrong; /* why it is bad */
};

enum strict_verdict strict_request(const char *wire, size_t n, struct strict_options options,
                                   struct strict_msg *m);
enum strict_verdict strict_response(const char *wire, size_t n, struct strict_options options,
                                    struct strict_msg *m);
void strict_free(struct strict_msg *m);

/* The value of the only field of the name, in any case; at is NULL if there is none or several. */
struct strict_text strict_field(const struct strict_msg *m, const char *name);

bool strict_is(struct strict_text text, const char *s);

#endif
