/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of etcd's JSON gateway. Owns nothing; must never take what is no message for one. Any
 * thread.
 */
#include "proxy/discovery/etcd_message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/base64.h"
#include "proxy/base/check.h"
#include "proxy/base/json.h"
#include "proxy/base/json_read.h"
#include "proxy/base/mem.h"

/* ---- requests ---- */

char *etcd_range_end(struct span prefix, size_t *len)
{
    char *end = mem_need(malloc(prefix.len + 1));
    while (prefix.len > 0 && (uint8_t)prefix.ptr[prefix.len - 1] == 0xff)
        prefix.len--;
    CHECK(prefix.len > 0);
    memcpy(end, prefix.ptr, prefix.len);
    end[prefix.len - 1]++;
    *len = prefix.len;
    return end;
}

static char *encoded(struct span bytes)
{
    char *text = mem_need(calloc(1, BASE64_LEN(bytes.len) + 1));
    base64_encode(bytes, text);
    return text;
}

/* format: with the two in base64, a number, and perhaps another one. */
__attribute__((format(printf, 1, 0))) static char *
about(const char *format, struct span from, struct span end, uint64_t revision, unsigned limit)
{
    char *a = encoded(from), *b = encoded(end);
    size_t size = strlen(format) + strlen(a) + strlen(b) + 64;
    char *text = mem_need(malloc(size));
    snprintf(text, size, format, a, b, (unsigned long long)revision, limit);
    free(a);
    free(b);
    return text;
}

char *etcd_ask_range(struct span from, struct span end, uint64_t revision, unsigned limit)
{
    return about("{\"key\":\"%s\",\"range_end\":\"%s\",\"revision\":\"%llu\",\"limit\":\"%u\"}",
                 from, end, revision, limit);
}

char *etcd_ask_watch(struct span from, struct span end, uint64_t revision)
{
    return about("{\"create_request\":{\"key\":\"%s\",\"range_end\":\"%s\","
                 "\"start_revision\":\"%llu\",\"progress_notify\":true,\"fragment\":true}}",
                 from, end, revision, 0);
}

char *etcd_ask_token(struct span user, struct span password)
{
    size_t size = 6 * (user.len + password.len) + 64; /* "\u0000" for a byte at most */
    char *text = mem_need(calloc(1, size));
    struct json j;
    json_init(&j, text, size - 1);
    json_object_begin(&j);
    json_key(&j, "name");
    json_string(&j, user);
    json_key(&j, "password");
    json_string(&j, password);
    json_object_end(&j);
    DCHECK(!json_truncated(&j));
    return text;
}

/* ---- answers ---- */

struct reading {
    struct etcd_said *said;
    void (*kv)(void *ctx, const struct etcd_kv *kv);
    void *ctx;
    char *bytes; /* for what is decoded */
    size_t room;
};

