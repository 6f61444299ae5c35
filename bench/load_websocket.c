/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket messages (RFC 6455) in a closed loop: a conn is upgraded once, and sends its next
 * message when the last has come back; what comes back is compared byte by byte.
 *
 * The key of the handshake and the masks of the frames are constant, where the RFC wants them
 * unpredictable: that protects proxies that don't know WebSocket from a hostile script, and costs
 * the generator random numbers. One thread.
 */
#include "bench/load_modes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/load_stretch.h"

/* Section 1.3 has this pair as its example. */
#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { FIN = 0x80, MASKED = 0x80, HEAD_MAX = 14, CONTROL_MAX = 125 };

/* Neighbouring conns, and messages one after another on a conn, differ, so that a swap shows. */
enum { VARIANTS = 16 };

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

/* What comes on one conn. */
struct incoming {
    uint8_t head[HEAD_MAX];
    unsigned head_len;
    bool in_payload;
    uint64_t left;     /* of the frame */
    uint64_t got;      /* of the message: fragments are put together */
    unsigned variant;  /* that is expected */
    uint64_t messages; /* sent */
    unsigned control_len;
    uint8_t control[CONTROL_MAX];
};

struct websocket {
    const struct load_options *options;
    struct request upgrade, messages[VARIANTS];
    char *plain; /* VARIANTS - 1 bytes more than a message */
    struct incoming *incoming;
    unsigned upgraded, failed;
    struct stretch stretch;
    struct result result;
};

static unsigned put_head(uint8_t *out, unsigned opcode, uint64_t size)
{
    unsigned len_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8, at = 2;

    out[0] = (uint8_t)(FIN | opcode);
    out[1] = (uint8_t)(MASKED | (len_bytes == 0 ? size : len_bytes == 2 ? 126 : 127));
    for (unsigned i = len_bytes; i-- > 0;)
        out[at++] = (uint8_t)(size >> (8 * i));
    memcpy(out + at, mask, sizeof(mask));
    return at + (unsigned)sizeof(mask);
}

static void prepare(struct websocket *l, const struct load_options *o)
{
    l->upgrade.bytes = request_head(o, "GET", o->path,
                                    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                                    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n",
                                    &l->upgrade.len);
    l->plain = malloc((size_t)o->size + VARIANTS);
    l->incoming = calloc(o->connections, sizeof(*l->incoming));
    if (!l->plain || !l->incoming)
        net_die("out of memory", "use a smaller --size or fewer connections");
    pattern_fill(l->plain, (size_t)o->size + VARIANTS, 0);
    for (unsigned v = 0; v < VARIANTS; v++) {
        uint8_t *frame = malloc((size_t)o->size + HEAD_MAX);
        if (!frame)
            net_die("out of memory", "use a smaller --size");
        unsigned at = put_head(frame, OP_BINARY, o->size);
        for (size_t i = 0; i < o->size; i++)
            frame[at + i] = (uint8_t)l->plain[v + i] ^ mask[i & 3];
        l->messages[v] = (struct request){.bytes = (char *)frame, .len = at + (size_t)o->size};
    }
}

static void on_up(struct net *n, struct conn *c)
{
    struct websocket *l = n->owner;

    l->incoming[c - n->conns] = (struct incoming){0};
    net_send(n, c, &l->upgrade, n->now_ns);
}

static void send_message(struct net *n, struct conn *c, struct websocket *l)
{
    struct incoming *in = &l->incoming[c - n->conns];

    in->variant = (unsigned)((uint64_t)(c - n->conns) + in->messages++) % VARIANTS;
    in->got = 0;
    net_send(n, c, &l->messages[in->variant], n->now_ns);
}

static void on_answered(struct net *n, struct conn *c)
{
    struct websocket *l = n->owner;

    if (c->answer.status != 101) {
        n->errors[ERROR_STATUS] += c->answer.status / 100 == 2; /* the others are counted */
        return;
    }
    if (!memmem(n->last_bytes, n->last_len, ACCEPT, sizeof(ACCEPT) - 1)) {
        n->errors[ERROR_BAD_ANSWER]++;
        return;
    }
    c->raw = true;
    l->upgraded++;
    if (l->stretch.running)
        send_message(n, c, l);
}

static void on_ready(struct net *n, struct conn *c)
{
    net_lose(n, c, ERROR_CLOSED); /* it was not upgraded */
}

static bool on_lost(struct net *n, struct conn *c, enum load_error why, bool in_request)
{
    struct websocket *l = n->owner;

    (void)c;
    (void)in_request;
    if (l->stretch.running || why == ERROR_CONNECT)
        return true;
    l->failed++;
    return false;
}

static void message_done(struct net *n, struct conn *c, struct websocket *l)
{
    n->total.answered++;
    if (stretch_counts(&l->stretch, n)) {
        l->result.requests++;
        hist_add(&l->result.latency, n->now_ns - c->since_ns);
    }
    if (l->stretch.running)
        send_message(n, c, l);
}

