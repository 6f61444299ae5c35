/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what one side of HTTP/2 said, from its first byte. Owns nothing; one thread. */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/rig_h2.h"

#define PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define FIELDS_MAX  4096 /* of a header section: a bomb ends the reading */
#define END_STREAM  0x1
#define END_HEADERS 0x4
#define PADDED      0x8
#define PRIORITY    0x20

struct reader {
    struct h2_words *w;
    nghttp2_hd_inflater *inflater;
    struct bytes block; /* of the section that is being read */
    uint32_t section;   /* whose; 0: none */
    bool section_ends;  /* its stream */
    bool client, broken;
};

struct frame {
    unsigned type, flags;
    uint32_t id;
    const uint8_t *at;
    size_t n;
};

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void wrong(struct reader *r, const char *what)
{
    if (r->w->wrong == NULL)
        r->w->wrong = what;
}

static void broken(struct reader *r, const char *what)
{
    wrong(r, what);
    r->broken = true;
}

struct h2_msg *h2_find_msg(const struct h2_words *w, uint32_t id)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->msgs[i].id == id)
            return &w->msgs[i];
    return NULL;
}

static struct bytes *texts(struct h2_msg *m, unsigned i)
{
    struct bytes *const all[] = {&m->method,   &m->path,       &m->authority,
                                 &m->protocol, &m->request_id, &m->body};
    return i < ARRAY_LEN(all) ? all[i] : NULL;
}

static struct h2_msg *msg_of(struct h2_words *w, uint32_t id)
{
    struct h2_msg *m = h2_find_msg(w, id);
    if (m != NULL)
        return m;
    w->msgs = realloc(w->msgs, (w->n + 1) * sizeof(w->msgs[0]));
    CHECK(w->msgs != NULL);
    m = &w->msgs[w->n++];
    *m = (struct h2_msg){.id = id};
    for (unsigned i = 0; texts(m, i) != NULL; i++)
        bytes_add(texts(m, i), "", 0);
    return m;
}

static bool is(const nghttp2_nv *nv, const char *name)
{
    return nv->namelen == strlen(name) && memcmp(nv->name, name, nv->namelen) == 0;
}

static void set(struct bytes *b, const nghttp2_nv *nv)
{
    b->len = 0;
    bytes_add(b, nv->value, nv->valuelen);
}

static void read_field(struct h2_msg *m, const nghttp2_nv *nv)
{
    if (is(nv, ":method"))
        set(&m->method, nv);
    else if (is(nv, ":path"))
        set(&m->path, nv);
    else if (is(nv, ":authority") || (is(nv, "host") && m->authority.len == 0))
        set(&m->authority, nv);
    else if (is(nv, ":protocol"))
        set(&m->protocol, nv);
    else if (is(nv, "x-request-id"))
        set(&m->request_id, nv);
    else if (is(nv, ":status") && nv->valuelen == 3)
        m->status = (unsigned)strtoul((const char *)nv->value, NULL, 10);
}

/* A whole header section: of nobody (m is NULL) it is only inflated. */
static void inflate(struct reader *r, struct h2_msg *m)
{
    const uint8_t *at = (const uint8_t *)r->block.at;
    size_t left = r->block.len;
    int flags = 0;
    for (unsigned n = 0; !(flags & NGHTTP2_HD_INFLATE_FINAL); n++) {
        nghttp2_nv nv;
        ssize_t used = nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, at, left, 1);
        if (used < 0 || n > FIELDS_MAX) {
            broken(r, "fields that can't be inflated");
            return;
        }
        at += used;
        left -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT && m != NULL)
            read_field(m, &nv);
    }
    nghttp2_hd_inflate_end_headers(r->inflater);
}

static void end_section(struct reader *r)
{
    struct h2_msg *m = msg_of(r->w, r->section);
    r->section = 0;
    bool late = m->ended || m->reset, trailers = m->head;
    inflate(r, late || trailers ? NULL : m);
    if (late)
        wrong(r, "fields behind the end of a stream");
    else if (trailers && !r->section_ends)
        wrong(r, "trailers that don't end a stream");
    else
        m->head = r->client || m->status >= 200;
    m->ended |= r->section_ends;
}

static bool unpad(struct reader *r, struct frame *f, size_t priority)
{
    size_t pad = 0, skip = f->flags & PRIORITY ? priority : 0;
    if (f->flags & PADDED) {
        pad = f->n > 0 ? f->at[0] : 0;
        skip++;
    }
    if (skip + pad > f->n) {
        wrong(r, "padding that is longer than its frame");
        r->broken |= priority > 0; /* what is data on a stream that is over, nobody looks into */
        return false;
    }
    f->at += skip;
    f->n -= skip + pad;
    return true;
}

