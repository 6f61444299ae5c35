/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process itself: what memory is for, open files, the recorder, the access log, spans, what
 * workers are at. Reads what workers have counted, and never waits for them. Control thread.
 */
#include "proxy/metrics/families.h"

#include "proxy/base/check.h"
#include "proxy/metrics/process_stat.h"
#include "proxy/trace/exporter.h"

/* Over the reactors of the workers, of a member or a function of one. */
#define SUM_REACTORS(view, what)                                    \
    __extension__({                                                 \
        uint64_t sum_ = 0;                                          \
        for (unsigned w_ = 0; w_ < (view)->n_workers; w_++) {       \
            const struct reactor *r = &(view)->workers[w_].reactor; \
            sum_ += (what);                                         \
        }                                                           \
        sum_;                                                       \
    })

/* ---- memory ---- */

static const char *const kinds[SLAB_COUNT] = {
    [SLAB_TCP] = "tcp",
    [SLAB_TLS] = "tls",
    [SLAB_FRONT] = "front",
    [SLAB_H1_SERVER] = "h1_server",
    [SLAB_H1_STREAM] = "h1_stream",
    [SLAB_H1_PARSER] = "h1_parser",
    [SLAB_H1_CLIENT] = "h1_client",
    [SLAB_H2_SERVER] = "h2_server",
    [SLAB_H2_CLIENT] = "h2_client",
    [SLAB_H2_STREAM] = "h2_stream",
    [SLAB_PROBE] = "probe",
    [SLAB_HEAD] = "head",
    [SLAB_EXCHANGE] = "exchange",
};

static uint32_t used(const _Atomic uint32_t *n)
{
    return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)n, memory_order_relaxed);
}

static void objects(struct text *t, const struct admin_view *v)
{
    text_head(t, "weir_objects", "gauge", "Objects of the workers that are in use, by kind.");
    for (int i = 0; i < SLAB_COUNT; i++) {
        CHECK(kinds[i] != NULL); /* a new kind wants a name above */
        text_line(t, "weir_objects{kind=\"%s\"} %" PRIu64 "\n", kinds[i],
                  SUM_REACTORS(v, used(&r->slabs[i].in_use)));
    }
    text_line(t, "weir_objects{kind=\"block\"} %" PRIu64 "\n",
              SUM_REACTORS(v, used(&r->bufs.blocks)));
    text_line(t, "weir_objects{kind=\"slice\"} %" PRIu64 "\n",
              SUM_REACTORS(v, used(&r->bufs.slices.in_use)));
}

static void bytes_line(struct text *t, const char *kind, uint64_t bytes)
{
    text_line(t, "weir_memory_bytes{kind=\"%s\"} %" PRIu64 "\n", kind, bytes);
}

static uint64_t flight_bytes(const struct admin_view *v)
{
    uint64_t bytes = 0;
    for (unsigned w = 0; w < v->n_workers; w++)
        bytes += flight_ring_bytes(v->workers[w].flights);
    return bytes;
}

/* What free lists keep counts, too: it is not given back. */
static void memory(struct text *t, const struct admin_view *v)
{
    text_head(t, "weir_memory_bytes", "gauge",
              "Memory that the workers hold, in use or kept for the next, by kind.");
    for (int i = 0; i < SLAB_COUNT; i++)
        bytes_line(t, kinds[i], SUM_REACTORS(v, slab_bytes(&r->slabs[i])));
    bytes_line(t, "block", SUM_REACTORS(v, counter_get(&r->bufs.held)));
    bytes_line(t, "slice", SUM_REACTORS(v, slab_bytes(&r->bufs.slices)));
    bytes_line(t, "h2_library", SUM_REACTORS(v, counter_get(&r->pieces.held)));
    bytes_line(t, "flight", flight_bytes(v));
}

/* ---- threads ---- */

/* A worker that has woken long ago and does not wait again is stuck, or has far too much to do. */
static void turns(struct text *t, const struct admin_view *v)
{
    uint64_t now = uv_hrtime() / 1000000;
    text_head(t, "weir_worker_turn_seconds", "gauge",
              "How long a worker has been at what it is doing without a look at its sockets.");
    for (unsigned w = 0; w < v->n_workers; w++) {
        uint64_t since = counter_get(&v->workers[w].reactor.turn_ms);
        text_line(t, "weir_worker_turn_seconds{worker=\"%u\"} %.3f\n", w,
                  since != 0 && since < now ? (double)(now - since) / 1000 : 0.0);
    }
}

/* ---- the kernel's view ---- */

static void kernel(struct text *t, const struct admin_view *v)
{
    struct process_stat stat;
    process_stat_read(&stat);
    text_head(t, "process_cpu_seconds_total", "counter", "CPU time of all threads.");
    text_line(t, "process_cpu_seconds_total %.6f\n", stat.cpu_s);
    text_single(t, "process_start_time_seconds", "gauge", "When it was started, in Unix time.",
                v->started_s);
    if (stat.has_memory) {
        text_single(t, "process_resident_memory_bytes", "gauge", "Memory that is there.",
                    stat.resident_bytes);
        text_single(t, "process_virtual_memory_bytes", "gauge", "Addresses that are taken.",
                    stat.virtual_bytes);
    }
    if (stat.has_fds) {
        text_single(t, "process_open_fds", "gauge", "Open files, sockets and pipes.",
                    stat.open_fds);
        text_single(t, "process_max_fds", "gauge", "So many may be open.", stat.max_fds);
    }
}

/* ---- the flight recorder ---- */

static void flights(struct text *t, const struct admin_view *v)
{
    text_head(t, "weir_flight_recorded_total", "counter", "Requests that were recorded, by kind.");
    for (int kind = 0; kind < FLIGHT_KINDS; kind++) {
        uint64_t n = 0;
        for (unsigned w = 0; w < v->n_workers; w++)
            n += flight_ring_count(v->workers[w].flights, (enum flight_kind)kind);
        text_line(t, "weir_flight_recorded_total{kind=\"%s\"} %" PRIu64 "\n",
                  flight_kind_name((enum flight_kind)kind), n);
    }
    text_single(t, "weir_flight_bytes", "gauge", "Memory of the flight recorder, once it is full.",
                flight_bytes(v));
}

static void spans(struct text *t, const struct admin_view *v)
{
    struct exporter_counts n;
    exporter_count(v->exporter, &n);
    text_head(t, "weir_trace_spans_total", "counter",
              "Spans of recorded traces, by what became of them.");
    text_line(t, "weir_trace_spans_total{result=\"exported\"} %" PRIu64 "\n", n.exported);
    text_line(t, "weir_trace_spans_total{result=\"rejected\"} %" PRIu64 "\n", n.rejected);
    text_line(t, "weir_trace_spans_total{result=\"failed\"} %" PRIu64 "\n", n.failed);
    text_line(t, "weir_trace_spans_total{result=\"dropped\"} %" PRIu64 "\n", n.dropped);
}

void metrics_process(struct text *t, const struct admin_view *v)
{
    turns(t, v);
    objects(t, v);
    memory(t, v);
    kernel(t, v);
    flights(t, v);
    text_single(t, "weir_access_log_dropped_total", "counter", "Access log lines that were lost.",
                v->log != NULL ? access_log_dropped(v->log) : 0);
    spans(t, v);
}
