/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judgement of a run. Reads what clients said and upstreams got, and the other way round, with
 * the second reader (strict.h), and compares it with what the streams between showed:
 *
 * - each request that weir took is the one that the client's bytes are, in its order;
 * - each request that an upstream got is one that weir took: same method, target, host and body;
 * - none goes out more often than its attempts allow, and one that is not idempotent only once;
 * - each response that a client got is the one its exchange sent, and that the upstream gave;
 * - a response that was cut can be told from a whole one;
 * - every exchange ended once, with a reason.
 *
 * Owns nothing; one thread.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/rig.h"

static bool same(const struct bytes *b, struct strict_text t)
{
    return b->len == t.len && (t.len == 0 || memcmp(b->at, t.at, t.len) == 0);
}

static bool begins(const char *whole, size_t n, const char *front, size_t n_front)
{
    return n_front <= n && (n_front == 0 || memcmp(whole, front, n_front) == 0);
}

/* ---- what a client said is what weir took ---- */

static const enum strict_body kinds[] = {
    [BODY_NONE] = STRICT_NONE, [BODY_LENGTH] = STRICT_LENGTH, [BODY_CHUNKED] = STRICT_CHUNKED};

/* Where there is nothing to normalise, nothing may change; fuzz_target.c judges the rest. */
static bool same_target(const struct rig_x *x, struct strict_text t)
{
    bool plain = t.at[0] == '/' && memchr(t.at, '%', t.len) == NULL;
    for (size_t i = 0; plain && i + 1 < t.len; i++)
        plain = t.at[i] != '/' || (t.at[i + 1] != '/' && t.at[i + 1] != '.');
    return x->raw_target.len == t.len && (!plain || same(&x->target, t));
}

static void compare_request(const struct rig_x *x, const struct strict_msg *m, bool whole)
{
    const struct rig *rig = x->rig;
    if (!same(&x->method, m->method) || !same_target(x, m->target))
        rig_fail(rig, "%s: weir took %.*s %.*s for %.*s %.*s", x->id, (int)x->method.len,
                 x->method.at, (int)x->target.len, x->target.at, (int)m->method.len, m->method.at,
                 (int)m->target.len, m->target.at);
    if (m->kind != kinds[x->kind] || m->length != x->length || m->minor != x->minor)
        rig_fail(rig, "%s: weir took body kind %u of %llu bytes for %u of %llu", x->id, m->kind,
                 (unsigned long long)m->length, kinds[x->kind], (unsigned long long)x->length);
    if (!begins(m->body, m->body_len, x->rx.at, x->rx.len))
        rig_fail(rig, "%s: the body is not the client's", x->id);
    if (x->rx_end && (!whole || x->rx.len != m->body_len))
        rig_fail(rig, "%s: weir took the request for whole", x->id);
}

/* Returns how many bytes the request takes, or 0 if no other can follow. */
static size_t check_taken(const struct rig_x *x, size_t at)
{
    const struct bytes *said = &x->client->said;
    struct strict_msg *m = malloc(sizeof(*m));
    CHECK(m != NULL);
    enum strict_verdict v = strict_request(said->at + at, said->len - at,
                                           (struct strict_options){.forgiving = true}, m);
    if (!m->head)
        rig_fail(x->rig, "%s: weir took a request that is %s", x->id,
                 v == STRICT_BAD ? m->wrong : "not there");
    compare_request(x, m, v == STRICT_WHOLE);
    size_t len = v == STRICT_WHOLE && !x->tunnel ? m->len : 0;
    if (x->tunnel &&
        !begins(said->at + at + m->len, said->len - at - m->len, x->rx_tunnel.at, x->rx_tunnel.len))
        rig_fail(x->rig, "%s: the tunnel's bytes are not the client's", x->id);
    strict_free(m);
    free(m);
    return len;
}

/* ---- what a client got is what was sent ---- */

/* Its whole answer has to reach it. A client that ended its direction with another request open is
 * given up, and what was queued for it goes with it. */
