/* SPDX-License-Identifier: Apache-2.0 */
/* The far ends of the pairs: they say what they are told to, and write down what they get. */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/rig.h"

void bytes_add(struct bytes *b, const void *from, size_t n)
{
    if (b->len + n + 1 > b->cap) {
        b->cap = 2 * (b->len + n) + 64;
        b->at = realloc(b->at, b->cap);
        CHECK(b->at != NULL);
    }
    if (n > 0)
        memcpy(b->at + b->len, from, n);
    b->len += n;
    b->at[b->len] = '\0';
}

void bytes_add_chain(struct bytes *b, const struct chain *chain)
{
    for (const struct slice *s = chain->head; s != NULL; s = s->next)
        bytes_add(b, s->ptr, s->len);
}

static void say_on(struct rig_peer *p)
{
    if (p->closing)
        return;
    if (!chain_empty(&p->saying) && (p->client || p->up)) {
        size_t before = p->said.len;
        bytes_add_chain(&p->said, &p->saying);
        ssize_t taken = p->t->ops->write(p->t, &p->saying);
        p->said.len = before + (taken > 0 ? (size_t)taken : 0);
        if (taken < 0)
            chain_clear(&p->saying);
    }
    if (p->end_wanted && !p->ended && chain_empty(&p->saying) && p->t->ops->in_flight(p->t) == 0) {
        p->ended = true;
        p->t->ops->shutdown(p->t);
    }
}

static struct span on_buffer(void *owner)
{
    struct rig_peer *p = owner;
    return span_of(p->rig->room, sizeof(p->rig->room));
}

static void on_read(void *owner, ssize_t n)
{
    struct rig_peer *p = owner;
    if (n == UV_EOF)
        p->got_end = true;
    else if (n < 0)
        p->got_error = (int)n;
    else
        bytes_add(&p->got, p->rig->room, (size_t)n);
}

static void on_written(void *owner, int status)
{
    struct rig_peer *p = owner;
    if (status != 0)
        chain_clear(&p->saying);
    say_on(p);
}

static void on_connected(void *owner, int status)
{
    (void)owner;
    (void)status;
    CHECK(false); /* peers don't dial */
}

static void on_closed(void *owner)
{
    struct rig_peer *p = owner;
    p->closed = true;
}

static const struct transport_events peer_events = {
    .buffer = on_buffer,
    .read = on_read,
    .written = on_written,
    .connected = on_connected,
    .closed = on_closed,
};

struct rig_peer *peer_new(struct rig *rig, bool client)
{
    struct rig_peer *p = calloc(1, sizeof(*p));
    CHECK(p != NULL);
    p->rig = rig;
    p->client = client;
    p->pair = pair_new(&rig->w.reactor, rig->capacity);
    p->t = pair_end(p->pair, 1, &peer_events, p);
    bytes_add(&p->said, "", 0); /* so that there is a pointer */
    bytes_add(&p->got, "", 0);
    p->reading = true;
    p->t->ops->read(p->t, true);
    chain_init(&p->saying);
    return p;
}

void peer_free(struct rig_peer *p)
{
    pair_free(p->pair);
    free(p->said.at);
    free(p->got.at);
    free(p);
}

void peer_say(struct rig_peer *p, const void *bytes, size_t n)
{
    if (p->closing || p->end_wanted || (!p->client && !p->up))
        return;
    chain_copy_in(&p->saying, &p->rig->w.reactor.bufs, bytes, n);
    say_on(p);
}

void peer_end(struct rig_peer *p)
{
    p->end_wanted |= p->client || p->up;
    say_on(p);
}

void peer_close(struct rig_peer *p, bool reset)
{
    if (p->closing)
        return;
    p->closing = p->harmed = true;
    chain_clear(&p->saying);
    p->t->ops->close(p->t, reset);
}

void peer_read(struct rig_peer *p, bool on)
{
    p->reading = on;
    if (!p->closing)
        p->t->ops->read(p->t, on);
}
