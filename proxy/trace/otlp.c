/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From records of requests to spans: one of the kind SERVER for the request, and below it one of
 * the kind CLIENT for each attempt. Owns nothing; must never write what would not be valid OTLP.
 */
#include "proxy/trace/otlp.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/flight_cause.h"

/* What closes a batch: the lists of spans, of scopes and of resources, and what they are in. */
#define CLOSING       "]}],\"schemaUrl\":\"" SCHEMA_URL "\"}]}"
#define SCHEMA_URL    "https://opentelemetry.io/schemas/1.27.0"
#define CLOSING_BYTES (sizeof(CLOSING) - 1)

enum span_kind { KIND_SERVER = 2, KIND_CLIENT = 3 };

enum span_flags {
    FLAG_SAMPLED = 1,
    FLAG_REMOTE_KNOWN = 1 << 8, /* it is known whether the parent is elsewhere */
    FLAG_REMOTE = 1 << 9,       /* it is */
};

#define STATUS_ERROR 2

/* ---- values ---- */

static void put_text(struct json *j, const char *key, struct span text)
{
    json_key(j, key);
    json_string(j, text);
}

static void begin_attribute(struct json *j, const char *key, const char *type)
{
    json_object_begin(j);
    put_text(j, "key", span_str(key));
    json_key(j, "value");
    json_object_begin(j);
    json_key(j, type);
}

static void end_attribute(struct json *j)
{
    json_object_end(j);
    json_object_end(j);
}

static void attribute(struct json *j, const char *key, struct span text)
{
    begin_attribute(j, key, "stringValue");
    json_string(j, text);
    end_attribute(j);
}

/* Only if there is something to say. */
static void attribute_if(struct json *j, const char *key, struct span text)
{
    if (text.len > 0)
        attribute(j, key, text);
}

#define DECIMAL 20

/* The digits of n, and so many zeros. */
static struct span decimal(uint64_t n, unsigned zeros, char out[DECIMAL + 3])
{
    char *end = out + DECIMAL + 3, *at = end;
    while (zeros-- > 0)
        *--at = '0';
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return span_of(at, (size_t)(end - at));
}

/* 64-bit integers are strings. */
static void attribute_int(struct json *j, const char *key, uint64_t n)
{
    char text[DECIMAL + 3];
    begin_attribute(j, key, "intValue");
    json_string(j, decimal(n, 0, text));
    end_attribute(j);
}

static void attribute_true(struct json *j, const char *key, bool is)
{
    if (!is)
        return;
    begin_attribute(j, key, "boolValue");
    json_bool(j, true);
    end_attribute(j);
}

static void put_time(struct json *j, const char *key, uint64_t us)
{
    char text[DECIMAL + 3];
    put_text(j, key, decimal(us, 3, text));
}

/* ---- what a URL and an address are made of ---- */

/* "a:1", "[::1]:1", "a": host and, if there is one, port. */
static struct span split_port(struct span address, struct span *port)
{
    const char *colon = address.len > 0 ? memrchr(address.ptr, ':', address.len) : NULL;
    bool bare_v6 =
        colon != NULL && memchr(address.ptr, ':', address.len) != colon && address.ptr[0] != '[';
    *port = span_of(NULL, 0);
    if (colon != NULL && !bare_v6 &&
        (colon == address.ptr || colon[-1] == ']' || address.ptr[0] != '[')) {
        *port = span_of(colon + 1, (size_t)(address.ptr + address.len - colon) - 1);
        address.len = (size_t)(colon - address.ptr);
    }
    if (address.len >= 2 && address.ptr[0] == '[' && address.ptr[address.len - 1] == ']')
        address = span_of(address.ptr + 1, address.len - 2);
    return address;
}

static uint64_t number_of(struct span digits)
{
    uint64_t n = 0;
    for (size_t i = 0; i < digits.len && n <= 65535; i++)
        n = digits.ptr[i] >= '0' && digits.ptr[i] <= '9' ? n * 10 + (uint64_t)(digits.ptr[i] - '0')
                                                         : 65536;
    return n;
}

static bool is_unix(struct span address)
{
    return span_starts(address, SPAN_LIT("unix:"));
}