static bool healthy(const struct rig_peer *p)
{
    return !p->harmed && !p->end_wanted && p->got_error == 0 && p->reading && !p->rig->aborted;
}

static void compare_response(const struct rig_x *x, const struct strict_msg *m, bool whole)
{
    const struct rig *rig = x->rig;
    size_t sent = x->no_body ? 0 : x->tx.len;
    if (m->status != x->status)
        rig_fail(rig, "%s: the client got %u in the place of %u", x->id, m->status, x->status);
    if (!begins(x->tx.at, sent, m->body, m->body_len))
        rig_fail(rig, "%s: the client got another body", x->id);
    /* In HTTP/2 an upstream may owe the end of a message that has no body. */
    bool ended = x->tx_end || (x->no_body && rig->h2_upstreams);
    if (whole && !x->tunnel && (!ended || m->body_len != sent))
        rig_fail(rig, "%s: a response that was cut looks whole: \"%.*s\", kind %u, %zu of %zu",
                 x->id, (int)x->client->got.len, x->client->got.at, m->kind, m->body_len, sent);
}

/* Returns how many bytes the response takes, or 0 if there is no whole one. */
static size_t check_got(const struct rig_x *x, size_t at)
{
    const struct rig_peer *p = x->client;
    struct strict_options options = {
        .to_head = x->is_head, .to_upgrade = x->upgrade, .ended = p->got_end && p->got_error == 0};
    struct strict_msg *m = malloc(sizeof(*m));
    CHECK(m != NULL);
    size_t len = 0, begun = at;
    enum strict_verdict v;
    for (;;) {
        v = strict_response(p->got.at + at, p->got.len - at, options, m);
        if (v == STRICT_BAD)
            rig_fail(x->rig, "%s: the client got %s", x->id, m->wrong);
        at += m->len;
        if (v != STRICT_WHOLE || m->status >= 200 || m->status == 101)
            break;
        strict_free(m);
    }
    if (m->head && (m->status >= 200 || m->status == 101))
        compare_response(x, m, v == STRICT_WHOLE);
    if (v == STRICT_WHOLE)
        len = at - begun;
    else if (x->tx_end && x->reason == REASON_DONE && healthy(p))
        rig_fail(x->rig, "%s: the client has not got all of it", x->id);
    if (v == STRICT_WHOLE && x->tunnel &&
        !begins(x->tx_tunnel.at, x->tx_tunnel.len, p->got.at + at, p->got.len - at))
        rig_fail(x->rig, "%s: the client got other bytes out of the tunnel", x->id);
    strict_free(m);
    free(m);
    return len;
}

/* Nothing but the preface makes weir talk HTTP/2; one that came too late is a bad request. */
static bool talks_h2(const struct rig *rig, const struct rig_peer *p)
{
    for (size_t i = 0; i < rig->n_xs; i++)
        if (rig->xs[i]->client == p && rig->xs[i]->h2_id == 0)
            return false;
    const char *preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    return begins(p->said.at, p->said.len, preface, strlen(preface));
}

static void check_client(struct rig *rig, const struct rig_peer *p)
{
    if (talks_h2(rig, p)) {
        check_client_h2(rig, p, healthy(p));
        return;
    }
    size_t said = 0, got = 0;
    bool more = true, more_got = true, tunnel = false;
    for (size_t i = 0; i < rig->n_xs; i++) {
        const struct rig_x *x = rig->xs[i];
        if (x->client != p)
            continue;
        if (!more)
            rig_fail(rig, "%s: a request after one that was not whole, or refused", x->id);
        size_t n = x->refused == REASON_NONE ? check_taken(x, said) : 0;
        said += n;
        more = n > 0;
        if (more_got) {
            n = check_got(x, got);
            got += n;
            more_got = n > 0;
        }
        tunnel = x->tunnel;
    }
    if (more_got && !tunnel && got < p->got.len)
        rig_fail(rig, "a client got %zu bytes too many", p->got.len - got);
}

