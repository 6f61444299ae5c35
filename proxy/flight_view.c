/* SPDX-License-Identifier: Apache-2.0 */
/* How flight records are shown. Owns nothing; any thread. */
#include "proxy/flight_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "proxy/base/check.h"
#include "proxy/flight_cause.h"

#define TIME_TEXT 32

static const char *time_text(uint64_t time_us, char out[TIME_TEXT])
{
    time_t t = (time_t)(time_us / 1000000);
    struct tm tm;
    gmtime_r(&t, &tm);
    size_t n = strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, TIME_TEXT - n, ".%03uZ", (unsigned)(time_us / 1000 % 1000));
    return out;
}

static const char *protocol_text(const struct flight *f)
{
    if (f->protocol == 20)
        return "HTTP/2.0";
    return f->protocol == 10 ? "HTTP/1.0" : "HTTP/1.1";
}

/* As in the access log: nothing if all went well. */
static const char *reason_text(uint16_t reason)
{
    return reason == REASON_DONE ? "" : reason_row((enum reason)reason)->name;
}

/* ---- JSON ---- */

static void put_text(struct json *j, const char *key, struct span text)
{
    json_key(j, key);
    json_string(j, text);
}

static void put_cstring(struct json *j, const char *key, const char *text)
{
    put_text(j, key, span_str(text));
}

static void put_u64(struct json *j, const char *key, uint64_t n)
{
    json_key(j, key);
    json_u64(j, n);
}

static void put_bool(struct json *j, const char *key, bool is)
{
    json_key(j, key);
    json_bool(j, is);
}

/* null: it did not come to that. */
static void put_us(struct json *j, const char *key, bool there, uint64_t us)
{
    json_key(j, key);
    if (there)
        json_u64(j, us);
    else
        json_null(j);
}

static struct span endpoint_of(const struct flight *f)
{
    for (unsigned i = f->n_legs; i > 0; i--)
        if (!f->legs[i - 1].note)
            return flight_endpoint(f, &f->legs[i - 1]);
    return span_of(NULL, 0);
}

static void put_summary(struct json *j, const struct flight *f, unsigned worker)
{
    char time[TIME_TEXT];
    put_text(j, "id", flight_text(f, FLIGHT_ID));
    put_cstring(j, "time", time_text(f->time_us, time));
    put_u64(j, "worker", worker);
    put_cstring(j, "kind", flight_kind_name((enum flight_kind)f->kind));
    put_u64(j, "status", f->status);
    put_cstring(j, "reason", reason_text(f->reason));
    put_text(j, "method", flight_text(f, FLIGHT_METHOD));
    put_text(j, "host", flight_text(f, FLIGHT_HOST));
    put_text(j, "path", flight_text(f, FLIGHT_PATH));
    put_text(j, "route", flight_text(f, FLIGHT_ROUTE));
    put_text(j, "pool", flight_text(f, FLIGHT_POOL));
    put_text(j, "endpoint", endpoint_of(f));
    put_u64(j, "attempts", f->attempts);
    put_u64(j, "total_us", f->total_us);
    put_text(j, "trace_id", span_of(f->trace.id, f->trace.there ? sizeof(f->trace.id) : 0));
}

void flight_write_line(struct json *j, const struct flight *f, unsigned worker)
{
    json_object_begin(j);
    put_summary(j, f, worker);
    json_object_end(j);
}

/* How long the endpoint took to take the conn; and its handshake: nothing on one that was there. */
static void put_connect(struct json *j, const struct flight_leg *leg)
{
    bool reached = leg->reached_us != FLIGHT_NEVER, up = leg->up_us != FLIGHT_NEVER;
    put_us(j, "connect_us", leg->reused || reached,
           leg->reused ? 0 : leg->reached_us - leg->start_us);
    put_us(j, "tls_us", leg->reused || (reached && up),
           leg->reused ? 0 : leg->up_us - leg->reached_us);
}

