/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of answers. It looks for line ends and at three fields, which is all that it takes to
 * find the end of an answer: llhttp would cost ten times as much, on the core that the backend
 * runs on as well. Never allocates, does no I/O; any thread.
 */
#include "bench/load_answer.h"

#include <string.h>
#include <strings.h>

/* What the head has said about the body. */
struct framing {
    bool chunked, has_length;
    uint64_t length;
};

static bool parse_status(struct answer *a, const char *line, size_t n)
{
    if (n < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
        return false;
    unsigned status = 0;
    for (unsigned i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return false;
        status = status * 10 + (unsigned)(line[i] - '0');
    }
    a->status = (uint16_t)status;
    a->close = line[7] == '0';
    return status >= 100;
}

static bool parse_length(const char *p, const char *end, uint64_t *length)
{
    uint64_t value = 0;
    const char *first;

    while (p < end && *p == ' ')
        p++;
    for (first = p; p < end && *p >= '0' && *p <= '9'; p++) {
        if (value > UINT64_MAX / 100)
            return false;
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *length = value;
    return p > first && (p == end || *p == '\r' || *p == ' ');
}

static bool has_word(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    for (; (size_t)(end - p) >= n; p++)
        if (strncasecmp(p, word, n) == 0)
            return true;
    return false;
}

static bool is_field(const char *line, size_t n, const char *name, size_t name_len)
{
    return n > name_len && line[name_len] == ':' && strncasecmp(line, name, name_len) == 0;
}

#define IS_FIELD(line, n, name) is_field(line, n, name, sizeof(name) - 1)

static bool parse_field(struct answer *a, struct framing *f, const char *line, size_t n)
{
    const char *end = line + n;

    switch (line[0] | 0x20) {
    case 'c':
        if (IS_FIELD(line, n, "content-length")) {
            f->has_length = true;
            return parse_length(line + sizeof("content-length"), end, &f->length);
        }
        if (IS_FIELD(line, n, "connection"))
            a->close =
                has_word(line, end, "close") || (a->close && !has_word(line, end, "keep-al"));
        return true;
    case 't':
        if (IS_FIELD(line, n, "transfer-encoding"))
            f->chunked = has_word(line, end, "chunked");
        return true;
    default:
        return true;
    }
}

static void begin_body(struct answer *a, const struct framing *f)
{
    if (a->status == 101 || a->status == 204 || a->status == 304 || a->to_head) {
        a->phase = ANSWER_DONE;
    } else if (a->status < 200) {
        a->phase = ANSWER_HEAD; /* an interim one: the real one follows */
    } else if (f->chunked) {
        a->phase = ANSWER_CHUNK_SIZE;
    } else if (f->has_length) {
        a->left = f->length;
        a->phase = f->length ? ANSWER_BODY : ANSWER_DONE;
    } else {
        a->close = true;
        a->phase = ANSWER_TO_END;
    }
}

/* Returns 0 as long as the head is not complete. */
static size_t feed_head(struct answer *a, const char *bytes, size_t n)
{
    const char *at = bytes, *end = bytes + n, *newline;
    struct framing f = {0};

    for (; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
        size_t len = (size_t)(newline - at);
        if (len <= 1 && at > bytes) {
            begin_body(a, &f);
            return (size_t)(newline + 1 - bytes);
        }
        if (at == bytes ? !parse_status(a, at, len) : !parse_field(a, &f, at, len)) {
            a->phase = ANSWER_BAD;
            return 0;
        }
    }
    return 0;
}

static bool parse_chunk_size(struct answer *a, const char *line, size_t n)
{
    uint64_t size = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        int c = line[i] | 0x20;
        unsigned digit;
        if (line[i] >= '0' && line[i] <= '9')
            digit = (unsigned)(line[i] - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            break;
        if (size >> 59)
            return false;
        size = size << 4 | digit;
    }
    a->left = size + 2;
    a->phase = size ? ANSWER_CHUNK : ANSWER_TRAILER;
    return i > 0;
}

static size_t feed_line(struct answer *a, const char *bytes, size_t n)
{
    const char *newline = memchr(bytes, '\n', n);

    if (!newline)
        return 0;
    size_t len = (size_t)(newline - bytes);
    if (a->phase == ANSWER_TRAILER) {
        if (len <= 1)
            a->phase = ANSWER_DONE;
    } else if (!parse_chunk_size(a, bytes, len)) {
        a->phase = ANSWER_BAD;
    }
    return len + 1;
}

static size_t feed_counted(struct answer *a, size_t n)
{
    size_t take = n < a->left ? n : (size_t)a->left;

    a->left -= take;
    if (a->left == 0)
        a->phase = a->phase == ANSWER_CHUNK ? ANSWER_CHUNK_SIZE : ANSWER_DONE;
    return take;
}

size_t answer_feed(struct answer *a, const char *bytes, size_t n)
{
    size_t at = 0;

    while (a->phase < ANSWER_DONE && at < n) {
        size_t used;
        if (a->phase == ANSWER_HEAD)
            used = feed_head(a, bytes + at, n - at);
        else if (a->phase == ANSWER_BODY || a->phase == ANSWER_CHUNK)
            used = feed_counted(a, n - at);
        else if (a->phase == ANSWER_TO_END)
            used = n - at;
        else
            used = feed_line(a, bytes + at, n - at);
        if (used == 0)
            break;
        at += used;
    }
    return at;
}
