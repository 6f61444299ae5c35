/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans as OTLP has them in JSON (https://opentelemetry.io/docs/specs/otlp/, "JSON Protobuf
 * Encoding"), named by the semantic conventions of HTTP (1.27.0). A batch is one
 * ExportTraceServiceRequest in memory of a fixed size. Pure; one thread.
 */
#ifndef WEIR_TRACE_OTLP_H
#define WEIR_TRACE_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/json.h"
#include "proxy/trace/record.h"

/* Room that any one record fits into, with what is around it. */
#define OTLP_BATCH_MIN (128 * 1024)

struct otlp_resource {
    const char *service;  /* service.name */
    const char *instance; /* service.instance.id */
    const char *version;  /* service.version */
};

struct otlp_batch {
    struct json json;
    unsigned spans;
};

/* Begins a batch in buf. The resource is written at once. */
void otlp_begin(struct otlp_batch *batch, char *buf, size_t size,
                const struct otlp_resource *resource);

/* Adds the record's spans. False: there is no room for it; the batch is as it was. */
bool otlp_add(struct otlp_batch *batch, const struct trace_record *record);

/* The whole text. Nothing can be added after it. */
struct span otlp_end(struct otlp_batch *batch);

#endif
