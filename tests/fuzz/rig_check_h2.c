/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judgement of a conn that talks HTTP/2, by the rules of rig_check.c; and that nothing is done
 * twice for a stream. Owns nothing; one thread.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/rig_h2.h"

static bool same(const struct bytes *a, const struct bytes *b)
{
    return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

static bool begins(const struct bytes *whole, const struct bytes *front)
{
    return front->len <= whole->len && memcmp(whole->at, front->at, front->len) == 0;
}

/* ---- clients ---- */

static bool plain(const struct bytes *target)
{
    for (size_t i = 0; i < target->len; i++)
        if (target->at[i] == '%' ||
            (target->at[i] == '/' && i + 1 < target->len && strchr("/.", target->at[i + 1])))
            return false;
    return true;
}

static void check_taken(const struct rig_x *x, const struct h2_words *said)
{
    const struct rig *rig = x->rig;
    const struct h2_msg *m = h2_find_msg(said, x->h2_id);
    if (m == NULL || !m->head) {
        rig_fail(rig, "%s: weir took a request on stream %u that nobody made", x->id, x->h2_id);
        return;
    }
    bool tunnel = m->protocol.len > 0;
    if (tunnel ? x->method.len != 3 || !x->upgrade : !same(&x->method, &m->method))
        rig_fail(rig, "%s: weir took %s for %s", x->id, x->method.at, m->method.at);
    if (plain(&m->path) && !same(&x->target, &m->path))
        rig_fail(rig, "%s: weir took %s for %s", x->id, x->target.at, m->path.at);
    if (!begins(&m->body, tunnel ? &x->rx_tunnel : &x->rx))
        rig_fail(rig, "%s: the body is not the client's", x->id);
    if (!tunnel && x->rx_end && (!m->ended || x->rx.len != m->body.len))
        rig_fail(rig, "%s: weir took the request for whole", x->id);
    if (tunnel && (x->rx.len > 0 || (x->rx_tunnel_end && !m->ended)))
        rig_fail(rig, "%s: weir took a tunnel for a body, or its end for given", x->id);
}

static void check_got(const struct rig_x *x, const struct h2_words *got, bool healthy)
{
    const struct rig *rig = x->rig;
    const struct h2_msg *m = h2_find_msg(got, x->h2_id);
    bool whole = m != NULL && m->ended && !(m->reset && m->code != 0);
    if (!whole && healthy && x->tx_end && x->reason == REASON_DONE && talk_polite(x->client))
        rig_fail(rig, "%s: the client has not got all of stream %u", x->id, x->h2_id);
    if (m == NULL || !m->head)
        return;
    unsigned status = x->tunnel                                               ? 200
                      : x->h2_extended && x->status >= 200 && x->status < 300 ? 502
                                                                              : x->status;
    if (m->status != status)
        rig_fail(rig, "%s: the client got %u in the place of %u", x->id, m->status, status);
    if (!begins(x->tunnel ? &x->tx_tunnel : &x->tx, &m->body) || (x->no_body && m->body.len > 0))
        rig_fail(rig, "%s: the client got another body", x->id);
    size_t sent = x->tunnel ? x->tx_tunnel.len : x->no_body ? 0 : x->tx.len;
    if (whole && !(x->no_body && x->status != 0) && (!x->tx_end || m->body.len != sent))
        rig_fail(rig, "%s: a response that was cut looks whole: %zu of %zu", x->id, m->body.len,
                 sent);
}

void check_client_h2(struct rig *rig, const struct rig_peer *p, bool healthy)
{
    struct h2_words said, got;
    h2_read_words(&said, &p->said, true);
    h2_read_words(&got, &p->got, false);
    if (got.wrong != NULL)
        rig_fail(rig, "a client got %s", got.wrong);
    for (size_t i = 0; i < got.n; i++) {
        unsigned n = 0;
        for (size_t j = 0; j < rig->n_xs; j++)
            n += rig->xs[j]->client == p && rig->xs[j]->h2_id == got.msgs[i].id;
        if (n > 1 || (n == 0 && got.msgs[i].head))
            rig_fail(rig, "%u exchanges for stream %u, which was answered", n, got.msgs[i].id);
    }
    for (size_t i = 0; i < rig->n_xs; i++) {
        const struct rig_x *x = rig->xs[i];
        if (x->client != p)
            continue;
        if (x->refused == REASON_NONE)
            check_taken(x, &said);
        check_got(x, &got, healthy);
    }
    h2_free_words(&said);
    h2_free_words(&got);
}

/* ---- upstreams ---- */

static bool refused(const struct h2_words *said, const struct h2_msg *answer, uint32_t id)
{
    return (said->goaway && id > said->last) ||
           (answer != NULL && answer->reset && answer->code == 7);
}

static bool fits(const struct rig_x *x, const struct h2_msg *m)
{
    bool tunnel = m->protocol.len > 0;
    return x->refused == REASON_NONE && strlen(x->id) == m->request_id.len &&
           memcmp(x->id, m->request_id.at, m->request_id.len) == 0 &&
           (tunnel ? x->upgrade : same(&x->method, &m->method)) && same(&x->target, &m->path) &&
           same(&x->authority, &m->authority) &&
           begins(tunnel ? &x->rx_tunnel : &x->rx, &m->body) &&
           (tunnel || !m->ended || (x->rx_end && m->body.len == x->rx.len));
}

static bool explains(const struct rig_x *x, const struct h2_msg *answer)
{
    if (answer == NULL || !answer->head)
        return false;
    if (x->tunnel)
        return answer->status / 100 == 2 && begins(&answer->body, &x->tx_tunnel);
    return answer->status == x->status && begins(&answer->body, &x->tx) &&
           (!x->tx_end || (answer->ended && answer->body.len == x->tx.len));
}

static void match(struct rig *rig, struct rig_peer *p, const struct h2_msg *m,
                  const struct h2_words *said)
{
    const struct h2_msg *answer = h2_find_msg(said, m->id);
    struct rig_x *found = NULL;
    for (size_t i = 0; i < rig->n_xs; i++)
        if (fits(rig->xs[i], m) && (found == NULL || found->seen > rig->xs[i]->seen))
            found = rig->xs[i];
    if (found == NULL) {
        rig_fail(rig, "an upstream got %s %s (%s), which nobody asked for", m->method.at,
                 m->path.at, m->request_id.at);
        return;
    }
    found->seen++;
    found->seen_refused += refused(said, answer, m->id);
    found->seen_fresh += p->checked == 0;
    p->checked++;
    if (explains(found, answer))
        found->explained = true;
}

void check_upstream_h2(struct rig *rig, struct rig_peer *p)
{
    struct h2_words said, got;
    h2_read_words(&got, &p->got, true);
    h2_read_words(&said, &p->said, false);
    if (got.wrong != NULL)
        rig_fail(rig, "an upstream got %s", got.wrong);
    p->cut_head = got.cut;
    for (size_t i = 0; i < got.n; i++)
        if (got.msgs[i].head)
            match(rig, p, &got.msgs[i], &said);
    h2_free_words(&said);
    h2_free_words(&got);
}
