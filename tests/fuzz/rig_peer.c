/* SPDX-License-Identifier: Apache-2.0 */
/* The far ends of the pairs: they say what they are told to, and write down what they get. */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/rig_h2.h"

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

static bool go_on(struct rig_peer *p)
{
    if (p->closing || (!p->client && !p->up))
        return false;
    size_t left = p->saying.len - p->spoken, room = pair_room(p->pair, 1);
    size_t n = left < room ? left : room;
    if (n > 0) {
        struct chain chain;
        chain_init(&chain);
        chain_copy_in(&chain, &p->rig->w.reactor.bufs, p->saying.at + p->spoken, n);
        if (p->t->ops->write(p->t, &chain, false) == (ssize_t)n) {
            bytes_add(&p->said, p->saying.at + p->spoken, n);
            p->spoken += n;
        } else {
            p->saying.len = p->spoken; /* nobody takes it any more */
        }
        chain_clear(&chain);
    }
    bool end = p->end_wanted && !p->ended && p->spoken == p->saying.len;
    if (end) {
        p->ended = true;
        p->t->ops->shutdown(p->t);
    }
    return n > 0 || end;
}

bool peer_go_on(struct rig_peer *p)
{
    bool any = p->talk != NULL && talk_go_on(p);
    return go_on(p) || any;
}

static struct span on_buffer(void *owner, struct block **pipe)
{
    (void)pipe;
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

static void on_writable(void *owner)
{
    (void)owner;
    CHECK(false); /* it writes no more than there is room for */
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
    .writable = on_writable,
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
    bytes_add(&p->saying, "", 0);
    if (client ? rig->h2_clients : rig->h2_upstreams)
        p->talk = talk_new(client);
    p->reading = true;
    p->t->ops->read(p->t, true);
    return p;
}

void peer_free(struct rig_peer *p)
{
    pair_free(p->pair);
    talk_free(p->talk);
    free(p->saying.at);
    free(p->said.at);
    free(p->got.at);
    free(p);
}

void peer_say(struct rig_peer *p, const void *bytes, size_t n)
{
    if (p->closing || p->end_wanted || (!p->client && !p->up))
        return;
    bytes_add(&p->saying, bytes, n);
    go_on(p);
}

void peer_end(struct rig_peer *p)
{
    p->end_wanted |= p->client || p->up;
    peer_go_on(p);
}

void peer_close(struct rig_peer *p, bool reset)
{
    if (p->closing)
        return;
    p->closing = p->harmed = true;
    p->t->ops->close(p->t, reset);
}

void peer_read(struct rig_peer *p, bool on)
{
    p->reading = on;
    if (!p->closing)
        p->t->ops->read(p->t, on);
}
