/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the workers' records of traced requests out of their rings, and sends them as spans to a
 * collector: OTLP over HTTP, as JSON. One batch is on its way at a time; until it has arrived, or
 * has been given up, what comes waits in the rings, and what finds no room there is dropped. So its
 * memory is bounded, whatever the collector does.
 *
 * A batch is sent again, with longer and longer pauses, if there was no answer or it was 429, 502,
 * 503 or 504, and given up a minute after the first time. Control thread.
 */
#ifndef WEIR_TRACE_EXPORTER_H
#define WEIR_TRACE_EXPORTER_H

#include "proxy/net/reactor.h"
#include "proxy/trace/record.h"
#include "proxy/trace/target.h"

struct exporter;

/* What became of spans. */
struct exporter_counts {
    uint64_t exported; /* the collector has them */
    uint64_t rejected; /* it has said that it does not want them */
    uint64_t failed;   /* it was given up to tell it of them */
    uint64_t dropped;  /* there was no room for them */
};

/* For so many producers. Never NULL. */
struct exporter *exporter_new(struct reactor *r, unsigned producers);

/* The ring of a producer; NULL before exporter_prepare. */
struct trace_ring *exporter_ring(struct exporter *e, unsigned producer);

/* There are rings from now on. */
void exporter_prepare(struct exporter *e);

/* From the next request on spans go there; NULL: what is left goes to where it went, and what comes
 * is dropped. A batch that waits to be sent again is sent there at once. */
void exporter_use(struct exporter *e, struct trace_target *target);

/* No producer is there any more: sends what is left, in so many ms at most, and lets go of the
 * loop. Again: there is less time. */
void exporter_end(struct exporter *e, uint64_t within_ms);

/* After the loop has run. NULL is fine. */
void exporter_free(struct exporter *e);

void exporter_count(struct exporter *e, struct exporter_counts *counts);

#endif
