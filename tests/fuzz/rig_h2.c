/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that talks HTTP/2. Owns its half of the compression and its side of the windows. */
#include "tests/fuzz/rig_h2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define END_STREAM  0x1
#define END_HEADERS 0x4
#define STREAMS     64 /* that are remembered */
#define QUEUE_MAX   300000
#define FRAME_MAX   16384

struct talk_stream {
    uint32_t id;
    int64_t window;
    size_t queued; /* body bytes that are still to be said */
    bool end;      /* ... and then the end of the stream */
};

struct talk {
    nghttp2_hd_deflater *deflater;
    bool client, began, polite;
    size_t read; /* bytes of what was got */
    uint32_t next;
    int64_t window, initial;
    struct talk_stream streams[STREAMS];
    unsigned n; /* ever; the newest is streams[(n - 1) % STREAMS] */
};

struct talk *talk_new(bool client)
{
    struct talk *t = calloc(1, sizeof(*t));
    CHECK(t != NULL && nghttp2_hd_deflate_new(&t->deflater, 4096) == 0);
    t->client = client;
    t->polite = true;
    t->next = 1;
    t->window = t->initial = 65535;
    return t;
}

void talk_free(struct talk *t)
{
    if (t == NULL)
        return;
    nghttp2_hd_deflate_del(t->deflater);
    free(t);
}

bool talk_polite(const struct rig_peer *p)
{
    return p->talk->polite && p->rig->h2_acks && p->rig->h2_windows;
}

/* ---- frames ---- */

