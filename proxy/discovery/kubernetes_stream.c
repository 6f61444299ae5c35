/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to events. Owns the line that has not ended; must never let it grow without bound. Pure. */
#include "proxy/discovery/kubernetes_stream.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

static const struct {
    const char *type;
    enum kube_event_kind kind;
} kinds[] = {
    {"ADDED", KUBE_PUT},         {"MODIFIED", KUBE_PUT}, {"DELETED", KUBE_DELETE},
    {"BOOKMARK", KUBE_BOOKMARK}, {"ERROR", KUBE_ERROR},
};

static bool find_kind(struct span type, enum kube_event_kind *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!span_eq(type, span_str(kinds[i].type)))
            continue;
        *kind = kinds[i].kind;
        return true;
    }
    return false;
}

static struct span read_version(const struct json_t *object, struct json_wrong *wrong)
{
    struct span version = json_read_text(object, "metadata.resourceVersion", "", wrong);
    if (version.len == 0)
        json_read_wrong(wrong, "metadata.resourceVersion", "is missing");
    if (version.len >= KUBE_VERSION_MAX)
        json_read_wrong(wrong, "metadata.resourceVersion", "is too long");
    return version;
}

static bool read_event(struct kube_event *event, const struct json_t *root,
                       struct json_wrong *wrong)
{
    event->object = json_read_at(root, "object");
    if (!find_kind(json_read_text(root, "type", "", wrong), &event->kind))
        json_read_wrong(wrong, "type", "is none that a watch has");
    if (event->object == NULL)
        json_read_wrong(wrong, "object", "is missing");
    event->version = span_of(NULL, 0);
    if (wrong->why[0] == '\0' && event->kind != KUBE_ERROR)
        event->version = read_version(event->object, wrong);
    return wrong->why[0] == '\0';
}

/* False: no more is to be read. */
static bool read_line(struct span line, kube_event_fn *fn, void *ctx, struct json_wrong *wrong)
{
    struct kube_event event;
    if (span_trim(line).len == 0)
        return true;
    struct json_t *root = json_read(line, wrong->why);
    bool more = root != NULL && read_event(&event, root, wrong) && fn(ctx, &event);
    json_read_free(root);
    return more;
}

static bool keep(struct kube_stream *s, struct span bytes, struct json_wrong *wrong)
{
    if (bytes.len > KUBE_LINE_MAX - s->len) {
        json_read_wrong(wrong, "a line of the watch", "has more than 8 MiB");
        return false;
    }
    if (bytes.len > s->room - s->len) {
        s->room = s->len + bytes.len > 2 * s->room ? s->len + bytes.len : 2 * s->room;
        s->line = mem_need(realloc(s->line, s->room));
    }
    memcpy(s->line + s->len, bytes.ptr, bytes.len);
    s->len += bytes.len;
    return true;
}

/* The kept part and what ends it. A large one's memory goes. */
static bool end_line(struct kube_stream *s, struct span end, kube_event_fn *fn, void *ctx,
                     struct json_wrong *wrong)
{
    if (s->len == 0)
        return read_line(end, fn, ctx, wrong);
    bool more = keep(s, end, wrong) && read_line(span_of(s->line, s->len), fn, ctx, wrong);
    kube_stream_fini(s);
    return more;
}

bool kube_stream_feed(struct kube_stream *s, struct span bytes, kube_event_fn *fn, void *ctx,
                      struct json_wrong *wrong)
{
    const char *end;
    while (bytes.len > 0 && (end = memchr(bytes.ptr, '\n', bytes.len)) != NULL) {
        size_t n = (size_t)(end - bytes.ptr);
        if (!end_line(s, span_of(bytes.ptr, n), fn, ctx, wrong))
            return wrong->why[0] == '\0';
        bytes = span_of(end + 1, bytes.len - n - 1);
    }
    return bytes.len == 0 || keep(s, bytes, wrong);
}

void kube_stream_fini(struct kube_stream *s)
{
    free(s->line);
    *s = (struct kube_stream){0};
}

bool kube_page_read(struct kube_slices *slices, const struct kube_want *want,
                    const struct json_t *root, struct span *version, struct span *more,
                    struct json_wrong *wrong)
{
    const struct json_t *items = json_read_array(root, "items", wrong);
    *version = read_version(root, wrong);
    *more = json_read_text(root, "metadata.continue", "", wrong);
    if (more->len > KUBE_CONTINUE_MAX)
        json_read_wrong(wrong, "metadata.continue", "is too long");
    for (size_t i = 0; wrong->why[0] == '\0' && i < json_read_count(items); i++)
        kube_slices_put(slices, want, json_read_item(items, i), wrong);
    return wrong->why[0] == '\0';
}
