/* SPDX-License-Identifier: Apache-2.0 */
/* Causes in plain words. Constant data and text; any thread. */
#include "proxy/flight_cause.h"

#include <inttypes.h>
#include <stdio.h>

#include "proxy/base/check.h"

/* ---- what to do ---- */

#define BROKEN_CLIENT                                                                           \
    "The client does not speak HTTP as RFC 9110 to 9113 have it, so that endpoints might read " \
    "the request in another way than weir: mend the client."
#define LARGE_REQUEST "If such requests are fine, raise the bound under `limits`."
#define CLIENT_LEFT                                                                               \
    "Look at how long it had waited: a client that gives up has a timeout of its own, which the " \
    "endpoint has to answer within."
#define BROKEN_ENDPOINT                                                                        \
    "Look for this request id in the endpoint's log (weir sends it as X-Request-Id): what it " \
    "sent is no HTTP, or not what its head announced."
#define ENDPOINT_LEFT                                                                             \
    "Look in the endpoint's log at this time: it was stopped, crashed, or closed the connection " \
    "while weir used it. If it closes idle connections sooner than weir, lower `upstream.idle`."
#define FLOOD "The client does what attacks do; if it is yours, mend it."
#define OVERLOAD                                                                                 \
    "There is more load than the pool takes: add endpoints, or raise `max_requests` or `queue` " \
    "of the pool, if the endpoints bear it."