/* ---- what an upstream got is what weir took ---- */

static bool idempotent(const char *at, size_t n)
{
    static const char *const methods[] = {"GET ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "TRACE "};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (begins(at, n, methods[i], strlen(methods[i])) ||
            begins(methods[i], strlen(methods[i]), at, n))
            return true;
    return false;
}

static bool fits(const struct rig_x *x, const struct strict_msg *m, bool whole,
                 struct strict_text id)
{
    struct strict_text host = strict_field(m, "host");
    return x->refused == REASON_NONE && strlen(x->id) == id.len &&
           memcmp(x->id, id.at, id.len) == 0 && same(&x->method, m->method) &&
           same(&x->target, m->target) && host.at != NULL && same(&x->authority, host) &&
           m->kind == kinds[x->kind] && m->length == x->length && m->minor == 1 &&
           begins(x->rx.at, x->rx.len, m->body, m->body_len) &&
           (!whole || (x->rx_end && m->body_len == x->rx.len));
}

/* Is what the client was given, as far as it went, what this upstream answered? Moves *at on to
 * behind the answer; false if there is none. */
static bool next_answer(const struct rig_peer *p, size_t *at, struct strict_options options,
                        struct strict_msg *m, enum strict_verdict *v)
{
    for (;;) {
        *v = strict_response(p->said.at + *at, p->said.len - *at, options, m);
        *at += m->len;
        if (!m->head || *v == STRICT_BAD)
            return m->head;
        if (m->status >= 200 || m->status == 101)
            return true;
        if (*v != STRICT_WHOLE)
            return false;
        strict_free(m);
    }
}

static bool explains(const struct rig_x *x, const struct rig_peer *p, const struct strict_msg *m,
                     enum strict_verdict v, size_t at)
{
    if (m->status != x->status || !begins(m->body, m->body_len, x->tx.at, x->tx.len))
        return false;
    if (x->tunnel)
        return begins(p->said.at + at, p->said.len - at, x->tx_tunnel.at, x->tx_tunnel.len);
    return !x->tx_end || (v == STRICT_WHOLE && m->body_len == x->tx.len);
}

/* Returns false if nothing may follow on the conn. */
static bool match(struct rig *rig, struct rig_peer *p, const struct strict_msg *m, bool whole,
                  size_t got_at, size_t *said_at)
{
    struct strict_text id = strict_field(m, "x-request-id");
    struct rig_x *found = NULL;
    struct strict_msg *answer = calloc(1, sizeof(*answer));
    CHECK(answer != NULL);
    if (id.at == NULL)
        rig_fail(rig, "an upstream got a request without one id");
    for (size_t i = 0; i < rig->n_xs && found == NULL; i++)
        if (fits(rig->xs[i], m, whole, id) && (rig->xs[i]->seen == 0 || rig->xs[i]->idempotent))
            found = rig->xs[i];
    if (found == NULL)
        rig_fail(rig, "an upstream got %.*s %.*s (%.*s), which nobody asked for, or once too often",
                 (int)m->method.len, m->method.at, (int)m->target.len, m->target.at, (int)id.len,
                 id.at);
    found->seen++;
    found->seen_fresh += p->checked == 0;
    p->checked++;
    struct strict_options options = {.forgiving = true,
                                     .to_head = found->is_head,
                                     .to_upgrade = found->upgrade,
                                     .ended = p->ended || (p->closing && p->harmed)};
    enum strict_verdict v;
    bool tunnel = false;
    if (*said_at < p->said.len && next_answer(p, said_at, options, answer, &v)) {
        tunnel = answer->status == 101 && found->tunnel;
        if (explains(found, p, answer, v, *said_at))
            found->explained = true;
    }
    strict_free(answer);
    free(answer);
    if (tunnel &&
        !begins(found->rx_tunnel.at, found->rx_tunnel.len, p->got.at + got_at, p->got.len - got_at))
        rig_fail(rig, "%s: the upstream got other bytes out of the tunnel", found->id);
    return !tunnel;
}

