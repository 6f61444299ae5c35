/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slow clients, held until stdin ends: a head that never ends, a body of a byte at a time, or an
 * answer that is read a few bytes at a time. Each conn has its turn once an interval, evenly
 * spread; one that ended is opened again in its next turn. One thread.
 */
#include "bench/load_modes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/load_report.h"
#include "bench/load_schedule.h"

enum { READ_BYTES = 16, SMALL_RCVBUF = 4096, TURNS_AT_ONCE = 256 };

#define BODY_BYTES "1073741824"

struct slow {
    const struct load_options *options;
    struct request first; /* what goes out when a conn comes up */
    char *rest;           /* what follows byte by byte, from the end of `first` */
    size_t rest_len;      /* its last `cycle` bytes come again and again */
    size_t cycle;
    uint64_t sent_bytes;
    uint64_t answered, answered_408, closed, reset, failed;
};

/* conn.number: bytes of `rest` sent. */
static void on_up(struct net *n, struct conn *c)
{
    struct slow *l = n->owner;

    c->number = 0;
    net_send(n, c, &l->first, n->now_ns);
}

static void on_answered(struct net *n, struct conn *c)
{
    struct slow *l = n->owner;

    l->answered++;
    l->answered_408 += c->answer.status == 408;
}

static void on_ready(struct net *n, struct conn *c)
{
    net_lose(n, c, ERROR_CLOSED); /* answered before its request was complete: it can't go on */
}

static bool on_lost(struct net *n, struct conn *c, enum load_error why, bool in_request)
{
    struct slow *l = n->owner;

    (void)c;
    if (why == ERROR_CONNECT)
        l->failed++;
    else if (in_request && why == ERROR_CLOSED)
        l->closed++;
    else if (in_request)
        l->reset++;
    return false;
}

/* Reading slowly: only an error is looked at at once. */
static void on_readable(struct net *n, struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (c->hup && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error)
        net_lose(n, c, ERROR_RESET);
}

static void send_a_byte(struct slow *l, struct conn *c)
{
    uint64_t at = c->number;

    if (at >= l->rest_len)
        at = l->rest_len - l->cycle + (at - l->rest_len) % l->cycle;
    if (c->out_at == l->first.len && send(c->fd, l->rest + at, 1, MSG_NOSIGNAL) == 1) {
        c->number++;
        l->sent_bytes++;
    }
}

static void take_turn(struct net *n, struct slow *l, struct conn *c)
{
    if (c->state == CONN_DOWN) {
        if (!l->options->once && !list_linked(&c->node))
            net_reopen(n, c);
    } else if (c->state == CONN_BUSY && l->options->kind == SLOW_READ) {
        net_read_some(n, c, READ_BYTES);
    } else if (c->state == CONN_BUSY) {
        send_a_byte(l, c);
    }
}

static void prepare(struct slow *l, const struct load_options *o)
{
    static const char more[] = "X-Slow: 0123456789\r\n";
    size_t len;
    char *head;

    if (o->kind == SLOW_HEAD) {
        head = request_head(o, o->mix[0].method, o->path, "", &len);
        l->rest = malloc(len + sizeof(more));
        if (!l->rest)
            net_die("out of memory", "use shorter headers");
        memcpy(l->rest, head + 1, len - 3); /* without its first byte and the empty line */
        memcpy(l->rest + len - 3, more, sizeof(more) - 1);
        l->cycle = sizeof(more) - 1;
        l->rest_len = len - 3 + l->cycle;
        l->first = (struct request){.bytes = head, .len = 1};
        return;
    }
    if (o->kind == SLOW_BODY) {
        head = request_head(o, "POST", o->path, "Content-Length: " BODY_BYTES "\r\n", &len);
        l->rest = malloc(PATTERN_PERIOD);
        if (!l->rest)
            net_die("out of memory", "use shorter headers");
        pattern_fill(l->rest, PATTERN_PERIOD, 0);
        l->rest_len = l->cycle = PATTERN_PERIOD;
    } else {
        head = request_head(o, o->mix[0].method, o->path, "", &len);
    }
    l->first = (struct request){.bytes = head, .len = len};
}

static unsigned count_open(const struct net *n)
{
    unsigned open = 0;

    for (unsigned i = 0; i < n->options->connections; i++)
        open += n->conns[i].state >= CONN_FREE;
    return open;
}

static void hold(struct net *n, struct slow *l)
{
    unsigned conns = n->options->connections;
    struct schedule turns = schedule_at(n->now_ns, conns * 1e9 / (double)l->options->interval_ns);
    uint64_t next = 0;

    for (net_watch_stdin(n); !n->stdin_ended && !net_stopped();) {
        for (unsigned i = 0; i < TURNS_AT_ONCE && schedule_due(&turns, next) <= n->now_ns; i++)
            take_turn(n, l, &n->conns[next++ % conns]);
        net_turn(n, schedule_due(&turns, next));
    }
    while (net_turn(n, n->now_ns) > 0) { /* what has happened until now */
    }
}

void mode_slow(const struct load_options *o)
{
    static const char *const kinds[] = {"head", "body", "read"};
    static const struct net_mode sending = {
        .up = on_up, .answered = on_answered, .ready = on_ready, .lost = on_lost};
    static const struct net_mode reading = {.up = on_up,
                                            .answered = on_answered,
                                            .ready = on_ready,
                                            .lost = on_lost,
                                            .readable = on_readable};
    struct slow l = {.options = o};
    struct net n;

    prepare(&l, o);
    net_init(&n, o, o->kind == SLOW_READ ? &reading : &sending, &l);
    if (o->kind == SLOW_READ)
        n.rcvbuf = SMALL_RCVBUF;
    net_open_all(&n);
    printf("{\"ready\":true,\"open\":%u}", count_open(&n));
    report_line_end();

    uint64_t from = n.now_ns;
    hold(&n, &l);
    printf("{\"mode\":\"slow\",\"kind\":\"%s\",\"connections\":%u,\"seconds\":%.6f,\"open\":%u,"
           "\"opened\":%llu,\"ended\":{\"answered_408\":%llu,\"answered_other\":%llu,"
           "\"closed\":%llu,\"reset\":%llu,\"not_connected\":%llu},\"slow_bytes\":%llu,",
           kinds[o->kind], o->connections, (double)(n.now_ns - from) / 1e9, count_open(&n),
           (unsigned long long)n.total.opened, (unsigned long long)l.answered_408,
           (unsigned long long)(l.answered - l.answered_408), (unsigned long long)l.closed,
           (unsigned long long)l.reset, (unsigned long long)l.failed,
           (unsigned long long)(o->kind == SLOW_READ ? n.bytes_in : l.sent_bytes));
    report_errors(&n);
    putchar(',');
    report_statuses(&n);
    putchar('}');
    report_line_end();
    net_fini(&n);
    free(l.first.bytes);
    free(l.rest);
}