static const char *const advice[REASON_COUNT] = {
    [REASON_BAD_REQUEST_LINE] = BROKEN_CLIENT,
    [REASON_BAD_CONTENT_LENGTH] = BROKEN_CLIENT,
    [REASON_LENGTH_CONFLICT] = BROKEN_CLIENT,
    [REASON_BAD_TRANSFER_ENCODING] = BROKEN_CLIENT,
    [REASON_BAD_CHUNK] = BROKEN_CLIENT,
    [REASON_MISSING_HOST] = BROKEN_CLIENT,
    [REASON_TARGET_TOO_LONG] = LARGE_REQUEST,
    [REASON_HEAD_TOO_LARGE] = LARGE_REQUEST,
    [REASON_TOO_MANY_FIELDS] = LARGE_REQUEST,
    [REASON_BODY_TOO_LARGE] = LARGE_REQUEST,
    [REASON_CONNECT_METHOD] = "weir is no forward proxy: the client has to ask for a URL.",
    [REASON_HEAD_TIMEOUT] = "A slow client, or one that keeps connections busy on purpose; "
                            "`timeouts.request_head` is the bound.",
    [REASON_BODY_TIMEOUT] =
        "The client, or the network to it, stalled; `timeouts.request_body` is the bound.",
    [REASON_CLIENT_CLOSED] = CLIENT_LEFT,
    [REASON_CLIENT_RESET] = CLIENT_LEFT,
    [REASON_CLIENT_WRITE_STALL] =
        "The client, or the network to it, stalled; `timeouts.write_stall` is the bound.",
    [REASON_NO_ROUTE] = "See `weir check FILE --dump` for the routes: none has this host, path, "
                        "method and fields.",
    [REASON_NO_ENDPOINT] =
        "GET /pools of the admin listener tells why each endpoint is not usable: drained, down by "
        "its health checks, or without weight. Mend those, or undrain one.",
    [REASON_REQUEST_LIMIT] = OVERLOAD,
    [REASON_QUEUE_FULL] = OVERLOAD,
    [REASON_QUEUE_TIMEOUT] = OVERLOAD,
    [REASON_NO_POOL] = "The route sends a share of its requests nowhere: give that part a pool.",
    [REASON_RETRY_BUDGET] =
        "So many requests of the pool fail that no more are sent twice: mend what the attempts "
        "below failed for. `retry_budget` of the pool is the bound.",
    [REASON_CONNECT_REFUSED] =
        "Nothing listens at that address: start the service, or mend the address. With `health` "
        "in the pool, an endpoint that is down gets no requests.",
    [REASON_CONNECT_FAILED] =
        "There is no way to that address: look at the network, or at the socket's path and mode.",
    [REASON_NO_DESCRIPTORS] =
        "Raise the limit of open files (LimitNOFILE= of the unit), or lower `limits.connections`.",
    [REASON_NO_MEMORY] =
        "Give the machine or the container more memory, or lower `limits.connections`.",
    [REASON_CONNECT_TIMEOUT] =
        "The machine is off, a firewall drops packets, or the endpoint accepts nothing (its "
        "backlog is full); with TLS, its handshake hangs. `upstream.connect` is the bound.",
    [REASON_UPSTREAM_UNSENT] = ENDPOINT_LEFT,
    [REASON_UPSTREAM_RESET] = ENDPOINT_LEFT,
    [REASON_UPSTREAM_CLOSED] = ENDPOINT_LEFT,
    [REASON_UPSTREAM_REFUSED] =
        "The endpoint is over its own limit of streams, or about to stop: give it more room.",
    [REASON_UPSTREAM_FULL] =
        "The endpoint lowered its limit of streams (SETTINGS): raise it there.",
    [REASON_UPSTREAM_GOAWAY] = "The endpoint was stopped or restarted: it said so with GOAWAY.",
    [REASON_UPSTREAM_STREAM_RESET] =
        "Look for this request id in the endpoint's log: it ended the stream with RST_STREAM.",
    [REASON_UPSTREAM_CANCELLED] =
        "Look for this request id in the endpoint's log: it cancelled the stream.",
    [REASON_UPSTREAM_STATUS] =
        "Look for this request id in the endpoint's log: it answered with an error.",
    [REASON_UPSTREAM_UNAVAILABLE] =
        "Look for this request id in the endpoint's log: it said that it is unavailable.",
    [REASON_UPSTREAM_SILENT] =
        "The endpoint or the network to it hangs: it did not even answer a PING of HTTP/2.",
    [REASON_UPSTREAM_TLS_FAILED] =
        "weir's log has what is wrong: most often the endpoint's certificate is not signed by what "
        "`upstream.tls.ca` trusts, is not for its name (`upstream.tls.sni`), or has expired.",
    [REASON_UPSTREAM_WRONG_PROTOCOL] =
        "The endpoint does not speak HTTP/2: set `upstream.protocol` to h1 or auto.",
    [REASON_UPSTREAM_WRITE_STALL] =
        "The endpoint did not read the body: it hangs. `timeouts.write_stall` is the bound.",
    [REASON_RESPONSE_HEAD_TIMEOUT] =
        "The endpoint was too slow to answer: look for this request id in its log. "
        "`timeout.try` of the route and `timeouts.response_head` are the bounds.",
    [REASON_RESPONSE_IDLE_TIMEOUT] =
        "The endpoint hung in the middle of its answer; `timeouts.response_idle` is the bound.",
    [REASON_REQUEST_TIMEOUT] =
        "All attempts together took longer than `timeout.request` of the route, or than the gRPC "
        "caller's own deadline.",
    [REASON_BAD_RESPONSE] = BROKEN_ENDPOINT,
    [REASON_RESPONSE_HEAD_TOO_LARGE] =
        "Raise `limits.header_bytes`, or have the endpoint send less.",
    [REASON_RESPONSE_INCOMPLETE] = BROKEN_ENDPOINT,
    [REASON_TUNNEL_IDLE] = "Raise `timeouts.upgraded`, or have one side send a ping now and then.",
    [REASON_CONNECTION_LIMIT] = "Raise `limits.connections`, or look who holds that many.",
    [REASON_DRAINING] = "weir was shutting down.",
    [REASON_SHUTDOWN] = "weir was shut down, and the request took longer than `shutdown` allows.",
    [REASON_OUTRUN] = "Nothing: another endpoint's answer came first.",
    [REASON_INTERNAL] = "That is a bug of weir: report it with weir's log of that time.",
    [REASON_H2_STREAM_ERROR] = BROKEN_CLIENT,
    [REASON_H2_PROTOCOL_ERROR] = BROKEN_CLIENT,
};

