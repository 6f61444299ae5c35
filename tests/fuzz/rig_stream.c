/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a client's stream and its exchange: passes every verb and event on, writes it down, and
 * holds both sides to the contract of http/stream.h.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/exchange.h"
#include "proxy/exchange_state.h"
#include "proxy/http/h2_session.h"
#include "tests/fuzz/rig.h"

static struct rig_x *x_of(struct stream *s)
{
    struct rig_x *x = CONTAINER_OF(s, rig_x, base);
    if (x->real == NULL)
        rig_fail(x->rig, "exchange %s: a verb after the end", x->id);
    return x;
}

static struct rig_x *x_of_real(struct stream *s)
{
    struct rig_x *x = s->owner;
    if (x->real != s)
        rig_fail(x->rig, "exchange %s: an event after the end", x->id);
    return x;
}

/* The id may lie in the client's bytes, which go with the stream. */
static void keep_id(struct rig_x *x)
{
    const struct exchange *e = x->base.owner;
    CHECK(e->id.len < sizeof(x->id));
    memcpy(x->id, e->id.ptr, e->id.len);
    x->id[e->id.len] = '\0';
}

/* ---- verbs ---- */

static void op_send_head(struct stream *s, const struct http_head *head)
{
    struct rig_x *x = x_of(s);
    const struct exchange *e = s->owner;
    if (x->status != 0)
        rig_fail(x->rig, "exchange %s: a head after the final one", x->id);
    if (head->status >= 200 || head->status == 101) {
        x->status = head->status;
        x->tunnel = head->body == BODY_TUNNEL;
        x->no_body = x->is_head || head->body == BODY_NONE;
        x->authored = e->attempt->upstream == NULL;
    }
    rig_tell(x->rig, "  %s: head %u", x->id, head->status);
    x->real->ops->send_head(x->real, head);
}

static void op_send_body(struct stream *s, struct chain *body)
{
    struct rig_x *x = x_of(s);
    if (x->status == 0 || x->tx_end)
        rig_fail(x->rig, "exchange %s: body outside of a message", x->id);
    bytes_add_chain(x->tunnel ? &x->tx_tunnel : &x->tx, body);
    x->real->ops->send_body(x->real, body);
}

static void op_send_end(struct stream *s, const struct http_head *trailers)
{
    struct rig_x *x = x_of(s);
    if (x->status == 0 || x->tx_end)
        rig_fail(x->rig, "exchange %s: an end outside of a message", x->id);
    x->tx_end = true;
    x->real->ops->send_end(x->real, trailers);
}

static void op_credit(struct stream *s, size_t n)
{
    struct rig_x *x = x_of(s);
    x->real->ops->credit(x->real, n);
}

static void op_release(struct stream *s, enum reason reason)
{
    struct rig_x *x = x_of(s);
    const struct exchange *e = s->owner;
    keep_id(x);
    x->ended++;
    x->reason = reason;
    x->retries = e->retries;
    x->hedges = e->hedged;
    if (e->route != NULL)
        x->retries_allowed = e->snapshot->routes[e->route->index].retry.attempts;
    rig_tell(x->rig, "  %s: ends %u: %s, %u attempts", x->id, e->status, reason_row(reason)->name,
             e->attempts);
    struct stream *real = TAKE(x->real);
    real->ops->release(real, reason);
}

static const struct stream_ops rig_ops = {
    .send_head = op_send_head,
    .send_body = op_send_body,
    .send_end = op_send_end,
    .credit = op_credit,
    .release = op_release,
};

/* ---- events ---- */

static void on_body(struct stream *s, struct chain *body)
{
    struct rig_x *x = x_of_real(s);
    if (x->tunnel ? x->rx_tunnel_end : x->rx_end)
        rig_fail(x->rig, "exchange %s: body after its end", x->id);
    bytes_add_chain(x->tunnel ? &x->rx_tunnel : &x->rx, body);
    x->base.events->body(&x->base, body);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct rig_x *x = x_of_real(s);
    bool *end = x->tunnel ? &x->rx_tunnel_end : &x->rx_end;
    if (*end)
        rig_fail(x->rig, "exchange %s: two ends", x->id);
    *end = true;
    x->base.events->end(&x->base, trailers);
}

