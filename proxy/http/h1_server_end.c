/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of an HTTP/1 client conn when a request is answered: the states after it and their
 * clocks. Owns nothing of its own; must never call up. Reactor's thread.
 */
#include "proxy/http/h1_server_end.h"

#include "proxy/base/check.h"
#include "proxy/base/log.h"

/* Which states may follow which; the trace is what `log: debug` shows. */
static void server_set_state(struct h1_server *srv, enum server_state state)
{
    static const char *const names[] = {"open", "drain", "flush", "linger"};
    static const uint8_t after[] = {
        [SERVER_OPEN] =
            1 << SERVER_OPEN | 1 << SERVER_DRAIN | 1 << SERVER_FLUSH | 1 << SERVER_LINGER,
        [SERVER_DRAIN] = 1 << SERVER_OPEN | 1 << SERVER_FLUSH | 1 << SERVER_LINGER,
        [SERVER_FLUSH] = 1 << SERVER_FLUSH,
        [SERVER_LINGER] = 0,
    };
    CHECK(after[srv->state] & 1 << state);
    if (srv->state != state)
        log_debug("client conn %p: %s -> %s", (void *)&srv->conn, names[srv->state], names[state]);
    srv->state = (uint8_t)state;
}

void h1_server_drop_parser(struct h1_server *srv)
{
    struct h1_parser *p = TAKE(srv->parser);
    if (p != NULL)
        h1_parser_fini(p);
    reactor_free(srv->conn.reactor, SLAB_H1_PARSER, p);
}

void h1_server_arm(struct h1_server *srv)
{
    struct conn *c = &srv->conn;
    if (conn_unsent(c) > 0 || conn_closed(c))
        conn_expect(c, NEVER);
    else if (srv->state == SERVER_LINGER)
        conn_expect(c, CLIENT_LINGER_MS);
    else if (srv->state == SERVER_OPEN && srv->stream == NULL && !h1_server_began(srv))
        conn_expect(c, srv->served ? srv->options->idle_ms : srv->options->head_ms);
}

void h1_server_close_flushed(struct h1_server *srv, enum reason reason, bool reset)
{
    server_set_state(srv, SERVER_FLUSH);
    srv->reason = (uint16_t)reason;
    srv->reset = reset;
    if (!reset && conn_unsent(&srv->conn) > 0)
        conn_send_end(&srv->conn); /* with the last bytes: what is closed with input loses them */
    conn_expect(&srv->conn, NEVER);
    conn_wake(&srv->conn);
}

void h1_server_linger(struct h1_server *srv, enum reason reason)
{
    server_set_state(srv, SERVER_LINGER);
    srv->reason = (uint16_t)reason;
    srv->discarded = 0;
    conn_send_end(&srv->conn);
    body_flow_end(&srv->conn);
    conn_resume(&srv->conn, PAUSE_FULL);
    h1_server_arm(srv);
    conn_wake(&srv->conn);
}

void h1_server_drain(struct h1_server *srv)
{
    server_set_state(srv, SERVER_DRAIN);
    srv->discarded = 0;
    body_flow_end(&srv->conn);
    conn_resume(&srv->conn, PAUSE_FULL);
    conn_expect(&srv->conn, srv->options->body_ms);
    conn_wake(&srv->conn);
}

void h1_server_next(struct h1_server *srv, bool keep, bool asked)
{
    struct conn *c = &srv->conn;
    h1_server_drop_parser(srv);
    srv->served = true;
    /* Asked again: the worker may have begun to close since the head promised another request. */
    keep = keep && srv->options->service->keep_alive(srv->options->ctx, &srv->client.peer, true);
    body_flow_end(c);
    if (!keep && (c->flags & CONN_EOF || (asked && conn_input(c).len == 0))) {
        h1_server_close_flushed(srv, REASON_DONE, false);
        return;
    }
    if (!keep) {
        h1_server_linger(srv, REASON_DONE);
        return;
    }
    server_set_state(srv, SERVER_OPEN);
    conn_release_input(c);
    h1_server_arm(srv);
    if (conn_input(c).len > 0 || c->flags & CONN_EOF)
        conn_wake(c);
}