static void set_text(struct etcd_said *said, const char *text)
{
    snprintf(said->text, sizeof(said->text), "%s", text);
    for (char *c = said->text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static void nonsense(struct reading *r, const char *what)
{
    r->said->error = ETCD_NONSENSE;
    set_text(r->said, what);
}

/* What errors are is told by their texts: of the codes several mean the same. */
static enum etcd_error error_of(const char *text)
{
    static const struct {
        const char *part;
        enum etcd_error error;
    } known[] = {
        {"invalid auth token", ETCD_BAD_TOKEN},
        {"revision of auth store is old", ETCD_BAD_TOKEN},
        {"user name is empty", ETCD_NO_USER},
        {"authentication is not enabled", ETCD_NOT_LOOKED},
        {"authentication failed", ETCD_BAD_PASSWORD},
        {"permission denied", ETCD_DENIED},
        {"required revision has been compacted", ETCD_COMPACTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strstr(text, known[i].part) != NULL)
            return known[i].error;
    return ETCD_OTHER;
}

static void refused(struct reading *r, const char *text)
{
    r->said->error = error_of(text);
    set_text(r->said, text);
}

/* 64-bit numbers are strings; what is 0 is left out. */
static uint64_t number(struct reading *r, const struct json_t *object, const char *path)
{
    struct json_wrong wrong = {0};
    const char *text = json_read_text(object, path, "0", &wrong).ptr;
    char *end = NULL;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (wrong.why[0] != '\0' || text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
        nonsense(r, "a number that is none");
    return n;
}

static void need_room(struct reading *r, size_t n)
{
    if (n <= r->room)
        return;
    r->bytes = mem_need(realloc(r->bytes, 2 * n));
    r->room = 2 * n;
}

/* False: it is there and is none. To at in what is decoded, with a NUL behind it. */
static bool decode(struct reading *r, const struct json_t *object, const char *key, size_t at,
                   size_t *len)
{
    struct json_wrong wrong = {0};
    struct span text = json_read_text(object, key, "", &wrong);
    *len = 0;
    need_room(r, at + text.len + 1);
    bool ok = wrong.why[0] == '\0' && base64_decode(text, r->bytes + at, text.len, len);
    r->bytes[at + *len] = '\0';
    return ok;
}

static void read_kv(struct reading *r, const struct json_t *from, bool deleted)
{
    struct etcd_kv kv = {.deleted = deleted};
    size_t key = 0, value = 0;
    if (!decode(r, from, "key", 0, &key) || key == 0 ||
        !decode(r, from, "value", key + 1, &value)) {
        nonsense(r, "a key that is none");
        return;
    }
    kv.revision = number(r, from, "mod_revision");
    kv.key = span_of(r->bytes, key);
    kv.value = span_of(r->bytes + key + 1, value);
    if (r->said->error == ETCD_FINE)
        r->kv(r->ctx, &kv);
}

static void read_listed(struct reading *r, const struct json_t *kv)
{
    read_kv(r, kv, false);
}

static void read_event(struct reading *r, const struct json_t *event)
{
    struct json_wrong wrong = {0};
    struct span type = json_read_text(event, "type", "PUT", &wrong);
    bool deleted = span_eq(type, SPAN_LIT("DELETE"));
    if (wrong.why[0] != '\0' || (!deleted && !span_eq(type, SPAN_LIT("PUT"))))
        nonsense(r, "an event of no known type");
    else
        read_kv(r, json_read_at(event, "kv"), deleted);
}

static void read_all(struct reading *r, const struct json_t *object, const char *key, bool events)
{
    struct json_wrong wrong = {0};
    const struct json_t *all = json_read_array(object, key, &wrong);
    if (wrong.why[0] != '\0')
        nonsense(r, wrong.why);
    for (size_t i = 0, n = json_read_count(all); i < n && r->said->error == ETCD_FINE; i++)
        (events ? read_event : read_listed)(r, json_read_item(all, i));
}

static void read_cancelled(struct reading *r, const struct json_t *from, struct json_wrong *wrong)
{
    r->said->cancelled = true;
    refused(r, json_read_text(from, "cancel_reason", "etcd has cancelled the watch", wrong).ptr);
    if (number(r, from, "compact_revision") > 0)
        r->said->error = ETCD_COMPACTED;
}

static void read_result(struct reading *r, const struct json_t *from)
{
    struct json_wrong wrong = {0};
    struct etcd_said *said = r->said;
    struct span token = json_read_text(from, "token", "", &wrong);
    said->revision = number(r, from, "header.revision");
    said->cluster = number(r, from, "header.cluster_id");
    said->more = json_read_bool(from, "more", false, &wrong);
    said->created = json_read_bool(from, "created", false, &wrong);
    said->fragment = json_read_bool(from, "fragment", false, &wrong);
    if (token.len < sizeof(said->token))
        memcpy(said->token, token.ptr, token.len + 1);
    read_all(r, from, "kvs", false);
    read_all(r, from, "events", true);
    if (json_read_bool(from, "canceled", false, &wrong))
        read_cancelled(r, from, &wrong);
    if (wrong.why[0] != '\0')
        nonsense(r, wrong.why);
}

/* What is wrong is a string, or within a stream an object. */
static void read_error(struct reading *r, const struct json_t *root, const struct json_t *error)
{
    struct json_wrong wrong = {0};
    struct span text = json_read_as_text(error);
    if (text.ptr == NULL)
        text = json_read_text(root, "error.message", "an error without a text", &wrong);
    refused(r, text.ptr);
}

void etcd_read(struct span text, struct etcd_said *said,
               void (*kv)(void *ctx, const struct etcd_kv *kv), void *ctx)
{
    struct reading r = {.said = said, .kv = kv, .ctx = ctx};
    char why[JSON_READ_WHY];
    struct json_t *root = json_read(text, why);
    const struct json_t *error = json_read_at(root, "error");
    const struct json_t *result = json_read_at(root, "result");
    *said = (struct etcd_said){.error = ETCD_FINE};
    if (root == NULL)
        nonsense(&r, why);
    else if (!span_starts(span_trim(text), SPAN_LIT("{")))
        nonsense(&r, "no JSON object");
    else if (error != NULL)
        read_error(&r, root, error);
    else
        read_result(&r, result != NULL ? result : root);
    json_read_free(root);
    free(r.bytes);
}
