/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The in-memory transport pair. Owns the bytes on their way; must never call an owner but from
 * pair_step. Reactor's thread.
 */
#include "proxy/net/pair.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/net/reactor.h"

#define PAIR_MAGIC MAGIC('p', 'a', 'i', 'r')

struct pair_side {
    struct transport base;
    struct pair *pair;
    unsigned index;
    struct chain arriving; /* written by the other side, not yet read here */
    size_t capacity;       /* of arriving */
    size_t limit;
    int read_error, write_error;
    int connect_status;
    bool taken, reading, ended; /* ended: the owner was told of an end or an error */
    bool waiting;               /* the last write did not take everything */
    bool connecting;            /* connect_status is to be told */
    bool shut, closing, closed;
};

struct pair {
    struct reactor *reactor;
    struct pair_side sides[2];
};

static struct pair_side *side_of(struct transport *t)
{
    return CAST_OBJ(pair_side, t, PAIR_MAGIC);
}

static struct pair_side *other(struct pair_side *s)
{
    return &s->pair->sides[!s->index];
}

static size_t room_to(const struct pair_side *to)
{
    size_t n = to->arriving.bytes;
    return n < to->capacity ? to->capacity - n : 0;
}

/* ---- verbs ---- */

static void side_read(struct transport *t, bool on)
{
    struct pair_side *s = side_of(t);
    s->reading = on && !s->closing && !s->ended;
}

static ssize_t side_write(struct transport *t, struct chain *out, bool last)
{
    struct pair_side *s = side_of(t), *to = other(s);
    CHECK(!s->closing && !s->shut);
    (void)last;
    if (s->write_error != 0)
        return s->write_error;
    if (to->closing)
        return UV_EPIPE;
    size_t before = out->bytes;
    chain_move_bytes(&to->arriving, out, room_to(to));
    s->waiting = !chain_empty(out);
    return (ssize_t)(before - out->bytes);
}

static void side_shutdown(struct transport *t)
{
    struct pair_side *s = side_of(t);
    s->shut = true;
}

/* A socket that is closed with unread bytes in it sends an RST, and so does one that is reset. */
static void side_close(struct transport *t, bool reset)
{
    struct pair_side *s = side_of(t), *to = other(s);
    if (s->closing)
        return;
    s->closing = true;
    s->reading = false;
    if ((reset || !chain_empty(&s->arriving)) && !to->closing) {
        to->read_error = UV_ECONNRESET;
        to->write_error = UV_EPIPE;
    }
    chain_clear(&s->arriving);
}

static const struct transport_ops pair_ops = {
    .name = "pair",
    .read = side_read,
    .write = side_write,
    .shutdown = side_shutdown,
    .close = side_close,
};

/* ---- events ---- */

static bool tell_connected(struct pair_side *s)
{
    if (!s->connecting || s->closing)
        return false;
    s->connecting = false;
    s->base.events->connected(s->base.owner, s->connect_status);
    return true;
}

static bool tell_writable(struct pair_side *s)
{
    struct pair_side *to = other(s);
    if (!s->waiting || s->closing || (room_to(to) == 0 && s->write_error == 0 && !to->closing))
        return false;
    s->waiting = false;
    s->base.events->writable(s->base.owner);
    return true;
}

static bool tell_end(struct pair_side *s, ssize_t how)
{
    s->reading = false;
    s->ended = true;
    chain_clear(&s->arriving);
    s->base.events->read(s->base.owner, how);
    return true;
}

static bool tell_read(struct pair_side *s)
{
    struct pair_side *from = other(s);
    if (!s->reading)
        return false;
    if (s->read_error != 0)
        return tell_end(s, s->read_error);
    if (chain_empty(&s->arriving))
        return (from->shut || from->closing) && tell_end(s, UV_EOF);
    struct span into = s->base.events->buffer(s->base.owner, NULL);
    size_t n = into.len < s->arriving.bytes ? into.len : s->arriving.bytes, at = 0;
    if (s->limit != 0 && n > s->limit)
        n = s->limit;
    for (const struct slice *slice = s->arriving.head; at < n; slice = slice->next) {
        size_t part = slice->len < n - at ? slice->len : n - at;
        memcpy((char *)(uintptr_t)into.ptr + at, slice->ptr, part);
        at += part;
    }
    if (n == 0)
        return false;
    chain_drop(&s->arriving, n);
    s->base.events->read(s->base.owner, (ssize_t)n);
    return true;
}

static bool tell_closed(struct pair_side *s)
{
    if (!s->closing || s->closed)
        return false;
    s->closed = true;
    s->base.magic = 0;
    s->base.events->closed(s->base.owner);
    return true;
}

bool pair_step(struct pair *p)
{
    static bool (*const tell[])(struct pair_side *) = {tell_connected, tell_writable, tell_read,
                                                       tell_closed};
    bool any = false;
    for (size_t kind = 0; kind < ARRAY_LEN(tell); kind++) {
        for (unsigned end = 0; end < 2; end++) {
            if (!p->sides[end].taken || !tell[kind](&p->sides[end]))
                continue;
            any = true;
            reactor_dispatch(p->reactor);
        }
    }
    reactor_dispatch(p->reactor);
    return any;
}

void pair_settle(struct pair *p)
{
    while (pair_step(p))
        ;
}

/* ---- life, and what a test may ask for ---- */

struct pair *pair_new(struct reactor *r, size_t capacity)
{
    CHECK(capacity > 0);
    struct pair *p = calloc(1, sizeof(*p));
    CHECK(p != NULL);
    p->reactor = r;
    for (unsigned end = 0; end < 2; end++) {
        p->sides[end].pair = p;
        p->sides[end].index = end;
        p->sides[end].capacity = capacity;
        chain_init(&p->sides[end].arriving);
    }
    return p;
}

void pair_free(struct pair *p)
{
    if (p == NULL)
        return;
    for (unsigned end = 0; end < 2; end++) {
        CHECK(p->sides[end].closed || !p->sides[end].taken);
        chain_clear(&p->sides[end].arriving);
    }
    free(p);
}

static struct pair_side *taken_side(struct pair *p, unsigned end)
{
    CHECK(end < 2 && p->sides[end].taken);
    return &p->sides[end];
}

struct transport *pair_end(struct pair *p, unsigned end, const struct transport_events *events,
                           void *owner)
{
    CHECK(end < 2 && !p->sides[end].taken);
    struct pair_side *s = &p->sides[end];
    s->taken = true;
    s->base = (struct transport){PAIR_MAGIC, false, &pair_ops, events, owner, p->reactor};
    return &s->base;
}

void pair_limit(struct pair *p, unsigned end, size_t n)
{
    taken_side(p, end)->limit = n;
}

void pair_capacity(struct pair *p, unsigned end, size_t capacity)
{
    CHECK(end < 2 && capacity > 0);
    p->sides[!end].capacity = capacity;
}

size_t pair_room(const struct pair *p, unsigned end)
{
    CHECK(end < 2);
    return room_to(&p->sides[!end]);
}

bool pair_reading(const struct pair *p, unsigned end)
{
    CHECK(end < 2);
    return p->sides[end].reading;
}

void pair_connect(struct pair *p, unsigned end, int status)
{
    struct pair_side *s = taken_side(p, end);
    s->connecting = true;
    s->connect_status = status;
}

void pair_fail_read(struct pair *p, unsigned end, int error)
{
    taken_side(p, end)->read_error = error;
}

void pair_fail_write(struct pair *p, unsigned end, int error)
{
    taken_side(p, end)->write_error = error;
}
