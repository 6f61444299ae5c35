/* SPDX-License-Identifier: Apache-2.0 */
/* From a pool's configuration to its health checks. Owns nothing. Control thread. */
#include "proxy/runtime_health.h"

#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/base/mem.h"

/* NULL is empty. */
static struct span copy(const char *text)
{
    return text != NULL ? span_str(mem_need(strdup(text))) : span_of(NULL, 0);
}

static void copy_fields(const struct config_health_http *from, struct health_spec *to)
{
    to->n_fields = (uint32_t)from->header_count;
    to->fields = mem_need(calloc(from->header_count + 1, sizeof(to->fields[0])));
    for (size_t i = 0; i < from->header_count; i++)
        to->fields[i] =
            (struct health_field){copy(from->headers[i].name), copy(from->headers[i].value)};
}

static void copy_statuses(const struct config_health_http *from, struct health_spec *to)
{
    size_t n = from->status_count;
    to->statuses = mem_need(calloc(n + 1, sizeof(to->statuses[0])));
    to->n_statuses = n > 0 ? (uint32_t)n : 1;
    to->statuses[0] = (struct health_status){200, 399};
    for (size_t i = 0; i < n; i++) {
        const struct config_status *s = &from->status[i];
        to->statuses[i] =
            (struct health_status){(uint16_t)s->from, (uint16_t)(s->to != 0 ? s->to : s->from)};
    }
}

static void set_http(const struct config_health_http *from, struct health_spec *to)
{
    to->kind = HEALTH_HTTP;
    to->method = copy(from->method);
    to->target = copy(from->path);
    to->host = copy(from->host);
    to->body = copy(from->body);
    copy_fields(from, to);
    copy_statuses(from, to);
}

struct health_spec *runtime_health(const struct config_pool *pool)
{
    const struct config_health *from = &pool->health;
    struct health_spec *to = mem_need(calloc(1, sizeof(*to)));
    to->timeout_ms = (uint32_t)from->timeout_ms;
    to->must_pass = from->must_pass;
    to->plain = !from->tls;
    to->rules = (struct lb_health_rules){
        .down_after = from->down_after,
        .up_after = from->up_after,
        .every_ms = (uint32_t)from->every_ms,
        .out_ms = (uint32_t)(from->every_down_ms != 0 ? from->every_down_ms : from->every_ms),
        .jitter = from->jitter,
    };
    if (from->http.enabled) {
        set_http(&from->http, to);
    } else if (from->grpc.enabled) {
        to->kind = HEALTH_GRPC;
        to->service = copy(from->grpc.service);
        to->host = copy(from->grpc.host);
    } else {
        to->kind = HEALTH_TCP;
    }
    return to;
}

bool runtime_health_elsewhere(const struct config_pool *pool)
{
    bool any = pool->health.port != 0;
    for (size_t i = 0; i < pool->endpoint_count; i++)
        any |= pool->endpoints[i].health.text != NULL;
    return any;
}