const char *flight_reason_advice(enum reason reason)
{
    const struct reason_row *row = reason_row(reason);
    if (advice[reason] != NULL)
        return advice[reason];
    if (row->side == SIDE_CLIENT)
        return BROKEN_CLIENT;
    return row->side == SIDE_GONE ? FLOOD : "";
}

/* ---- who ---- */

const char *flight_ended_by(enum reason reason)
{
    switch (reason) {
    case REASON_DONE:
        return "nobody";
    case REASON_CLIENT_CLOSED:
    case REASON_CLIENT_RESET:
        return "client";
    case REASON_CONNECT_REFUSED:
    case REASON_UPSTREAM_UNSENT:
    case REASON_UPSTREAM_RESET:
    case REASON_UPSTREAM_CLOSED:
    case REASON_UPSTREAM_REFUSED:
    case REASON_UPSTREAM_GOAWAY:
    case REASON_UPSTREAM_STREAM_RESET:
    case REASON_UPSTREAM_CANCELLED:
    case REASON_UPSTREAM_STATUS:
    case REASON_UPSTREAM_UNAVAILABLE:
    case REASON_RESPONSE_INCOMPLETE:
        return "endpoint";
    default: /* what a peer sent too late, or against a rule, is ended by us */
        return "weir";
    }
}

/* ---- why ---- */

/* The last attempt, not a note; NULL: there was none. */
static const struct flight_leg *last_leg(const struct flight *f)
{
    for (unsigned i = f->n_legs; i > 0; i--)
        if (!f->legs[i - 1].note)
            return &f->legs[i - 1];
    return NULL;
}

static const struct flight_leg *first_failed(const struct flight *f)
{
    for (unsigned i = 0; i < f->n_legs; i++)
        if (f->legs[i].reason != REASON_DONE)
            return &f->legs[i];
    return NULL;
}

enum wait { WAIT_QUEUE, WAIT_ATTEMPTS, WAIT_CONNECT, WAIT_ANSWER };

/* Where most of the time went until the answer began. */
static enum wait longest(const struct flight *f, const struct flight_leg *leg, uint64_t *us)
{
    uint64_t head = f->head_us != 0 ? f->head_us : f->total_us;
    uint64_t queue = f->queued ? f->queue_us : 0;
    uint64_t up =
        leg->up_us != FLIGHT_NEVER && leg->up_us > leg->start_us ? leg->up_us : leg->start_us;
    uint64_t waits[] = {
        [WAIT_QUEUE] = queue,
        [WAIT_ATTEMPTS] = leg->start_us > queue ? leg->start_us - queue : 0,
        [WAIT_CONNECT] = up - leg->start_us,
        [WAIT_ANSWER] = head > up ? head - up : 0,
    };
    enum wait most = WAIT_QUEUE;
    for (unsigned i = 1; i < ARRAY_LEN(waits); i++)
        if (waits[i] >= waits[most])
            most = (enum wait)i;
    *us = waits[most];
    return most;
}

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static void cause_of_slow(const struct flight *f, char *out)
{
    static const char *const phases[] = {
        [WAIT_QUEUE] = "waiting for its turn in the queue of its pool, before",
        [WAIT_ATTEMPTS] = "what came before the attempt at",
        [WAIT_CONNECT] = "connecting to",
        [WAIT_ANSWER] = "waiting for the answer of",
    };
    const struct flight_leg *leg = last_leg(f);
    uint64_t us, head = f->head_us != 0 ? f->head_us : f->total_us;
    if (leg == NULL) {
        snprintf(out, FLIGHT_CAUSE_TEXT, "it took %.1f ms", ms(head));
        return;
    }
    enum wait most = longest(f, leg, &us);
    struct span to = flight_endpoint(f, leg);
    snprintf(out, FLIGHT_CAUSE_TEXT,
             "the answer began after %.1f ms, of which %.1f ms went into %s %.*s", ms(head), ms(us),
             phases[most], (int)to.len, to.ptr);
}