static void put_leg(struct json *j, const struct flight *f, const struct flight_leg *leg)
{
    json_object_begin(j);
    put_text(j, "endpoint", flight_endpoint(f, leg));
    if (leg->also)
        put_text(j, "address", flight_address(f, leg));
    put_bool(j, "note", leg->note);
    put_bool(j, "hedge", leg->hedge);
    put_bool(j, "reused", leg->reused);
    put_us(j, "started_us", true, leg->start_us);
    put_connect(j, leg);
    put_us(j, "connected_us", leg->up_us != FLIGHT_NEVER, leg->up_us);
    put_us(j, "head_us", leg->head_us != FLIGHT_NEVER, leg->head_us);
    put_us(j, "ended_us", true, leg->end_us);
    put_us(j, "status", leg->status != 0, leg->status);
    put_u64(j, "sent", leg->sent);
    put_cstring(j, "reason", reason_text(leg->reason));
    put_cstring(j, "ended_by", flight_ended_by((enum reason)leg->reason));
    json_object_end(j);
}

void flight_write(struct json *j, const struct flight *f, unsigned worker)
{
    char cause[FLIGHT_CAUSE_TEXT];
    json_object_begin(j);
    put_summary(j, f, worker);
    put_cstring(j, "cause", flight_cause(f, cause));
    put_cstring(j, "advice", flight_advice(f));
    put_cstring(j, "ended_by", flight_ended_by((enum reason)f->reason));
    put_text(j, "client", flight_text(f, FLIGHT_PEER));
    put_text(j, "listener", flight_text(f, FLIGHT_LISTENER));
    put_cstring(j, "protocol", protocol_text(f));
    put_u64(j, "bytes_in", f->bytes_in);
    put_u64(j, "bytes_out", f->bytes_out);
    put_us(j, "queue_us", f->queued, f->queue_us);
    put_us(j, "head_us", f->head_us != 0, f->head_us);
    put_bool(j, "request_whole", f->whole);
    put_bool(j, "response_cut", f->cut);
    put_bool(j, "texts_cut", f->short_texts);
    json_key(j, "timeline");
    json_array_begin(j);
    for (unsigned i = 0; i < f->n_legs; i++)
        put_leg(j, f, &f->legs[i]);
    json_array_end(j);
    put_u64(j, "timeline_left_out", f->legs_lost);
    json_object_end(j);
}

/* ---- text ---- */

struct page {
    char *at;
    size_t room;
};

