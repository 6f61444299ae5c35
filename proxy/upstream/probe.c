/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn whose protocol is not known yet. Owns the conn until it is up; must never read or write a
 * byte of its own. Reactor's thread.
 */
#include "proxy/upstream/probe.h"

#include "proxy/base/check.h"
#include "proxy/http/h1_client.h"
#include "proxy/net/tls.h"

#define PROBE_MAGIC MAGIC('p', 'r', 'o', 'b')

struct probe {
    struct conn conn;
    uint32_t magic;
    bool up;
    const struct probe_owner *owner;
    void *ctx;
    struct list_node link;
    struct list_node waiting;
};

static const struct conn_ops probe_conn_ops;

static struct probe *probe_of(struct conn *c)
{
    struct probe *p = CONTAINER_OF(c, probe, conn);
    CHECK(p->magic == PROBE_MAGIC);
    return p;
}

struct list_node *probe_waiting(struct probe *p)
{
    return &p->waiting;
}

struct list_node *probe_link(struct probe *p)
{
    return &p->link;
}

struct probe *probe_at(struct list_node *node)
{
    return CONTAINER_OF(node, probe, link);
}

struct probe *probe_dial(struct reactor *r, const struct probe_options *options,
                         const struct net_addr *to, const struct probe_owner *owner, void *ctx,
                         int *err)
{
    struct probe *p = reactor_alloc(r, SLAB_PROBE, sizeof(*p));
    *p = (struct probe){.magic = PROBE_MAGIC, .owner = owner, .ctx = ctx};
    conn_init(&p->conn, r, &probe_conn_ops, options->write_stall_ms);
    list_init(&p->link);
    list_init(&p->waiting);
    *err = conn_dial(&p->conn, to, options->connect_ms);
    if (*err != 0) {
        reactor_free(r, SLAB_PROBE, p);
        return NULL;
    }
    if (options->tls != NULL)
        conn_secure_client(&p->conn, options->tls, options->endpoint, to);
    conn_expect(&p->conn, options->connect_ms);
    return p;
}

void probe_give_up(struct probe *p)
{
    CHECK(list_empty(&p->waiting));
    list_unlink(&p->link);
    conn_close(&p->conn, REASON_DONE, false);
}

static void probe_free(struct conn *c)
{
    struct probe *p = probe_of(c);
    CHECK(list_empty(&p->waiting));
    if (!p->up)
        p->owner->closed(p->ctx, (enum reason)c->close_reason);
    p->magic = 0;
    reactor_free(c->reactor, SLAB_PROBE, p);
}

/* The requests go to the owner, who may let others wait elsewhere meanwhile. */
static void probe_leave(struct probe *p, struct list_node *waiting)
{
    list_unlink(&p->link);
    list_init(waiting);
    list_splice_back(waiting, &p->waiting);
}

static void probe_fail(struct probe *p, enum reason reason)
{
    const struct tls_info *tls = conn_tls(&p->conn);
    uint64_t reached_us = tls != NULL ? tls->below_us : 0;
    struct list_node waiting;
    probe_leave(p, &waiting);
    conn_close(&p->conn, reason, false);
    p->owner->failed(p->ctx, reason, reached_us, &waiting);
    CHECK(list_empty(&waiting));
}

static void probe_up(struct probe *p)
{
    const struct tls_info *tls = conn_tls(&p->conn);
    struct list_node waiting;
    probe_leave(p, &waiting);
    p->up = true;
    p->owner->up(p->ctx, &p->conn, tls != NULL && span_eq(tls->alpn, SPAN_LIT("h2")), &waiting);
    CHECK(list_empty(&waiting) && conn_closed(&p->conn));
}

static void probe_process(struct conn *c)
{
    struct probe *p = probe_of(c);
    if (c->flags & CONN_ERROR)
        probe_fail(p, h1_client_connect_reason(c->error));
    else if (c->flags & CONN_CONNECTED)
        probe_up(p);
    else if (c->flags & (CONN_READ_LATE | CONN_WRITE_LATE))
        probe_fail(p, REASON_CONNECT_TIMEOUT);
}

static void probe_flushed(struct conn *c, size_t n)
{
    (void)c;
    (void)n;
}

static void probe_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c;
    (void)delta;
}

static const struct conn_ops probe_conn_ops = {
    .name = "probe",
    .process = probe_process,
    .flushed = probe_flushed,
    .moved = probe_moved,
    .free = probe_free,
};
