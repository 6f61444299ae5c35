/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that weir itself sends, over its own client stack: to the API server of Kubernetes, to
 * etcd, to a collector of traces. A client is one server and how to speak to it; a fetch is one
 * request of it with its answer, which comes in pieces of any size as it arrives. Nothing waits and
 * nothing is kept: what an answer may grow to is its reader's to say (or fetch_whole's).
 *
 *   client -> address lookups (dns_channel.h)      the control thread, or whoever has a reactor
 *          -> fetch -> h1_client, one conn for each
 *
 * HTTP/1.1; one conn for each fetch, whose TLS session is resumed. Redirects are not followed and
 * nothing is tried again, but for the next address of a name that could not be connected to.
 *
 *   struct fetch_client *client = fetch_client_new(reactor, &url);
 *   if (url.tls && !fetch_client_secure(client, &(struct fetch_tls){.ca_file = "ca.crt"}, &error))
 *       ...
 *   struct fetch *fetch = fetch_begin(client,
 *       &(struct fetch_request){.method = SPAN_LIT("GET"), .target = SPAN_LIT("/api?watch=1")},
 *       &events, self);
 *   ...
 *   fetch_cancel(TAKE(fetch));     // unless it has ended
 *   fetch_client_end(client);
 */
#ifndef WEIR_UPSTREAM_FETCH_H
#define WEIR_UPSTREAM_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"
#include "proxy/net/reactor.h"
#include "proxy/upstream/fetch_url.h"

struct fetch_client;
struct fetch;

/* ---- the server ---- */

/* What TLS needs. Files are read when fetch_client_secure is called, and not again. PEM texts go
 * before files. */
struct fetch_tls {
    const char *ca_file;   /* NULL, and no ca_pem: the system's authorities */
    const char *cert_file; /* weir's own certificate; NULL, and no cert_pem: none */
    const char *key_file;  /* NULL: in cert_file or beside it */
    struct span ca_pem;    /* the text itself; empty: none */
    struct span cert_pem;  /* both or neither */
    struct span key_pem;
    const char *server_name; /* that the certificate must be for; NULL: the URL's host */
    bool no_verify;          /* any certificate will do */
};

/* Never NULL. The URL is copied. With https nothing is fetched before fetch_client_secure. */
struct fetch_client *fetch_client_new(struct reactor *r, const struct fetch_url *url);

/* From the next fetch on TLS is spoken so: before the first, and again whenever the files have
 * changed. False with *error set to malloc'd text of one line that names the file: all is as it was
 * before. */
bool fetch_client_secure(struct fetch_client *client, const struct fetch_tls *tls, char **error);

/* Whether fetch_client_secure has worked once, or the URL needs none. */
bool fetch_client_ready(const struct fetch_client *client);

/* Cancels its fetches, without their events. Frees itself once the loop has run. NULL is fine. */
void fetch_client_end(struct fetch_client *client);

/* ---- a request ---- */

struct fetch_field {
    struct span name, value;
};

/* Read, and copied, by fetch_begin. Host, User-Agent and Content-Length are written by themselves.
 */
struct fetch_request {
    struct span method; /* "GET", "POST", ... */
    struct span target; /* behind the URL's path: "/v3/kv/range?x=y"; begins with '/' */
    const struct fetch_field *fields;
    size_t n_fields;
    struct span body;
    uint32_t connect_ms; /* for the name, the conn and TLS; 0: 5 s */
    uint32_t idle_ms;    /* that the server may be silent; 0: 30 s */
    uint32_t head_ms;    /* ... before its answer begins; 0: as long */
    uint32_t total_ms;   /* for all of it; 0: any time, as for a watch */
};

struct fetch_head {
    unsigned status;
    struct span content_type; /* empty: none; valid during the call */
    uint32_t retry_after_ms;  /* 0: none was said, or not in seconds */
};

/* All from the loop, never from within fetch_begin; the fetch, or its client, may be cancelled in
 * any of them. */
struct fetch_events {
    /* The final head, once. NULL: of no interest. */
    void (*head)(void *ctx, const struct fetch_head *head);
    /* Bytes of the body, valid during the call; at least one. */
    void (*data)(void *ctx, struct span bytes);
    /* The last word. why NULL: the answer is complete. Else why there will be no more: one line for
     * people, that says what to do if there is something ("cannot connect to 10.0.0.1:6443:
     * connection refused"). The fetch is gone. */
    void (*end)(void *ctx, const char *why);
    /* Also of one that was cancelled, once nothing refers to ctx any more. NULL: of no interest. */
    void (*gone)(void *ctx);
};

/* Never NULL; what fails at once is told from the loop as everything else. */
struct fetch *fetch_begin(struct fetch_client *client, const struct fetch_request *request,
                          const struct fetch_events *events, void *ctx);

/* No event follows. NULL is fine; not for one that has ended. */
void fetch_cancel(struct fetch *fetch);

/* ---- a small answer as a whole ---- */

struct fetch_answer {
    const char *why; /* NULL: it is complete, whatever its status; else as in fetch_events.end */
    struct fetch_head head;
    struct span body; /* valid during the call; NUL behind it */
};

/* As fetch_begin, for answers of at most max bytes; fn is called once, at the end. A larger answer
 * has failed. Cancelled in the same way. */
struct fetch *fetch_whole(struct fetch_client *client, const struct fetch_request *request,
                          size_t max, void (*fn)(void *ctx, const struct fetch_answer *answer),
                          void *ctx);

#endif
