/* SPDX-License-Identifier: Apache-2.0 */
/* The process as JSON. Owns nothing; must never make a worker wait. Control thread. */
#include "proxy/admin_status.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/admin_tls.h"
#include "proxy/admin_totals.h"
#include "proxy/base/mem.h"
#include "proxy/generation.h"
#include "proxy/route_why.h"

#define ROUTES_TOLD 500 /* of more the first */

static void key_u64(struct json *j, const char *key, uint64_t value)
{
    json_key(j, key);
    json_u64(j, value);
}

static void key_string(struct json *j, const char *key, const char *value)
{
    json_key(j, key);
    json_cstring(j, value);
}

static void key_bool(struct json *j, const char *key, bool value)
{
    json_key(j, key);
    json_bool(j, value);
}

#define STAT(view, member) totals_of_stat(view, offsetof(struct worker_stats, member))

/* ---- the process ---- */

static void write_process(struct json *j, const struct admin_view *v)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    key_string(j, "version", WEIR_VERSION);
    key_u64(j, "now_ms", (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    key_u64(j, "started", v->started_s);
    key_bool(j, "ready", v->ready);
    key_u64(j, "workers", v->n_workers);
    key_bool(j, "can_reload", v->reload != NULL);
    key_u64(j, "generation", v->reloads.generation);
    json_key(j, "reloads");
    json_object_begin(j);
    key_u64(j, "done", v->reloads.done);
    key_u64(j, "failed", v->reloads.failed);
    key_bool(j, "last_failed", v->reloads.last_failed);
    json_object_end(j);
}

static void write_connections(struct json *j, const struct admin_view *v)
{
    json_key(j, "connections");
    json_object_begin(j);
    key_u64(j, "clients", STAT(v, conns));
    key_u64(j, "clients_total", STAT(v, conns_total));
    key_u64(j, "clients_max", v->snapshot->max_connections);
    key_u64(j, "upstream", totals_upstream_conns(v));
    json_object_end(j);
}

static void write_requests(struct json *j, const struct admin_view *v)
{
    static const uint32_t bounds[HIST_BUCKETS - 1] = HIST_BOUNDS;
    struct request_totals all;
    totals_of_all(v, &all);
    json_key(j, "latency_bounds_us");
    json_array_begin(j);
    for (unsigned i = 0; i < HIST_BUCKETS - 1; i++)
        json_u64(j, bounds[i]);
    json_array_end(j);
    json_key(j, "requests");
    json_object_begin(j);
    key_u64(j, "in_flight", STAT(v, in_flight));
    request_totals_write(j, &all);
    json_object_end(j);
}

static const char *side_name(enum reason_side side)
{
    switch (side) {
    case SIDE_CLIENT:
    case SIDE_GONE:
        return "client";
    case SIDE_UPSTREAM:
        return "upstream";
    case SIDE_WEIR:
        return "weir";
    case SIDE_NONE:
        break;
    }
    return "";
}

/* Those that have happened. */
static void write_errors(struct json *j, const struct admin_view *v)
{
    json_key(j, "errors");
    json_array_begin(j);
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++) {
        const struct reason_row *row = reason_row((enum reason)i);
        size_t at = offsetof(struct worker_stats, reasons) + (size_t)i * sizeof(struct counter);
        uint64_t n = totals_of_stat(v, at);
        if (row->side == SIDE_NONE || n == 0)
            continue;
        json_object_begin(j);
        key_string(j, "reason", row->name);
        key_string(j, "text", row->text);
        key_string(j, "side", side_name(row->side));
        key_u64(j, "count", n);
        json_object_end(j);
    }
    json_array_end(j);
}

/* ---- what is configured ---- */

static void write_listeners(struct json *j, const struct snapshot *snap)
{
    char text[NET_ADDR_TEXT];
    json_key(j, "listeners");
    json_array_begin(j);
    for (size_t i = 0; i < snap->n_listeners; i++) {
        const struct listener_spec *spec = snap->listeners[i];
        json_object_begin(j);
        key_string(j, "name", spec->name);
        json_key(j, "address");
        json_string(j, net_addr_print(&spec->addr, text));
        key_bool(j, "tls", spec->tls != NULL);
        key_u64(j, "redirect_https", spec->redirect_https);
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_targets(struct json *j, const struct snapshot *snap, const struct route *r)
{
    json_key(j, "to");
    json_array_begin(j);
    for (uint32_t i = 0; i < r->n_targets; i++) {
        json_object_begin(j);
        json_key(j, "pool");
        if (r->targets[i].pool != ROUTE_NO_POOL)
            json_cstring(j, snap->pools[r->targets[i].pool]->name);
        else
            json_null(j);
        key_u64(j, "weight", r->targets[i].weight);
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_route(struct json *j, const struct admin_view *v, size_t i)
{
    const struct route *r = route_table_at(v->snapshot->table, i);
    struct request_totals totals;
    char text[ROUTE_WHY_TEXT];
    totals_of_route(v, i, &totals);
    json_object_begin(j);
    json_key(j, "name");
    json_string(j, r->name);
    key_string(j, "match", route_text(v->snapshot->table, i, text));
    write_targets(j, v->snapshot, r);
    request_totals_write(j, &totals);
    json_object_end(j);
}

static void write_routes(struct json *j, const struct admin_view *v)
{
    size_t n = route_table_count(v->snapshot->table), told = n < ROUTES_TOLD ? n : ROUTES_TOLD;
    json_key(j, "routes");
    json_array_begin(j);
    for (size_t i = 0; i < told; i++)
        write_route(j, v, i);
    json_array_end(j);
    key_u64(j, "routes_left_out", n - told);
}

static void write_cert(struct json *j, const struct cert_status *status,
                       const struct tls_cert_info *cert)
{
    json_object_begin(j);
    key_string(j, "of", status->source->kind);
    key_string(j, "name", status->source->name);
    key_string(j, "file", cert->cert_file);
    json_key(j, "names");
    json_array_begin(j);
    for (size_t i = 0; i < cert->n_names; i++)
        json_cstring(j, cert->names[i]);
    json_array_end(j);
    json_key(j, "not_after");
    json_i64(j, cert->not_after);
    key_bool(j, "reload_failed", status->failed);
    json_object_end(j);
}

static void write_certs(struct json *j, const struct admin_view *v)
{
    struct cert_status status;
    json_key(j, "certificates");
    json_array_begin(j);
    for (size_t i = 0; i < admin_certs_count(v); i++) {
        if (!admin_certs_at(v, i, &status) || status.certs == NULL)
            continue;
        for (size_t k = 0; k < tls_certs_count(status.certs); k++)
            write_cert(j, &status, tls_certs_at(status.certs, k));
    }
    json_array_end(j);
}

static void write_status(struct json *j, const void *ctx)
{
    const struct admin_view *v = ctx;
    json_object_begin(j);
    write_process(j, v);
    write_connections(j, v);
    write_requests(j, v);
    write_errors(j, v);
    write_listeners(j, v->snapshot);
    write_routes(j, v);
    write_certs(j, v);
    json_object_end(j);
    json_raw(j, "\n", 1);
}

void admin_status(const struct admin_ask *ask)
{
    admin_json(ask, 200, write_status, ask->view);
}