static void put_address(struct json *j, struct span address, const char *host_key,
                        const char *port_key)
{
    struct span port, host;
    if (is_unix(address)) {
        attribute_if(j, host_key, span_of(address.ptr + 5, address.len - 5));
        return;
    }
    host = split_port(address, &port);
    attribute_if(j, host_key, host);
    if (host.len > 0 && port.len > 0 && number_of(port) <= 65535)
        attribute_int(j, port_key, number_of(port));
}

static struct span split_query(struct span target, struct span *query)
{
    const char *mark = target.len > 0 ? memchr(target.ptr, '?', target.len) : NULL;
    *query = span_of(NULL, 0);
    if (mark == NULL)
        return target;
    *query = span_of(mark + 1, (size_t)(target.ptr + target.len - mark) - 1);
    return span_of(target.ptr, (size_t)(mark - target.ptr));
}

/* ---- attributes that both kinds have ---- */

/* Those of RFC 9110 section 9 and of RFC 5789. */
static bool is_known_method(struct span method)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (span_eq(method, span_str(known[i])))
            return true;
    return false;
}

static void put_method(struct json *j, struct span method)
{
    bool known = is_known_method(method);
    attribute(j, "http.request.method", known ? method : SPAN_LIT("_OTHER"));
    if (!known)
        attribute_if(j, "http.request.method_original", method);
}

static void put_version(struct json *j, unsigned version)
{
    if (version != 0)
        attribute(j, "network.protocol.version",
                  version == 20   ? SPAN_LIT("2")
                  : version == 10 ? SPAN_LIT("1.0")
                                  : SPAN_LIT("1.1"));
}

static void put_error_type(struct json *j, uint16_t reason, unsigned status)
{
    char text[DECIMAL + 3];
    bool said = reason == REASON_DONE || reason == REASON_UPSTREAM_STATUS ||
                reason == REASON_UPSTREAM_UNAVAILABLE;
    attribute(j, "error.type",
              said && status != 0 ? decimal(status, 0, text)
                                  : span_str(reason_row((enum reason)reason)->name));
}

static void put_reason(struct json *j, uint16_t reason)
{
    if (reason != REASON_DONE)
        attribute(j, "weir.reason", span_str(reason_row((enum reason)reason)->name));
}

static void put_error(struct json *j, struct span message)
{
    json_key(j, "status");
    json_object_begin(j);
    if (message.len > 0)
        put_text(j, "message", message);
    json_key(j, "code");
    json_u64(j, STATUS_ERROR);
    json_object_end(j);
}

/* ---- the request ---- */

struct interval {
    uint64_t from_us, to_us; /* Unix time */
};

static void put_span_head(struct json *j, const struct trace_record *record, struct span id,
                          struct span parent, enum span_kind kind, struct span name,
                          struct interval at)
{
    const struct flight *f = &record->flight;
    struct span state = trace_record_state(record);
    unsigned remote = kind == KIND_SERVER && parent.len > 0 ? FLAG_REMOTE : 0;
    put_text(j, "traceId", span_of(f->trace.id, sizeof(f->trace.id)));
    put_text(j, "spanId", id);
    if (parent.len > 0)
        put_text(j, "parentSpanId", parent);
    if (state.len > 0)
        put_text(j, "traceState", state);
    json_key(j, "flags");
    json_u64(j, FLAG_SAMPLED | FLAG_REMOTE_KNOWN | remote);
    put_text(j, "name", name);
    json_key(j, "kind");
    json_u64(j, kind);
    put_time(j, "startTimeUnixNano", at.from_us);
    put_time(j, "endTimeUnixNano", at.to_us);
}

/* Of few values: a method, with the route's name; as long as the record and out. */
static struct span name_of(const struct flight *f, bool with_route, char out[128])
{
    struct span method = flight_text(f, FLIGHT_METHOD), route = flight_text(f, FLIGHT_ROUTE);
    if (!is_known_method(method))
        method = SPAN_LIT("HTTP");
    if (!with_route || route.len == 0)
        return method;
    int len =
        snprintf(out, 128, "%.*s %.*s", (int)method.len, method.ptr, (int)route.len, route.ptr);
    return span_of(out, (size_t)len);
}

/* That the client was sent. 499 is what the log calls that there was none. */
static unsigned status_sent(const struct flight *f)
{
    bool gone = reason_row((enum reason)f->reason)->side == SIDE_GONE;
    return gone && f->status == 499 ? 0 : f->status;
}

