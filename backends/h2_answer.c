/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer of one stream: its head, its content piece by piece as nghttp2 asks for it, and its
 * trailers, with what the knobs ask for. Never reads. Its worker's thread only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/content.h"
#include "backends/h2_stream.h"

#define FIELDS_MAX 128
#define NS_PER_MS  UINT64_C(1000000)

struct fields {
    nghttp2_nv nv[FIELDS_MAX];
    size_t n;
    bool over; /* there were more */
};

static void add(struct fields *f, struct span name, struct span value)
{
    if (f->n == FIELDS_MAX) {
        f->over = true;
        return;
    }
    f->nv[f->n++] = (nghttp2_nv){.name = (uint8_t *)name.ptr,
                                 .value = (uint8_t *)value.ptr,
                                 .namelen = name.len,
                                 .valuelen = value.len};
}

/* Adds the `name: value` pieces of a text; nghttp2 makes the names lower-case. */
static void add_all(struct fields *f, struct span text, char separator)
{
    while (text.len > 0) {
        const char *end = memchr(text.ptr, separator, text.len);
        struct span piece = span_of(text.ptr, end ? (size_t)(end - text.ptr) : text.len);
        const char *colon = memchr(piece.ptr, ':', piece.len);
        text = span_of(text.ptr + piece.len + !!end, text.len - piece.len - !!end);
        if (piece.len && piece.ptr[piece.len - 1] == '\r')
            piece.len--;
        if (colon && colon > piece.ptr)
            add(f, span_trim(span_of(piece.ptr, (size_t)(colon - piece.ptr))),
                span_trim(span_of(colon + 1, (size_t)(piece.ptr + piece.len - colon - 1))));
    }
}

static void reset(struct h2_stream *s)
{
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
}

static void resume(struct h2_stream *s)
{
    if (!s->deferred || list_linked(&s->waiting))
        return;
    s->deferred = false;
    s->h2->may_write = true;
    nghttp2_session_resume_data(s->h2->session, s->id);
}

static void wait_until(struct h2_stream *s, uint64_t due)
{
    s->due = due;
    list_push_back(&s->h2->waiting, &s->waiting);
    if (due < s->h2->next_due)
        s->h2->next_due = due;
}

/* ---- content, as nghttp2 asks for it --------------------------------------------------------- */

/* True if the last of the content was sent. */
static bool all_sent(const struct h2_stream *s)
{
    return s->content ? s->off == s->content->len : s->ended && s->kept_at == s->kept.len;
}

static bool cut_reached(const struct h2_stream *s)
{
    return s->cut.where == CUT_IN_BODY && (s->off == s->cut.bytes || all_sent(s));
}

static ssize_t cut_here(struct h2_stream *s)
{
    if (s->cut_end == END_RESET)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
    if (s->cut_end == END_CLOSE)
        s->h2->conn->end = END_CLOSE;
    return NGHTTP2_ERR_DEFERRED; /* and nobody resumes it */
}

/* The end of the content, and the trailers if there are any. */
static void end_content(struct h2_stream *s, uint32_t *flags)
{
    struct fields f = {.n = 0};
    if (s->asked.handler == HANDLER_GRPC)
        add(&f, SPAN_LIT("grpc-status"), SPAN_LIT("0"));
    else if (h2_streams_back(s))
        add_all(&f, span_of(s->trailers.data, s->trailers.len), '\n');
    if (knobs_has(s->asked.knobs, KNOB_TRAILERS))
        add_all(&f, span_str(s->asked.knobs->trailers.text), '|');
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (f.n == 0)
        return;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (f.over || nghttp2_submit_trailer(s->h2->session, s->id, f.nv, f.n) != 0)
        reset(s);
}

/* How much may go now. */
static size_t piece_size(const struct h2_stream *s, size_t room)
{
    const struct knobs *k = s->asked.knobs;
    uint64_t n = s->content ? s->content->len - s->off : s->kept.len - s->kept_at;
    if (s->content && knobs_has(k, KNOB_SLOW)) {
        uint64_t piece = knobs_has(k, KNOB_SLOW_BYTES) ? k->slow_bytes : 1;
        n = n < piece ? n : piece;
    }
    if (s->cut.where == CUT_IN_BODY && n > s->cut.bytes - s->off)
        n = s->cut.bytes - s->off;
    return n < room ? (size_t)n : room;
}