static void cause_of_retried(const struct flight *f, char *out)
{
    const struct flight_leg *failed = first_failed(f), *last = last_leg(f);
    if (failed == NULL || last == NULL) {
        snprintf(out, FLIGHT_CAUSE_TEXT, "it took more than one attempt");
        return;
    }
    struct span from = flight_endpoint(f, failed), to = flight_endpoint(f, last);
    if (failed->reason == REASON_OUTRUN)
        snprintf(out, FLIGHT_CAUSE_TEXT,
                 "%.*s was slow to answer, so that another endpoint was asked as well, and one "
                 "of them answered",
                 (int)from.len, from.ptr);
    else
        snprintf(out, FLIGHT_CAUSE_TEXT, "the attempt at %.*s failed (%s), and %.*s answered",
                 (int)from.len, from.ptr, reason_row((enum reason)failed->reason)->text,
                 (int)to.len, to.ptr);
}

/* "the upstream refused the connection (at 10.0.0.1:80)" */
static void cause_of_reason(const struct flight *f, char *out)
{
    const struct reason_row *row = reason_row((enum reason)f->reason);
    const struct flight_leg *leg = last_leg(f);
    struct span pool = flight_text(f, FLIGHT_POOL);
    int n = snprintf(out, FLIGHT_CAUSE_TEXT, "%s", row->text);
    char *at = out + n;
    size_t room = FLIGHT_CAUSE_TEXT - (size_t)n;
    struct span to = leg != NULL ? flight_endpoint(f, leg) : span_of(NULL, 0);
    if (row->side == SIDE_UPSTREAM && leg != NULL)
        n = snprintf(at, room, " (at %.*s)", (int)to.len, to.ptr);
    else if (row->side == SIDE_GONE && leg != NULL && f->head_us == 0)
        n = snprintf(at, room, " while %.*s had yet to answer, for %.1f ms", (int)to.len, to.ptr,
                     ms(f->total_us - leg->start_us));
    else if (row->side == SIDE_WEIR && pool.len > 0)
        n = snprintf(at, room, " (pool %.*s)", (int)pool.len, pool.ptr);
    else
        return;
    if (f->cut && row->side == SIDE_UPSTREAM)
        snprintf(at + n, room - (size_t)n, " in the middle of its answer, which was cut");
}

const char *flight_cause(const struct flight *f, char out[FLIGHT_CAUSE_TEXT])
{
    const struct flight_leg *leg = last_leg(f);
    if (f->kind == FLIGHT_SLOW) {
        cause_of_slow(f, out);
    } else if (f->kind == FLIGHT_RETRIED) {
        cause_of_retried(f, out);
    } else if (f->reason == REASON_DONE && leg != NULL) {
        struct span to = flight_endpoint(f, leg);
        snprintf(out, FLIGHT_CAUSE_TEXT, "%.*s itself answered %u, and weir passed that on",
                 (int)to.len, to.ptr, f->status);
    } else {
        cause_of_reason(f, out);
    }
    return out;
}

const char *flight_advice(const struct flight *f)
{
    static const char *const waits[] = {
        [WAIT_QUEUE] = OVERLOAD,
        [WAIT_ATTEMPTS] = "Mend what the attempts before failed for.",
        [WAIT_CONNECT] = "Look at the network, and at whether the endpoint is too busy to accept.",
        [WAIT_ANSWER] = ("Look for this request id in the endpoint's log (weir sends it as "
                         "X-Request-Id)."),
    };
    const struct flight_leg *leg = last_leg(f), *failed = first_failed(f);
    uint64_t us;
    if (f->kind == FLIGHT_SLOW)
        return leg != NULL ? waits[longest(f, leg, &us)] : "";
    if (f->kind == FLIGHT_RETRIED)
        return failed != NULL ? flight_reason_advice((enum reason)failed->reason) : "";
    if (f->reason == REASON_DONE)
        return flight_reason_advice(REASON_UPSTREAM_STATUS);
    return flight_reason_advice((enum reason)f->reason);
}