static unsigned check_upstream(struct rig *rig, struct rig_peer *p)
{
    if (p->talk != NULL) {
        check_upstream_h2(rig, p);
        return 0;
    }
    size_t at = 0, said_at = 0;
    unsigned unsafe = 0;
    struct strict_msg *m = malloc(sizeof(*m));
    bool more = true;
    CHECK(m != NULL);
    while (at < p->got.len && more) {
        unsafe += !idempotent(p->got.at + at, p->got.len - at);
        enum strict_verdict v =
            strict_request(p->got.at + at, p->got.len - at, (struct strict_options){0}, m);
        if (v == STRICT_BAD)
            rig_fail(rig, "an upstream got %s", m->wrong);
        at += m->len;
        more = v == STRICT_WHOLE;
        p->cut_head = !m->head;
        if (m->head)
            more &= match(rig, p, m, more, at, &said_at);
        strict_free(m);
    }
    free(m);
    return unsafe;
}

/* ---- all of it ---- */

/* What an upstream had not yet read when its conn broke is not known, nor whose it was. */
static bool lost(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->n_upstreams; i++) {
        const struct rig_peer *p = rig->upstreams[i];
        if (p->said.len > 0 &&
            (p->harmed || p->got_error != 0 || !p->reading || p->cut_head || p->got.len == 0))
            return true;
    }
    return false;
}

static void check_ends(struct rig *rig)
{
    for (size_t i = 0; i < rig->n_xs; i++) {
        const struct rig_x *x = rig->xs[i];
        if (x->ended != 1 || x->reason == REASON_NONE)
            rig_fail(rig, "%s: ended %u times, last with reason \"%s\"", x->id, x->ended,
                     reason_row(x->reason)->name);
        if (x->refused != REASON_NONE && x->seen > 0)
            rig_fail(rig, "%s: was refused and sent on", x->id);
        if (x->retries > x->retries_allowed)
            rig_fail(rig, "%s: %u retries, %u allowed", x->id, x->retries, x->retries_allowed);
        bool unique = true;
        for (size_t j = 0; j < rig->n_xs; j++)
            unique &= j == i || strcmp(x->id, rig->xs[j]->id) != 0;
        unsigned tries = 1 + x->retries + x->hedges;
        if (x->hedges > 0 && !x->idempotent)
            rig_fail(rig, "%s: was hedged, and is not idempotent", x->id);
        if (unique && x->seen_fresh > tries)
            rig_fail(rig, "%s: sent %u times on fresh conns, with %u tries", x->id, x->seen_fresh,
                     tries);
        if (unique && !x->idempotent && x->seen > x->seen_refused + 1)
            rig_fail(rig, "%s: sent %u times, of which %u were refused, and may go out once", x->id,
                     x->seen, x->seen_refused);
        if (unique && x->seen > 2 * tries) /* each may meet one stale conn */
            rig_fail(rig, "%s: sent %u times, with %u tries", x->id, x->seen, tries);
        if (x->status != 0 && !x->authored && !x->explained && unique && !lost(rig))
            rig_fail(rig, "%s: no upstream gave the %u that the client was sent", x->id, x->status);
        if (x->reason == REASON_DONE && !x->tx_end)
            rig_fail(rig, "%s: done, and its answer is not", x->id);
    }
}

void rig_check(struct rig *rig)
{
    unsigned unsafe = 0, unsafe_taken = 0;
    for (unsigned i = 0; i < rig->n_clients; i++)
        check_client(rig, rig->clients[i]);
    for (unsigned i = 0; i < rig->n_upstreams; i++)
        unsafe += check_upstream(rig, rig->upstreams[i]);
    for (size_t i = 0; i < rig->n_xs; i++)
        unsafe_taken += rig->xs[i]->refused == REASON_NONE && !rig->xs[i]->idempotent;
    if (unsafe > unsafe_taken)
        rig_fail(rig, "%u requests that may only go out once began %u times", unsafe_taken, unsafe);
    check_ends(rig);
}