static void read_headers(struct reader *r, struct frame *f)
{
    if (f->id == 0) {
        broken(r, "fields of no stream");
        return;
    }
    if (!unpad(r, f, 5))
        return;
    r->section = f->id;
    r->section_ends = f->flags & END_STREAM;
    r->block.len = 0;
    bytes_add(&r->block, f->at, f->n);
}

static void read_data(struct reader *r, struct frame *f)
{
    if (f->id == 0)
        broken(r, "data of no stream");
    if (r->broken || !unpad(r, f, 0))
        return;
    struct h2_msg *m = msg_of(r->w, f->id);
    if (!m->head || m->ended || m->reset) {
        wrong(r, "data outside of a message");
        return;
    }
    bytes_add(&m->body, f->at, f->n);
    m->ended = f->flags & END_STREAM;
}

static void read_rst(struct reader *r, const struct frame *f)
{
    if (f->n != 4 || f->id == 0) {
        broken(r, "RST_STREAM");
        return;
    }
    struct h2_msg *m = msg_of(r->w, f->id);
    if (!m->reset)
        m->code = get32(f->at);
    m->reset = true;
}

static void read_goaway(struct reader *r, const struct frame *f)
{
    if (f->n < 8 || f->id != 0) {
        broken(r, "GOAWAY");
        return;
    }
    uint32_t last = get32(f->at) & 0x7fffffff;
    if (!r->w->goaway || last < r->w->last)
        r->w->last = last;
    r->w->goaway = true;
}

static void read_frame(struct reader *r, struct frame *f)
{
    bool more = f->type == NGHTTP2_CONTINUATION;
    if (more != (r->section != 0) || (more && f->id != r->section)) {
        broken(r, "a header section that another frame interrupts");
        return;
    }
    switch (f->type) {
    case NGHTTP2_DATA:
        read_data(r, f);
        break;
    case NGHTTP2_HEADERS:
        read_headers(r, f);
        break;
    case NGHTTP2_CONTINUATION:
        bytes_add(&r->block, f->at, f->n);
        break;
    case NGHTTP2_RST_STREAM:
        read_rst(r, f);
        break;
    case NGHTTP2_GOAWAY:
        read_goaway(r, f);
        break;
    case NGHTTP2_PUSH_PROMISE:
        broken(r, "PUSH_PROMISE");
        break;
    default:
        break;
    }
    if (!r->broken && r->section != 0 && f->flags & END_HEADERS)
        end_section(r);
}

/* The front of a frame: what there is of its data counts. */
static void read_cut(struct reader *r, const uint8_t *at, size_t left)
{
    size_t n = left < 10 ? 0 : get32(at) >> 8, pad = 0, have = left - 9;
    if (n == 0 || at[3] != NGHTTP2_DATA || r->section != 0)
        return;
    struct h2_msg *m = h2_find_msg(r->w, get32(at + 5) & 0x7fffffff);
    bool padded = at[4] & PADDED;
    if (padded)
        pad = 1 + (size_t)at[9];
    if (m == NULL || !m->head || m->ended || m->reset || n < pad)
        return;
    have = have < n - pad + padded ? have : n - pad + padded;
    bytes_add(&m->body, at + 9 + padded, have - padded);
}

void h2_read_words(struct h2_words *w, const struct bytes *wire, bool client)
{
    struct reader r = {.w = w, .client = client};
    const uint8_t *at = (const uint8_t *)wire->at;
    size_t left = wire->len, preface = client ? strlen(PREFACE) : 0;
    *w = (struct h2_words){0};
    CHECK(nghttp2_hd_inflate_new(&r.inflater) == 0);
    bytes_add(&r.block, "", 0);
    if (left < preface || memcmp(at, PREFACE, preface) != 0) {
        w->cut = left < preface;
        if (!w->cut)
            wrong(&r, "no preface");
        left = preface = 0;
    }
    at += preface;
    left -= preface;
    while (!r.broken && left > 0) {
        size_t n = left < 9 ? 0 : get32(at) >> 8;
        w->cut = left < 9 + n;
        if (w->cut) {
            read_cut(&r, at, left);
            break;
        }
        struct frame f = {at[3], at[4], get32(at + 5) & 0x7fffffff, at + 9, n};
        read_frame(&r, &f);
        at += 9 + n;
        left -= 9 + n;
    }
    w->cut |= r.section != 0;
    nghttp2_hd_inflate_del(r.inflater);
    free(r.block.at);
}

void h2_free_words(struct h2_words *w)
{
    for (size_t i = 0; i < w->n; i++)
        for (unsigned j = 0; texts(&w->msgs[i], j) != NULL; j++)
            free(texts(&w->msgs[i], j)->at);
    free(w->msgs);
}