static void put_times(struct json *j, const struct flight *f)
{
    if (f->queued)
        attribute_int(j, "weir.queue_us", f->queue_us);
    if (f->head_us != 0)
        attribute_int(j, "weir.first_byte_us", f->head_us);
}

static void put_request(struct json *j, const struct trace_record *record)
{
    const struct flight *f = &record->flight;
    struct span query, path = split_query(flight_text(f, FLIGHT_PATH), &query);
    put_method(j, flight_text(f, FLIGHT_METHOD));
    attribute(j, "url.scheme", record->https ? SPAN_LIT("https") : SPAN_LIT("http"));
    attribute(j, "url.path", path);
    attribute_if(j, "url.query", query);
    attribute_if(j, "http.route", flight_text(f, FLIGHT_ROUTE));
    put_address(j, flight_text(f, FLIGHT_HOST), "server.address", "server.port");
    put_address(j, flight_text(f, FLIGHT_PEER), "client.address", "client.port");
    put_address(j, flight_text(f, FLIGHT_PEER), "network.peer.address", "network.peer.port");
    put_version(j, f->protocol);
    attribute_if(j, "user_agent.original", trace_record_agent(record));
}

static void put_own(struct json *j, const struct flight *f)
{
    attribute_if(j, "weir.request_id", flight_text(f, FLIGHT_ID));
    attribute_if(j, "weir.listener", flight_text(f, FLIGHT_LISTENER));
    attribute_if(j, "weir.pool", flight_text(f, FLIGHT_POOL));
    attribute_int(j, "weir.attempts", f->attempts);
    put_times(j, f);
    attribute_true(j, "weir.texts_cut", f->short_texts);
    if (f->legs_lost > 0)
        attribute_int(j, "weir.attempts_left_out", f->legs_lost);
    put_reason(j, f->reason);
}

static void put_server_span(struct json *j, const struct trace_record *record)
{
    const struct flight *f = &record->flight;
    char name[128], cause[FLIGHT_CAUSE_TEXT];
    unsigned status = status_sent(f);
    bool failed = f->reason != REASON_DONE, theirs = status >= 400 && status < 500;
    bool error = status >= 500 || (failed && !theirs);
    struct span parent =
        span_of(f->trace.parent, f->trace.has_parent ? sizeof(f->trace.parent) : 0);
    struct interval at = {f->time_us, f->time_us + f->total_us};
    struct span why = failed ? span_str(flight_cause(f, cause)) : span_of(NULL, 0);
    json_object_begin(j);
    put_span_head(j, record, span_of(f->trace.span, sizeof(f->trace.span)), parent, KIND_SERVER,
                  name_of(f, true, name), at);
    json_key(j, "attributes");
    json_array_begin(j);
    put_request(j, record);
    if (status != 0)
        attribute_int(j, "http.response.status_code", status);
    if (error)
        put_error_type(j, f->reason, status);
    put_own(j, f);
    attribute_if(j, "weir.cause", why);
    json_array_end(j);
    if (error)
        put_error(j, why);
    json_object_end(j);
}

/* ---- its attempts ---- */

/* A time of a leg: those that stand still at over 71 minutes are those of the request's end. */
static uint64_t leg_time(const struct flight *f, uint32_t us)
{
    uint64_t at = us < FLIGHT_NEVER - 1 ? us : f->total_us;
    return f->time_us + (at < f->total_us ? at : f->total_us);
}

static void put_url(struct json *j, const struct flight *f, const struct flight_leg *leg)
{
    struct span at = flight_endpoint(f, leg), path = flight_text(f, FLIGHT_PATH);
    char url[sizeof("https://") + 2 * FLIGHT_BYTES];
    if (is_unix(at)) /* there is no URL of it: the host is that of the request */
        at = flight_text(f, FLIGHT_HOST);
    int len = snprintf(url, sizeof(url), "%s://%.*s%.*s", leg->tls ? "https" : "http", (int)at.len,
                       at.ptr, (int)path.len, path.ptr);
    CHECK(len > 0 && (size_t)len < sizeof(url));
    attribute(j, "url.full", span_of(url, (size_t)len));
}