static void put32(uint8_t *to, uint32_t v)
{
    for (int i = 3; i >= 0; i--, v >>= 8)
        to[i] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void say_head(struct rig_peer *p, unsigned type, unsigned flags, uint32_t id, size_t n)
{
    uint8_t head[9];
    put32(head, (uint32_t)n << 8 | type);
    head[4] = (uint8_t)flags;
    put32(head + 5, id);
    peer_say(p, head, sizeof(head));
}

static void say(struct rig_peer *p, unsigned type, unsigned flags, uint32_t id, const void *at,
                size_t n)
{
    rig_tell(p->rig, "    %s says frame %u flags %#x stream %u, %zu bytes",
             p->client ? "client" : "upstream", type, flags, id, n);
    say_head(p, type, flags, id, n);
    peer_say(p, at, n);
}

static void say32(struct rig_peer *p, unsigned type, uint32_t id, uint32_t value)
{
    uint8_t payload[4];
    put32(payload, value);
    say(p, type, 0, id, payload, sizeof(payload));
}

static void say_setting(struct rig_peer *p, unsigned setting, uint32_t value)
{
    uint8_t payload[6] = {(uint8_t)(setting >> 8), (uint8_t)setting};
    put32(payload + 2, value);
    say(p, NGHTTP2_SETTINGS, 0, 0, payload, sizeof(payload));
}

static void say_goaway(struct rig_peer *p, uint32_t last, uint32_t code)
{
    uint8_t payload[8];
    put32(payload, last);
    put32(payload + 4, code);
    say(p, NGHTTP2_GOAWAY, 0, 0, payload, sizeof(payload));
}

/* ---- streams ---- */

static struct talk_stream *find(struct talk *t, uint32_t id)
{
    for (unsigned i = 0; i < t->n && i < STREAMS; i++)
        if (t->streams[i].id == id)
            return &t->streams[i];
    return NULL;
}

static struct talk_stream *newest(struct talk *t, unsigned nth)
{
    unsigned have = t->n < STREAMS ? t->n : STREAMS;
    return have == 0 ? NULL : &t->streams[(t->n - 1 - nth % have) % STREAMS];
}

static struct talk_stream *add_stream(struct talk *t, uint32_t id)
{
    struct talk_stream *s = &t->streams[t->n++ % STREAMS];
    *s = (struct talk_stream){.id = id, .window = t->initial};
    return s;
}

static uint32_t new_id(struct talk *t)
{
    uint32_t id = t->next;
    t->next += 2;
    add_stream(t, id);
    return id;
}

/* ---- answering what was got ---- */

static void hear_settings(struct rig_peer *p, unsigned flags, const uint8_t *at, size_t n)
{
    struct talk *t = p->talk;
    if (flags & 1)
        return;
    for (; n >= 6; at += 6, n -= 6) {
        if (at[0] != 0 || at[1] != NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)
            continue;
        int64_t initial = get32(at + 2);
        for (unsigned i = 0; i < t->n && i < STREAMS; i++)
            t->streams[i].window += initial - t->initial;
        t->initial = initial;
    }
    if (p->rig->h2_acks)
        say(p, NGHTTP2_SETTINGS, 1, 0, NULL, 0);
}

static void hear_frame(struct rig_peer *p, unsigned type, unsigned flags, uint32_t id,
                       const uint8_t *at, size_t n)
{
    struct talk *t = p->talk;
    struct talk_stream *s = id != 0 ? find(t, id) : NULL;
    switch (type) {
    case NGHTTP2_SETTINGS:
        hear_settings(p, flags, at, n);
        break;
    case NGHTTP2_PING:
        if (p->rig->h2_acks && !(flags & 1) && n == 8)
            say(p, NGHTTP2_PING, 1, 0, at, n);
        break;
    case NGHTTP2_HEADERS:
        if (s == NULL && !t->client)
            add_stream(t, id);
        break;
    case NGHTTP2_DATA:
        if (!p->rig->h2_windows || n == 0)
            break;
        say32(p, NGHTTP2_WINDOW_UPDATE, 0, (uint32_t)n);
        if (!(flags & END_STREAM))
            say32(p, NGHTTP2_WINDOW_UPDATE, id, (uint32_t)n);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        if (id == 0 && n == 4)
            t->window += get32(at);
        else if (s != NULL && n == 4)
            s->window += get32(at);
        break;
    case NGHTTP2_RST_STREAM:
        if (s != NULL) {
            s->queued = 0;
            s->end = false;
        }
        break;
    default:
        break;
    }
}

static bool hear(struct rig_peer *p)
{
    struct talk *t = p->talk;
    bool any = false;
    if (!t->client && t->read == 0) {
        if (p->got.len < strlen(PREFACE))
            return false;
        t->read = strlen(PREFACE);
    }
    while (p->got.len >= t->read + 9) {
        const uint8_t *at = (const uint8_t *)p->got.at + t->read;
        size_t n = get32(at) >> 8;
        if (p->got.len < t->read + 9 + n)
            break;
        t->read += 9 + n;
        hear_frame(p, at[3], at[4], get32(at + 5) & 0x7fffffff, at + 9, n);
        any = true;
    }
    return any;
}

/* ---- bodies, within the windows ---- */

static bool say_queued(struct rig_peer *p, struct talk_stream *s)
{
    static const char filler[FRAME_MAX];
    struct talk *t = p->talk;
    bool any = false;
    while (s->queued > 0 && s->window > 0 && t->window > 0) {
        size_t n = s->queued < FRAME_MAX ? s->queued : FRAME_MAX;
        n = (int64_t)n < s->window ? n : (size_t)s->window;
        n = (int64_t)n < t->window ? n : (size_t)t->window;
        s->queued -= n;
        s->window -= (int64_t)n;
        t->window -= (int64_t)n;
        bool end = s->queued == 0 && s->end;
        say(p, NGHTTP2_DATA, end ? END_STREAM : 0, s->id, filler, n);
        s->end &= !end;
        any = true;
    }
    if (s->queued == 0 && s->end) {
        s->end = false;
        say(p, NGHTTP2_DATA, END_STREAM, s->id, NULL, 0);
        any = true;
    }
    return any;
}

static void begin(struct rig_peer *p)
{
    p->talk->began = true;
    if (p->rig->h2_mute)
        return;
    if (p->client)
        peer_say(p, PREFACE, strlen(PREFACE));
    say(p, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    if (!p->client)
        say_setting(p, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
}

bool talk_go_on(struct rig_peer *p)
{
    struct talk *t = p->talk;
    if (p->closing || p->end_wanted || (!p->client && !p->up))
        return false;
    bool any = !t->began;
    if (!t->began)
        begin(p);
    any |= hear(p);
    for (unsigned i = 0; i < t->n && i < STREAMS; i++)
        any |= say_queued(p, &t->streams[i]);
    return any;
}

/* ---- fields ---- */

static void say_fields(struct rig_peer *p, uint32_t id, unsigned flags, const char *fields)
{
    nghttp2_nv nva[64];
    uint8_t block[8192];
    size_t n = 0;
    for (const char *at = fields; *at != '\0' && n < ARRAY_LEN(nva); n++) {
        const char *colon = strstr(at + 1, ": "), *eol = strchr(at, '\n');
        CHECK(colon != NULL && eol != NULL);
        nva[n] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)at,
                              .namelen = (size_t)(colon - at),
                              .value = (uint8_t *)(uintptr_t)colon + 2,
                              .valuelen = (size_t)(eol - colon - 2)};
        at = eol + 1;
    }
    ssize_t len = nghttp2_hd_deflate_hd(p->talk->deflater, block, sizeof(block), nva, n);
    CHECK(len >= 0);
    size_t front = flags & 2 ? (size_t)len / 2 : (size_t)len;
    unsigned other = flags & ~2u;
    if (flags & 2) {
        say(p, NGHTTP2_HEADERS, other & ~(unsigned)END_HEADERS, id, block, front);
        say(p, NGHTTP2_CONTINUATION, END_HEADERS, id, block + front, (size_t)len - front);
    } else {
        say(p, NGHTTP2_HEADERS, other | END_HEADERS, id, block, front);
    }
}

#define GET(path)  ":method: GET\n:scheme: http\n:authority: h\n:path: " path "\n"
#define POST(path) ":method: POST\n:scheme: http\n:authority: h\n:path: " path "\n"

struct shelf {
    const char *fields;
    size_t body;
    bool open; /* it goes on */
};

static const struct shelf requests[] = {
    {GET("/a"), 0, false},
    {POST("/a") "content-length: 5\n", 5, false},
    {POST("/b"), 5, false},
    {GET("/b"), 0, false},
    {":method: PUT\n:scheme: http\n:authority: h\n:path: /a?q=1\ncontent-length: 70000\n", 0, true},
    {":method: HEAD\n:scheme: http\n:authority: h\n:path: /a/./x/../y\n", 0, false},
    {POST("/a"), 0, true},
    {":method: CONNECT\n:scheme: http\n:authority: h\n:path: /a\n:protocol: websocket\n", 0, true},
    {":method: PUT\n:scheme: http\n:authority: h\n:path: /b\nexpect: 100-continue\n", 0, true},
    {POST("/a"), 100000, false},
    {GET("/b") "cookie: a=1\ncookie: b=2\nx-request-id: mine\nte: trailers\n", 0, false},
    {":method: DELETE\n:scheme: http\n:authority: h\n:path: /n\n", 0, false},
    {GET("/none"), 0, false},
    {":method: PUT\n:scheme: http\n:authority: h\n:path: /a\n", 3, false},
    {":method: CONNECT\n:authority: h:1\n", 0, true},
    {POST("/a") "content-length: 5\n", 3, false}, /* less than it said */
    {GET("/a") "connection: close\n", 0, false},
    {":method: GET\n:path: /a\n", 0, false},
};

static const struct shelf answers[] = {
    {":status: 200\ncontent-length: 2\n", 2, false},
    {":status: 200\n", 5, false},
    {":status: 204\n", 0, false},
    {":status: 304\ncontent-length: 9\n", 0, false},
    {":status: 200\n", 0, true},
    {":status: 100\n", 0, true},
    {":status: 103\nlink: <x>\n", 0, true},
    {":status: 200\ncontent-length: 70000\n", 0, true},
    {":status: 200\n", 100000, false},
    {":status: 503\ncontent-length: 0\n", 0, false},
    {":status: 200\ncontent-length: 5\n", 3, false}, /* less than it said */
    {":status: 101\n", 0, true},
    {":status: 200\nconnection: close\n", 0, false},
    {"x: y\n", 0, false},
};

static void say_shelf(struct rig_peer *p, struct talk_stream *s, const struct shelf *what)
{
    bool end = what->body == 0 && !what->open;
    say_fields(p, s->id, end ? END_STREAM : 0, what->fields);
    s->queued += what->body;
    s->end |= what->body > 0 && !what->open;
}

/* What either side may say beside messages; some of it is rude. */
static void say_manners(struct rig_peer *p, unsigned n)
{
    struct talk *t = p->talk;
    struct talk_stream *s = newest(t, n >> 4);
    uint32_t id = s != NULL ? s->id : 1;
    switch (n & 15) {
    case 0: /* the end of a body */
        if (s != NULL)
            s->end = true;
        return;
    case 1:
        say_fields(p, id, END_STREAM, "x-sum: 1\n");
        break;
    case 2:
        say32(p, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
        break;
    case 3:
        say32(p, NGHTTP2_RST_STREAM, id, NGHTTP2_REFUSED_STREAM);
        break;
    case 4:
        say32(p, NGHTTP2_RST_STREAM, id, NGHTTP2_NO_ERROR);
        break;
    case 5:
        say_goaway(p, t->client ? 0 : id, NGHTTP2_NO_ERROR);
        break;
    case 6:
        say_goaway(p, 0x7fffffff, NGHTTP2_NO_ERROR);
        break;
    case 7:
        say_goaway(p, !t->client && id > 2 ? id - 2 : 0, NGHTTP2_NO_ERROR);
        break;
    case 8:
        say(p, NGHTTP2_PING, 0, 0, "01234567", 8);
        break;
    case 9:
        say_setting(p, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 10);
        break;
    case 10:
        say_setting(p, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, n >> 4);
        break;
    case 11:
        say_setting(p, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, (n >> 4) * 20);
        break;
    case 12:
        say32(p, NGHTTP2_WINDOW_UPDATE, 0, 1 << 20);
        break;
    case 13:
        say32(p, NGHTTP2_WINDOW_UPDATE, id, 1 << 20);
        break;
    case 14:
        say_setting(p, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20);
        break;
    default:
        say_goaway(p, id, NGHTTP2_INTERNAL_ERROR);
        break;
    }
    t->polite = false;
}

void talk_request(struct rig_peer *p, unsigned n)
{
    struct talk *t = p->talk;
    talk_go_on(p);
    if (!t->client) {
        say_manners(p, n);
        return;
    }
    t->polite &= n % ARRAY_LEN(requests) < 13;
    new_id(t);
    say_shelf(p, newest(t, 0), &requests[n % ARRAY_LEN(requests)]);
    talk_go_on(p);
}

void talk_answer(struct rig_peer *p, unsigned n)
{
    struct talk *t = p->talk;
    unsigned nth = n / (unsigned)ARRAY_LEN(answers);
    talk_go_on(p);
    if (t->client) {
        say_manners(p, n);
    } else if (newest(t, nth) != NULL) {
        say_shelf(p, newest(t, nth), &answers[n % ARRAY_LEN(answers)]);
    }
    talk_go_on(p);
}

void talk_bulk(struct rig_peer *p, size_t n)
{
    struct talk_stream *s = newest(p->talk, 0);
    if (s != NULL && s->queued + n < QUEUE_MAX)
        s->queued += n;
    talk_go_on(p);
}

/* ---- frames of the script ---- */

static const char *const field_shelf[] = {
    ":method: GET\n",
    ":method: POST\n",
    ":method: CONNECT\n",
    ":scheme: http\n",
    ":path: /a\n",
    ":path: /b?x=1\n",
    ":authority: h\n",
    ":protocol: websocket\n",
    ":status: 200\n",
    ":status: 100\n",
    ":status: 204\n",
    "host: h\n",
    "host: other\n",
    "content-length: 5\n",
    "content-length: 0\n",
    "content-length: 70000\n",
    "cookie: a=1\n",
    "te: trailers\n",
    "expect: 100-continue\n",
    "connection: upgrade\n",
    "transfer-encoding: chunked\n",
    "x-request-id: mine\n",
    "x-sum: 1\n",
    "X-Upper: 1\n",
    "x-empty: \n",
    ":path: \n",
    ":path: *\n",
    ":scheme: ftp\n",
    "x-long: 012345678901234567890123456789012345678901234567890123456789012345678901234567890\n",
    "grpc-status: 0\n",
    "content-type: application/grpc\n",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n",
};

static void frame_of_fields(struct rig_peer *p, unsigned flags, uint32_t id, const char *at,
                            size_t n)
{
    struct bytes fields = {0};
    bytes_add(&fields, "", 0);
    for (size_t i = 0; i < n && i < 40; i++) {
        const char *f = field_shelf[(uint8_t)at[i] % ARRAY_LEN(field_shelf)];
        bytes_add(&fields, f, strlen(f));
    }
    say_fields(p, id, flags & (END_STREAM | 2), fields.at);
    free(fields.at);
}

static uint32_t frame_stream(struct talk *t, uint8_t how)
{
    if (how < 64)
        return how;
    if (how < 128 && t->client)
        return new_id(t);
    struct talk_stream *s = newest(t, how & 63);
    return s != NULL ? s->id : 1;
}

void talk_frame(struct rig_peer *p, const char *at, size_t n)
{
    static const char zeroes[255 * 64];
    static const uint32_t values[] = {0,     1,          2,          100,        4096,       16384,
                                      65535, 0x00ffffff, 0x7fffffff, 0x80000000, 0xffffffff, 20};
    struct talk *t = p->talk;
    t->polite = false;
    talk_go_on(p);
    if (n < 3)
        return;
    unsigned kind = (uint8_t)at[0] % TALK_FRAMES, flags = (uint8_t)at[1];
    unsigned how = n > 3 ? (uint8_t)at[3] : 0;
    uint32_t id = frame_stream(t, (uint8_t)at[2]), value = values[how % ARRAY_LEN(values)];
    switch (kind) {
    case TALK_FIELDS:
        frame_of_fields(p, flags, id, at + 3, n - 3);
        break;
    case TALK_RAW:
        peer_say(p, at + 3, n - 3);
        break;
    case TALK_DATA:
        say(p, NGHTTP2_DATA, flags & END_STREAM, id, zeroes, (size_t)how * 64);
        break;
    case TALK_SETTING:
        say_setting(p, flags, value);
        break;
    case TALK_WINDOW:
        say32(p, NGHTTP2_WINDOW_UPDATE, id, value);
        break;
    case TALK_LONGER:
        if (n > 4) {
            say_head(p, how % 12, flags, id, (uint8_t)at[4]);
            peer_say(p, at + 5, n - 5);
        }
        break;
    default:
        say(p, kind, flags, id, at + 3, n - 3);
        break;
    }
}