static void on_drained(struct stream *s, size_t n)
{
    struct rig_x *x = x_of_real(s);
    x->base.events->drained(&x->base, n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct rig_x *x = x_of_real(s);
    unsigned ended = x->ended;
    rig_tell(x->rig, "  %s: aborted: %s", x->id, reason_row(reason)->name);
    x->base.events->aborted(&x->base, reason);
    if (x->ended != ended + 1)
        rig_fail(x->rig, "exchange %s: does not end when its client has", x->id);
}

static const struct stream_events rig_events = {
    .body = on_body,
    .end = on_end,
    .drained = on_drained,
    .aborted = on_aborted,
};

/* ---- the service ---- */

static void each_bytes(struct rig_x *x, void (*f)(struct bytes *))
{
    struct bytes *const all[] = {&x->method, &x->raw_target, &x->target, &x->authority,
                                 &x->rx,     &x->rx_tunnel,  &x->tx,     &x->tx_tunnel};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        f(all[i]);
}

static void bytes_begin(struct bytes *b)
{
    bytes_add(b, "", 0); /* so that there is a pointer */
}

static void bytes_end(struct bytes *b)
{
    free(b->at);
}

void rig_x_free(struct rig_x *x)
{
    each_bytes(x, bytes_end);
    free(x);
}

static void keep(struct bytes *to, struct span from)
{
    bytes_add(to, from.ptr, from.len);
}

static struct rig_peer *client_of(struct rig *rig, const struct http_peer *peer)
{
    unsigned port = (unsigned)strtoul(strrchr(peer->text, ':') + 1, NULL, 10);
    CHECK(port > 0 && port <= rig->n_clients);
    return rig->clients[port - 1]; /* the rig has numbered them so */
}

static void on_request(void *ctx, struct stream *s, struct http_head *head,
                       const struct http_peer *peer, enum reason reason)
{
    struct rig *rig = CONTAINER_OF((struct worker *)ctx, rig, w);
    struct rig_x *x = calloc(1, sizeof(*x));
    CHECK(x != NULL);
    rig->xs = realloc(rig->xs, (rig->n_xs + 1) * sizeof(struct rig_x *));
    CHECK(rig->xs != NULL);
    rig->xs[rig->n_xs++] = x;
    x->base = (struct stream){.magic = STREAM_MAGIC, .ops = &rig_ops};
    x->real = s;
    each_bytes(x, bytes_begin);
    x->rig = rig;
    x->client = client_of(rig, peer);
    x->refused = reason;
    if (head->version == 20) {
        x->h2_id = (uint32_t)h2_stream_of(s)->id;
        x->h2_extended = h2_stream_of(s)->extended;
    }
    keep(&x->method, head->method);
    keep(&x->raw_target, head->target);
    keep(&x->target, head->path);
    if (head->has_query) {
        bytes_add(&x->target, "?", 1);
        keep(&x->target, head->query);
    }
    keep(&x->authority, head->authority);
    x->kind = head->body;
    x->minor = head->minor;
    x->length = head->content_length;
    x->is_head = head->is_head;
    x->idempotent = head->idempotent;
    x->upgrade = head->upgrade.len > 0;
    snprintf(x->id, sizeof(x->id), "#%zu", rig->n_xs);
    s->events = &rig_events;
    s->owner = x;
    rig_tell(rig, "  client %s asks: %.*s %.*s%s%s", peer->text, (int)x->method.len, x->method.at,
             (int)x->raw_target.len, x->raw_target.at, reason != REASON_NONE ? " refused: " : "",
             reason_row(reason)->name);
    exchange_service.request(ctx, &x->base, head, peer, reason);
    if (x->ended == 0)
        keep_id(x);
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer, bool promised)
{
    return exchange_service.keep_alive(ctx, peer, promised);
}

static void on_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    struct rig *rig = CONTAINER_OF((struct worker *)ctx, rig, w);
    if (reason == REASON_CLIENT_WRITE_STALL) /* time went by without a step */
        client_of(rig, peer)->harmed = true;
    exchange_service.closed(ctx, peer, reason);
}

const struct http_service rig_service = {
    .request = on_request,
    .keep_alive = on_keep_alive,
    .closed = on_closed,
};