static void put_attempt(struct json *j, const struct flight *f, const struct flight_leg *leg,
                        unsigned resent)
{
    struct span endpoint = flight_endpoint(f, leg);
    put_method(j, flight_text(f, FLIGHT_METHOD));
    put_url(j, f, leg);
    put_address(j, endpoint, "server.address", "server.port");
    put_address(j, flight_address(f, leg), "network.peer.address", "network.peer.port");
    put_version(j, leg->version);
    if (is_unix(endpoint))
        attribute(j, "network.transport", SPAN_LIT("unix"));
    if (resent > 0)
        attribute_int(j, "http.request.resend_count", resent);
    if (leg->status != 0)
        attribute_int(j, "http.response.status_code", leg->status);
    attribute(j, "weir.endpoint", endpoint);
    attribute_if(j, "weir.pool", flight_text(f, FLIGHT_POOL));
    attribute_true(j, "weir.hedge", leg->hedge);
    attribute_true(j, "weir.reused", leg->reused);
    if (leg->up_us != FLIGHT_NEVER && leg->up_us > leg->start_us)
        attribute_int(j, "weir.connect_us", leg->up_us - leg->start_us);
    if (leg->head_us != FLIGHT_NEVER)
        attribute_int(j, "weir.first_byte_us", leg->head_us - leg->start_us);
    put_reason(j, leg->reason);
}

static void put_client_span(struct json *j, const struct trace_record *record,
                            const struct flight_leg *leg, unsigned resent)
{
    const struct flight *f = &record->flight;
    char id[17], name[128];
    /* One that was outrun by a second one has not failed. */
    bool error = leg->status >= 400 || (leg->reason != REASON_DONE && leg->reason != REASON_OUTRUN);
    struct interval at = {leg_time(f, leg->start_us), leg_time(f, leg->end_us)};
    snprintf(id, sizeof(id), "%016llx", (unsigned long long)leg->span);
    json_object_begin(j);
    put_span_head(j, record, span_of(id, 16), span_of(f->trace.span, sizeof(f->trace.span)),
                  KIND_CLIENT, name_of(f, false, name), at);
    json_key(j, "attributes");
    json_array_begin(j);
    put_attempt(j, f, leg, resent);
    if (error)
        put_error_type(j, leg->reason, leg->status);
    json_array_end(j);
    if (error)
        put_error(j, leg->reason != REASON_DONE
                         ? span_str(reason_row((enum reason)leg->reason)->text)
                         : span_of(NULL, 0));
    json_object_end(j);
}

static void put_spans(struct json *j, const struct trace_record *record)
{
    const struct flight *f = &record->flight;
    unsigned resent = 0;
    put_server_span(j, record);
    for (unsigned i = 0; i < f->n_legs; i++)
        if (!f->legs[i].note)
            put_client_span(j, record, &f->legs[i], resent++);
}

/* ---- batches ---- */

static void put_named(struct json *j, const char *key, const char *name, const char *version)
{
    json_key(j, key);
    json_object_begin(j);
    put_text(j, "name", span_str(name));
    put_text(j, "version", span_str(version));
    json_object_end(j);
}

void otlp_begin(struct otlp_batch *batch, char *buf, size_t size,
                const struct otlp_resource *resource)
{
    struct json *j = &batch->json;
    CHECK(size >= OTLP_BATCH_MIN);
    *batch = (struct otlp_batch){0};
    json_init(j, buf, size - CLOSING_BYTES);
    json_object_begin(j);
    json_key(j, "resourceSpans");
    json_array_begin(j);
    json_object_begin(j);
    json_key(j, "resource");
    json_object_begin(j);
    json_key(j, "attributes");
    json_array_begin(j);
    attribute(j, "service.name", span_str(resource->service));
    attribute(j, "service.instance.id", span_str(resource->instance));
    attribute(j, "service.version", span_str(resource->version));
    json_array_end(j);
    json_object_end(j);
    json_key(j, "scopeSpans");
    json_array_begin(j);
    json_object_begin(j);
    put_named(j, "scope", "weir", resource->version);
    json_key(j, "spans");
    json_array_begin(j);
    CHECK(!json_truncated(j));
}

bool otlp_add(struct otlp_batch *batch, const struct trace_record *record)
{
    struct json before = batch->json;
    put_spans(&batch->json, record);
    if (!json_truncated(&batch->json)) {
        batch->spans += trace_record_spans(record);
        return true;
    }
    batch->json = before;
    return false;
}

struct span otlp_end(struct otlp_batch *batch)
{
    struct json *j = &batch->json;
    j->cap += CLOSING_BYTES;
    json_raw(j, CLOSING, CLOSING_BYTES);
    CHECK(!json_truncated(j));
    return json_text(j);
}