/* What was sent of a body that streams back makes room for more of it. */
static void take_kept(struct h2_stream *s, char *to, size_t n)
{
    size_t dump = s->off < s->dump_len ? s->dump_len - (size_t)s->off : 0;
    memcpy(to, s->kept.data + s->kept_at, n);
    s->kept_at += n;
    if (s->kept_at == s->kept.len)
        s->kept_at = s->kept.len = 0;
    if (n > dump)
        nghttp2_session_consume_stream(s->h2->session, s->id, n - dump);
}

static void take_piece(struct h2_stream *s, char *to, size_t n)
{
    if (!s->content)
        take_kept(s, to, n);
    else if (s->content->text)
        memcpy(to, s->content->text + s->off, n);
    else
        pattern_fill(to, s->off, n);
    s->off += n;
}

static ssize_t on_pull(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = CAST_OBJ(h2_stream, source->ptr, H2_STREAM_MAGIC);
    (void)session, (void)id, (void)user;
    if (cut_reached(s))
        return cut_here(s);
    size_t n = piece_size(s, room);
    if (n > 0)
        take_piece(s, (char *)buf, n);
    if (cut_reached(s))
        return n > 0 ? (ssize_t)n : cut_here(s);
    if (all_sent(s)) {
        end_content(s, flags);
        return (ssize_t)n;
    }
    if (n == 0)
        s->deferred = true;
    return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

/* A slow body: a piece, and then nothing until its time has come. */
static ssize_t on_pull_slowly(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room,
                              uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = CAST_OBJ(h2_stream, source->ptr, H2_STREAM_MAGIC);
    uint64_t now = uv_hrtime();
    if (now < s->due) {
        s->deferred = true;
        wait_until(s, s->due);
        return NGHTTP2_ERR_DEFERRED;
    }
    s->due = now + s->asked.knobs->slow_ms * NS_PER_MS;
    return on_pull(session, id, buf, room, flags, source, user);
}

/* ---- head ------------------------------------------------------------------------------------ */

/* Makes the content, unless it streams back. */
static bool make_content(struct h2_stream *s)
{
    if (h2_streams_back(s))
        return true;
    s->content = malloc(sizeof(*s->content));
    if (s->content)
        *s->content = content_make(&s->asked, s->h2->conn->worker->service, s->body_bytes);
    return s->content;
}

static unsigned status_of(const struct h2_stream *s)
{
    if (s->content && s->content->status != 200)
        return s->content->status;
    return knobs_has(s->asked.knobs, KNOB_STATUS) ? (unsigned)s->asked.knobs->status : 200;
}

/* True if the content's length is known and may be told. */
static bool length_of(const struct h2_stream *s, uint64_t *len)
{
    if (knobs_has(s->asked.knobs, KNOB_TRAILERS) || s->asked.handler == HANDLER_GRPC)
        return false;
    if (s->content)
        *len = s->content->len;
    else if (s->ended)
        *len = s->kept.len;
    else
        *len = s->dump_len + s->content_length;
    return s->content || s->ended || s->has_length;
}

static struct span type_of(const struct h2_stream *s)
{
    if (s->content)
        return span_str(s->content->type);
    if (s->dump_len)
        return SPAN_LIT("text/plain");
    return s->type.len ? h2_part(s, s->type) : SPAN_LIT("application/octet-stream");
}

static void send_interim(struct h2_stream *s, unsigned status)
{
    char text[4];
    struct fields f = {.n = 0};
    snprintf(text, sizeof(text), "%u", status % 1000);
    add(&f, SPAN_LIT(":status"), span_str(text));
    if (status == 103)
        add(&f, SPAN_LIT("link"), SPAN_LIT("</style.css>; rel=preload; as=style"));
    nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, f.nv, f.n, NULL);
}

static void submit(struct h2_stream *s, unsigned status)
{
    char code[4], number[24];
    uint64_t len;
    struct fields f = {.n = 0};
    const struct worker *w = s->h2->conn->worker;
    const struct knobs *k = s->asked.knobs;
    bool bodiless = status == 204 || status == 304;
    snprintf(code, sizeof(code), "%u", status % 1000);
    add(&f, SPAN_LIT(":status"), span_str(code));
    add(&f, SPAN_LIT("date"), span_str(w->date));
    add(&f, SPAN_LIT("content-type"), type_of(s));
    if (!bodiless && length_of(s, &len)) {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)len);
        add(&f, SPAN_LIT("content-length"), span_str(number));
    }
    if (w->service->opt->name)
        add(&f, SPAN_LIT("x-backend"), span_str(w->service->opt->name));
    if (knobs_has(k, KNOB_FIELDS))
        add_all(&f, span_str(k->fields.text), '|');
    s->discards = bodiless || span_eq(h2_part(s, s->method), SPAN_LIT("HEAD"));
    bool slowly = s->content && knobs_has(k, KNOB_SLOW);
    nghttp2_data_provider pull = {.source.ptr = s,
                                  .read_callback = slowly ? on_pull_slowly : on_pull};
    nghttp2_submit_response(s->h2->session, s->id, f.nv, f.n, s->discards ? NULL : &pull);
}

