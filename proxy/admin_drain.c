/* SPDX-License-Identifier: Apache-2.0 */
/* Taking the process out of service. Owns nothing; must never make a worker wait. Control thread.
 */
#include "proxy/admin_drain.h"

#include <uv.h>

#include "proxy/admin_guard.h"
#include "proxy/reply.h"

static void write_drain(struct json *j, const void *ctx)
{
    const struct admin_view *view = ctx;
    uint64_t in_flight = 0, conns = 0;
    for (unsigned i = 0; i < view->n_workers; i++) {
        in_flight += counter_get(&view->workers[i].stats.in_flight);
        conns += counter_get(&view->workers[i].stats.conns);
    }
    json_object_begin(j);
    json_key(j, "draining");
    json_bool(j, view->draining_us != 0);
    json_key(j, "for_ms");
    json_u64(j, view->draining_us != 0 ? (uv_hrtime() / 1000 - view->draining_us) / 1000 : 0);
    json_key(j, "in_flight");
    json_u64(j, in_flight);
    json_key(j, "connections");
    json_u64(j, conns);
    json_object_end(j);
}

void admin_drain(const struct admin_ask *ask)
{
    const struct http_head *request = ask->request;
    if (span_eq(request->method, SPAN_LIT("POST"))) {
        if (!admin_guard_write(ask))
            return;
        ask->view->drain(ask->view->ctx);
    } else if (!span_eq(request->method, SPAN_LIT("GET")) && !request->is_head) {
        reply_not_allowed(ask->reactor, ask->stream, SPAN_LIT("GET, HEAD, POST"));
        return;
    }
    admin_json(ask, 200, write_drain, ask->view);
}