static void pong(struct conn *c, const struct incoming *in)
{
    uint8_t frame[HEAD_MAX + CONTROL_MAX];
    unsigned at = put_head(frame, OP_PONG, in->control_len);

    for (unsigned i = 0; i < in->control_len; i++)
        frame[at + i] = in->control[i] ^ mask[i & 3];
    /* Only between two messages may other bytes be sent. */
    if (c->out_at == c->request->len)
        (void)!send(c->fd, frame, at + in->control_len, MSG_NOSIGNAL);
}

static unsigned head_size(const struct incoming *in)
{
    unsigned len7 = in->head_len < 2 ? 0 : in->head[1] & 0x7f;

    return 2 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0);
}

static bool begin_frame(struct incoming *in)
{
    unsigned opcode = in->head[0] & 0x0f, size = head_size(in);
    bool control = opcode & 8;

    in->left = size == 2 ? in->head[1] & 0x7f : 0;
    for (unsigned i = 2; i < size; i++)
        in->left = in->left << 8 | in->head[i];
    in->control_len = 0;
    in->in_payload = true;
    /* Servers don't mask; the first frame of the message is binary, others continue it. */
    if ((in->head[0] & 0x70) || (in->head[1] & MASKED))
        return false;
    return control ? in->left <= CONTROL_MAX : opcode == OP_BINARY ? in->got == 0 : opcode == 0;
}

static bool take_payload(const struct websocket *l, struct incoming *in, const char *bytes,
                         size_t len)
{
    if (in->head[0] & 8) {
        memcpy(in->control + in->control_len, bytes, len);
        in->control_len += (unsigned)len;
        return true;
    }
    if (len > l->options->size - in->got ||
        memcmp(l->plain + in->variant + in->got, bytes, len) != 0)
        return false;
    in->got += len;
    return true;
}

/* Returns false if what came is not what was sent. */
static bool end_frame(struct net *n, struct conn *c, struct websocket *l, struct incoming *in,
                      bool last_bytes)
{
    unsigned opcode = in->head[0] & 0x0f;
    bool whole = in->head[0] & FIN;

    in->in_payload = false;
    in->head_len = 0;
    if (opcode == OP_PING)
        pong(c, in);
    if (opcode >= OP_CLOSE || !whole)
        return true;
    if (in->got != l->options->size || !last_bytes)
        return false;
    message_done(n, c, l);
    return true;
}

static bool on_bytes(struct net *n, struct conn *c, const char *bytes, size_t len)
{
    struct websocket *l = n->owner;
    struct incoming *in = &l->incoming[c - n->conns];

    if (in->messages == 0)
        return false; /* nothing was asked */
    while (len > 0) {
        size_t used = 1;
        if (!in->in_payload) {
            in->head[in->head_len++] = (uint8_t)*bytes;
            if (in->head_len >= 2 && in->head_len == head_size(in) && !begin_frame(in))
                return false;
        } else {
            used = len < in->left ? len : (size_t)in->left;
            if (!take_payload(l, in, bytes, used))
                return false;
            in->left -= used;
        }
        bytes += used;
        len -= used;
        if (!in->in_payload || in->left > 0)
            continue;
        if ((in->head[0] & 0x0f) == OP_CLOSE) {
            net_lose(n, c, ERROR_CLOSED);
            return true;
        }
        if (!end_frame(n, c, l, in, len == 0))
            return false;
    }
    return true;
}

static void upgrade_all(struct net *n, struct websocket *l)
{
    unsigned wanted = l->options->connections;
    uint64_t until;

    net_open_all(n);
    until = n->now_ns + l->options->timeout_ns;
    while (l->upgraded + l->failed < wanted && n->now_ns < until && !net_stopped())
        net_turn(n, until);
    if (l->upgraded == 0)
        net_die("no connection was upgraded to WebSocket", "does --path speak it?");
}

static void start(struct net *n, struct websocket *l)
{
    stretch_begin(&l->stretch, n);
    for (unsigned i = 0; i < l->options->connections; i++)
        if (n->conns[i].raw)
            send_message(n, &n->conns[i], l);
}

static void drain(struct net *n, const struct websocket *l)
{
    for (uint64_t end = n->now_ns + l->options->drain_ns;
         n->total.answered < n->total.sent && n->now_ns < end && !net_stopped();)
        net_turn(n, end);
}

void mode_websocket(const struct load_options *o)
{
    static const struct net_mode mode = {.up = on_up,
                                         .answered = on_answered,
                                         .ready = on_ready,
                                         .lost = on_lost,
                                         .bytes = on_bytes};
    static struct websocket l;
    struct net n, counted;

    l.options = o;
    hist_init(&l.result.latency);
    hist_init(&l.result.late);
    prepare(&l, o);
    net_init(&n, o, &mode, &l);
    upgrade_all(&n, &l);
    start(&n, &l);
    stretch_run(&l.stretch, &n, &l.result);
    counted = n;
    drain(&n, &l);
    counted.total = n.total;
    l.result.unfinished = n.total.sent - n.total.answered;
    l.result.in_time = l.result.requests;
    report(&counted, &l.result);
    net_fini(&n);
    free(l.upgrade.bytes);
    for (unsigned v = 0; v < VARIANTS; v++)
        free(l.messages[v].bytes);
    free(l.plain);
    free(l.incoming);
}