static void send_head(struct h2_stream *s)
{
    const struct knobs *k = s->asked.knobs;
    s->head_sent = s->h2->may_write = true;
    s->due = 0;
    bool cut = s->cut.where == CUT_BEFORE_HEAD || s->cut.where == CUT_IN_HEAD;
    if (cut && s->cut_end == END_CLOSE)
        s->h2->conn->end = END_CLOSE;
    if (cut && s->cut_end != END_RESET)
        return;
    if (cut || !make_content(s)) {
        reset(s);
        return;
    }
    for (uint32_t i = 0; knobs_has(k, KNOB_INFO) && i < k->info.count; i++)
        send_interim(s, k->info.status[i]);
    unsigned status = status_of(s);
    if (s->asked.handler != HANDLER_STATS)
        stats_add(&s->h2->conn->worker->stats->statuses[status], 1);
    submit(s, status);
    h2_answer_more(s);
}

static void begin(struct h2_stream *s)
{
    const struct knobs *k = s->asked.knobs;
    s->begun = true;
    if (knobs_has(k, KNOB_RESET))
        s->cut = k->reset, s->cut_end = END_RESET;
    else if (knobs_has(k, KNOB_CLOSE))
        s->cut = k->close, s->cut_end = END_CLOSE;
    else if (knobs_has(k, KNOB_STALL))
        s->cut = k->stall, s->cut_end = END_STALL;
    if (knobs_has(k, KNOB_DELAY) && k->delay_ms)
        wait_until(s, uv_hrtime() + k->delay_ms * NS_PER_MS);
    else
        send_head(s);
}

static void refuse(struct h2_stream *s, const char *what, const char *why)
{
    asked_complain(&s->asked, span_str(what), why);
    s->asked.handler = HANDLER_ERROR;
}

/* What can't be answered: tunnels, and knobs about what HTTP/2 has not. */
static void refuse_some(struct h2_stream *s)
{
    static const enum knob_id refused[] = {KNOB_CHUNK_SIZE,       KNOB_CLOSE_AFTER, KNOB_IDLE,
                                           KNOB_CONNECTION_CLOSE, KNOB_NO_LENGTH,   KNOB_HTTP10,
                                           KNOB_NO_UPGRADE};
    if (span_eq(h2_part(s, s->method), SPAN_LIT("CONNECT")))
        refuse(s, ":method", "CONNECT is for proxies");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (knobs_has(s->asked.knobs, refused[i]))
            refuse(s, knob_rows[refused[i]].name, "not over HTTP/2");
    }
}

void h2_answer_head(struct h2_stream *s)
{
    struct h2 *h = s->h2;
    if (s->counted)
        return;
    s->counted = true;
    refuse_some(s);
    if (s->asked.handler != HANDLER_STATS) {
        stats_add(&h->conn->worker->stats->requests, 1);
        if (h->requests++)
            stats_add(&h->conn->worker->stats->reused, 1);
    }
    bool early = asked_flag(&s->asked, KNOB_EARLY);
    if (s->expects_continue && !s->ended && !early)
        send_interim(s, 100);
    if (early || h2_streams_back(s))
        begin(s);
}

void h2_answer_end(struct h2_stream *s)
{
    begin(s);
}

void h2_answer_more(struct h2_stream *s)
{
    if (s->discards && s->kept.len) {
        nghttp2_session_consume_stream(s->h2->session, s->id, s->kept.len - s->dump_len);
        s->kept.len = s->dump_len = 0;
    }
    resume(s);
}

void h2_answer_due(struct h2 *h)
{
    if (h->next_due == UINT64_MAX)
        return;
    uint64_t now = uv_hrtime();
    h->next_due = UINT64_MAX;
    list_for_each_safe (it, &h->waiting) {
        struct h2_stream *s = CONTAINER_OF(it, h2_stream, waiting);
        if (s->due > now) {
            h->next_due = s->due < h->next_due ? s->due : h->next_due;
            continue;
        }
        list_unlink(&s->waiting);
        if (s->head_sent)
            resume(s);
        else
            send_head(s);
    }
}
