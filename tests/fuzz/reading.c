/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison of weir's parser with the second reader. Owns nothing between calls; one thread.
 */
#include "tests/fuzz/reading.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

/* Large enough for any input: limits are another matter, and have their tests. */
static const struct h1_limits limits = {.body_bytes = UINT64_MAX,
                                        .header_bytes = 65536,
                                        .target_bytes = 65536,
                                        .headers = HTTP_MAX_FIELDS};

static const unsigned kinds[] = {[BODY_NONE] = STRICT_NONE,
                                 [BODY_LENGTH] = STRICT_LENGTH,
                                 [BODY_CHUNKED] = STRICT_CHUNKED,
                                 [BODY_CLOSE] = STRICT_CLOSE,
                                 [BODY_TUNNEL] = STRICT_TUNNEL};

static bool same(struct span a, struct strict_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.at, a.len) == 0);
}

/* Host and path may have been settled already, but not in length; so only others are compared. */
static void compare_fields(const struct http_head *head, const struct strict_field *fields,
                           size_t n)
{
    CHECK(head->n_fields == n);
    for (size_t i = 0; i < n; i++) {
        CHECK(same(field_name(&head->fields[i]), fields[i].name));
        CHECK(head->fields[i].id == FIELD_HOST ||
              same(field_value(&head->fields[i]), fields[i].value));
    }
}

static void compare_head(const struct http_head *head, const struct strict_msg *m, bool response)
{
    CHECK(head != NULL && m->head);
    CHECK(m->minor == head->minor);
    if (response) {
        CHECK(m->status == head->status);
    } else {
        CHECK(same(head->method, m->method) && head->target.len == m->target.len);
        CHECK(strict_is(m->method, "HEAD") >= head->is_head);
    }
    CHECK(m->kind == kinds[head->body]);
    CHECK(head->body != BODY_LENGTH || head->content_length == m->length);
    compare_fields(head, m->fields, m->n_fields);
}

/* Feeds the bytes as a conn does: what is not consumed is offered again with more behind it. */
static void feed(struct h1_parser *p, struct block *block, const char *wire, size_t len, size_t cut,
                 size_t *used)
{
    const size_t ends[] = {cut, len};
    *used = 0;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        size_t n = SIZE_MAX;
        memcpy(block->data + block->used, wire + block->used, ends[i] - block->used);
        block->used = (uint32_t)ends[i];
        while (*used < ends[i] && n > 0 && !p->done && p->error == REASON_NONE) {
            n = h1_parse(p, block, block->data + *used, ends[i] - *used);
            *used += n;
        }
    }
}

void reading_compare(const char *wire, size_t len, struct reading_options options,
                     struct reading *r)
{
    struct buf_pool pool;
    struct slab heads;
    struct h1_parser p;
    struct strict_msg *m = calloc(1, sizeof(*m));
    CHECK(m != NULL && len <= 60000 && options.cut <= len);
    buf_pool_init(&pool);
    slab_init(&heads, sizeof(struct http_head), 4);
    struct block *block = block_get(&pool, true);
    h1_parser_init(&p, options.response, &limits, &heads);
    p.to_head = options.to_head;
    p.to_upgrade = options.to_upgrade;
    *r = (struct reading){0};
    feed(&p, block, wire, len, options.cut, &r->used);
    r->head = p.head_done;
    r->done = p.done;
    r->error = p.error;
    r->kind = p.head != NULL ? p.head->body : BODY_NONE;
    r->body = malloc(p.body.bytes + 1);
    CHECK(r->body != NULL);
    for (const struct slice *s = p.body.head; s != NULL; s = s->next) {
        memcpy(r->body + r->body_len, s->ptr, s->len);
        r->body_len += s->len;
    }
    struct strict_options how = {
        .forgiving = true, .to_head = options.to_head, .to_upgrade = options.to_upgrade};
    enum strict_verdict v =
        options.response ? strict_response(wire, len, how, m) : strict_request(wire, len, how, m);
    if (p.head_done) {
        compare_head(p.head, m, options.response);
        if (p.raw) {
            CHECK(m->kind == STRICT_TUNNEL && m->len + r->body_len == len);
        } else {
            /* what was handed up before an error was right */
            CHECK(r->body_len <= m->body_len && memcmp(r->body, m->body, r->body_len) == 0);
        }
    }
    if (p.done) {
        CHECK(v == STRICT_WHOLE && r->used == m->len && r->body_len == m->body_len);
        CHECK((p.trailers != NULL) == (m->n_trailers > 0));
        if (p.trailers != NULL)
            compare_fields(p.trailers, m->trailers, m->n_trailers);
    }
    /* Nobody waits for more of what can't become a message, once its lines have ended. */
    CHECK(!(v == STRICT_WHOLE && m->kind != STRICT_TUNNEL && p.error == REASON_NONE && !p.done));
    strict_free(m);
    free(m);
    h1_parser_fini(&p);
    block_drop(block);
    slab_fini(&heads);
    buf_pool_fini(&pool);
}
