/* SPDX-License-Identifier: Apache-2.0 */
/* Builds requests. Owns their bytes; does no I/O; runs before and after the load, never in it. */
#include "bench/load_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load_net.h"
#include "bench/load_schedule.h"

enum { SHORT_BODY = 64 * 1024 };

void pattern_fill(char *to, size_t n, uint64_t at)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz012345678";

    for (size_t i = 0, k = at % PATTERN_PERIOD; i < n; i++) {
        to[i] = letters[k];
        k = k + 1 == PATTERN_PERIOD ? 0 : k + 1;
    }
}

char *request_head(const struct load_options *o, const char *method, const char *path,
                   const char *fields, size_t *len)
{
    bool local = strncmp(o->to, "unix:", 5) == 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, len);

    if (!out)
        net_die("out of memory", "use fewer --paths");
    fprintf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, local ? "localhost" : o->to,
            fields);
    for (unsigned i = 0; i < o->fields_len; i++)
        fprintf(out, "%s\r\n", o->fields[i]);
    fputs("\r\n", out);
    if (fclose(out) != 0)
        net_die("out of memory", "use fewer --paths");
    return text;
}

static void build(struct request *r, const struct load_options *o, const char *method,
                  const char *path)
{
    bool with_body =
        strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
    uint64_t body = with_body ? o->body : 0;
    char fields[128];
    int at = 0;

    if (o->close)
        at += snprintf(fields + at, sizeof(fields) - (size_t)at, "Connection: close\r\n");
    if (with_body)
        at += snprintf(fields + at, sizeof(fields) - (size_t)at, "Content-Length: %llu\r\n",
                       (unsigned long long)body);
    fields[at] = '\0';
    *r = (struct request){.to_head = strcmp(method, "HEAD") == 0};
    r->bytes = request_head(o, method, path, fields, &r->len);
    if (body > SHORT_BODY) {
        r->more = body;
    } else if (body) {
        char *longer = realloc(r->bytes, r->len + (size_t)body);
        if (!longer)
            net_die("out of memory", "use fewer --paths");
        pattern_fill(longer + r->len, (size_t)body, 0);
        r->bytes = longer;
        r->len += (size_t)body;
    }
}

static void path_at(const struct load_options *o, unsigned i, char *out, size_t room)
{
    const char *mark = o->paths > 1 ? strstr(o->path, "{}") : NULL;

    if (mark)
        snprintf(out, room, "%.*s%u%s", (int)(mark - o->path), o->path, i, mark + 2);
    else
        snprintf(out, room, "%s", o->path);
}

void requests_init(struct requests *r, const struct load_options *o)
{
    unsigned weights[MAX_MIX];
    size_t room = strlen(o->path) + 16;
    char *path = malloc(room);

    *r = (struct requests){.paths = o->paths, .kinds = o->mix_len};
    r->all = calloc((size_t)r->paths * r->kinds, sizeof(*r->all));
    if (!r->all || !path)
        net_die("out of memory", "use fewer --paths");
    for (unsigned k = 0; k < o->mix_len; k++) {
        weights[k] = o->mix[k].weight;
        r->order_len += weights[k];
    }
    schedule_mix(weights, o->mix_len, r->order);
    for (unsigned i = 0; i < r->paths; i++) {
        path_at(o, i, path, room);
        for (unsigned k = 0; k < r->kinds; k++)
            build(&r->all[(size_t)i * r->kinds + k], o, o->mix[k].method, path);
    }
    free(path);
}

void requests_fini(struct requests *r)
{
    for (size_t i = 0; i < (size_t)r->paths * r->kinds; i++)
        free(r->all[i].bytes);
    free(r->all);
}

const struct request *requests_at(const struct requests *r, uint64_t i)
{
    if (r->paths == 1 && r->kinds == 1)
        return r->all;
    return &r->all[i % r->paths * r->kinds + r->order[i % r->order_len]];
}
