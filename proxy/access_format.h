/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of the access log: what is known of an exchange, and how it is laid out.
 *
 * A format is compiled once into a list of steps; writing a line walks it. Method, host, path and
 * everything else that a client or an upstream chose is escaped in every format, so that one record
 * is one line and a field ends where the format ends it. Pure; a compiled format is read-only and
 * may be shared by threads, the clock belongs to one.
 */
#ifndef WEIR_PROXY_ACCESS_FORMAT_H
#define WEIR_PROXY_ACCESS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/json.h"
#include "proxy/base/span.h"

/* Only borrowed for the call. An empty span is "" in JSON and "-" elsewhere. */
struct access_record {
    uint64_t time_us; /* Unix time of the request's start */
    struct span id;
    struct span client; /* "127.0.0.1:5123", "[::1]:5123", "unix:" */
    struct span listener;
    struct span method;
    struct span host;
    struct span path; /* with the query */
    struct span protocol;
    struct span route;
    struct span pool;
    struct span endpoint;
    struct span reason;  /* the name, empty if all went well */
    struct span trail;   /* one entry an attempt that failed, separated by '\n' */
    struct span referer; /* the request's fields; only clf and templates show them */
    struct span user_agent;
    struct span trace_id, span_id, parent_id; /* the same */
    uint32_t attempts;
    uint32_t status;
    uint64_t bytes_in, bytes_out; /* of bodies */
    uint64_t queue_us, connect_us, first_byte_us, total_us;
};

/* The second that was last formatted. Zeroed is fine; one a thread. */
struct access_clock {
    uint64_t key; /* that second of Unix time plus one; 0: none yet */
    char iso[21]; /* 2026-11-22T10:00:00. */
    char clf[27]; /* 22/Nov/2026:10:00:00 +0000 */
};

struct access_format;

/*
 * text is "json", "clf" (Apache's combined log format) or a template: any text with {field}
 * placeholders, named as in the JSON plus {referer}, {user_agent}, {trace_id},
 * {span_id} and {parent_id}; "{{" is a brace. NULL with a
 * message in err (which gives the position, counted from 1, of what is wrong) for an unknown field,
 * an unclosed brace, a control character other than TAB, or a text without any field.
 */
struct access_format *access_format_new(const char *text, char *err, size_t err_len);
/* json with these fields only, in this order. */
struct access_format *access_format_json(const char *const *names, size_t n, char *err,
                                         size_t err_len);

void access_format_free(struct access_format *format);

/* Appends the line with its '\n' to out; on json_truncated(out) the line is not whole. */
void access_format_line(const struct access_format *format, const struct access_record *record,
                        struct access_clock *clock, struct json *out);

#endif