__attribute__((format(printf, 2, 3))) static void print(struct page *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(p->at, p->room, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < p->room ? (size_t)n : p->room - 1;
    p->at += len;
    p->room -= len;
}

/* What is no printable ASCII is shown as a question mark. */
static void print_text(struct page *p, struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        print(p, "%c", text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?');
}

static void print_named(struct page *p, const char *before, struct span text)
{
    if (text.len == 0)
        return;
    print(p, "%s", before);
    print_text(p, text);
}

/* "  +12.345 ms  " */
static void print_when(struct page *p, uint64_t us)
{
    print(p, "%+12.3f ms  ", (double)us / 1000);
}

static void print_connect(struct page *p, const struct flight_leg *leg)
{
    if (leg->reused)
        return;
    if (leg->tls && leg->reached_us != FLIGHT_NEVER) {
        print_when(p, leg->reached_us);
        print(p, "  connected, in %.3f ms\n", (double)(leg->reached_us - leg->start_us) / 1000);
    }
    if (leg->up_us != FLIGHT_NEVER) {
        print_when(p, leg->up_us);
        print(p, leg->tls ? "  TLS is up" : "  connected");
        if (leg->reached_us != FLIGHT_NEVER)
            print(p, ", in %.3f ms",
                  (double)(leg->up_us - (leg->tls ? leg->reached_us : leg->start_us)) / 1000);
        print(p, "\n");
    }
}

static void print_leg(struct page *p, const struct flight *f, const struct flight_leg *leg,
                      unsigned number)
{
    struct span to = flight_endpoint(f, leg);
    const struct reason_row *row = reason_row((enum reason)leg->reason);
    if (leg->note) {
        print_when(p, leg->end_us);
        print(p, "no other attempt: %s\n", row->text);
        return;
    }
    print_when(p, leg->start_us);
    print(p, "attempt %u%s at %.*s%s", number, leg->hedge ? ", beside the one before," : "",
          (int)to.len, to.ptr, leg->reused ? ", on a connection that was there" : "");
    if (leg->also)
        print_named(p, ", by ", flight_address(f, leg));
    print(p, "\n");
    print_connect(p, leg);
    if (leg->head_us != FLIGHT_NEVER) {
        print_when(p, leg->head_us);
        print(p, "  answered %u\n", leg->status);
    }
    print_when(p, leg->end_us);
    if (leg->reason == REASON_DONE)
        print(p, "  done\n");
    else
        print(p, "  %s: %s; ended by %s; %u bytes of the body sent\n", row->name, row->text,
              flight_ended_by((enum reason)leg->reason), leg->sent);
}

static void print_head(struct page *p, const struct flight *f, unsigned worker)
{
    char time[TIME_TEXT];
    print_named(p, "request ", flight_text(f, FLIGHT_ID));
    print(p, ": %u", f->status);
    print_named(p, " ", span_str(reason_text(f->reason)));
    print(p, " (%s)\n", flight_kind_name((enum flight_kind)f->kind));
    print_named(p, "  ", flight_text(f, FLIGHT_METHOD));
    print(p, " ");
    print_text(p, flight_text(f, FLIGHT_HOST));
    print_text(p, flight_text(f, FLIGHT_PATH));
    print(p, " %s\n", protocol_text(f));
    print_named(p, "  from ", flight_text(f, FLIGHT_PEER));
    print_named(p, " by listener ", flight_text(f, FLIGHT_LISTENER));
    print_named(p, ", route ", flight_text(f, FLIGHT_ROUTE));
    print_named(p, ", pool ", flight_text(f, FLIGHT_POOL));
    if (f->trace.there)
        print(p, "\n  trace %.*s, span %.*s", (int)sizeof(f->trace.id), f->trace.id,
              (int)sizeof(f->trace.span), f->trace.span);
    print(p, "\n  at %s on worker %u; body bytes in %" PRIu64 ", out %" PRIu64 "\n\n",
          time_text(f->time_us, time), worker, f->bytes_in, f->bytes_out);
}

static void print_end(struct page *p, const struct flight *f)
{
    const char *ended_by = flight_ended_by((enum reason)f->reason);
    print_when(p, f->total_us);
    if (f->reason == REASON_DONE)
        print(p, "the end: all was passed on\n");
    else if (f->cut)
        print(p, "the end, by %s: the client's answer was cut\n", ended_by);
    else
        print(p, "the end, by %s: the client was told %u\n", ended_by, f->status);
}

size_t flight_print(const struct flight *f, unsigned worker, char *out, size_t size)
{
    struct page p = {out, size};
    char cause[FLIGHT_CAUSE_TEXT];
    unsigned number = 0;
    CHECK(size > 0);
    out[0] = '\0';
    print_head(&p, f, worker);
    print_when(&p, 0);
    print(&p, "the request's head had come\n");
    if (f->queued) {
        print_when(&p, f->queue_us);
        print(&p, f->n_legs > 0 ? "it was its turn in the pool\n" : "it waited no longer\n");
    }
    for (unsigned i = 0; i < f->n_legs; i++)
        print_leg(&p, f, &f->legs[i], number += !f->legs[i].note);
    if (f->legs_lost > 0)
        print(&p, "%17s(%u more that are not kept)\n", "", f->legs_lost);
    print_end(&p, f);
    print(&p, "\ncause: %s.\n", flight_cause(f, cause));
    print_named(&p, "to do: ", span_str(flight_advice(f)));
    print(&p, "\n");
    return size - p.room;
}
