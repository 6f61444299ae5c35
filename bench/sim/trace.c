/* SPDX-License-Identifier: Apache-2.0 */
/* Reads an access log, and holds what it needs of it. Owns the requests. One thread. */
#include "bench/sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "balancer/hash.h"
#include "proxy/base/mem.h"

/* Where a field's value begins, or NULL. Quotes within strings are escaped, so `"name":` is found
 * nowhere else. */
static const char *value_of(const char *line, const char *name)
{
    char pattern[32];
    snprintf(pattern, sizeof(pattern), "\"%s\":", name);
    const char *at = strstr(line, pattern);
    return at != NULL ? at + strlen(pattern) : NULL;
}

static bool read_time(const char *line, uint64_t *ns)
{
    const char *at = value_of(line, "time");
    struct tm tm = {0};
    char *end;
    if (at == NULL || (at = strptime(at, "\"%Y-%m-%dT%H:%M:%S", &tm)) == NULL)
        return false;
    double rest = strtod(at, &end); /* .123 */
    *ns = (uint64_t)timegm(&tm) * 1000000000u + (uint64_t)(rest * 1e9 + 0.5);
    return *end == 'Z' && rest >= 0 && rest < 1;
}

static bool read_work(const char *line, uint64_t *ns)
{
    const char *at = value_of(line, "total_ms");
    char *end = NULL;
    double ms = at != NULL ? strtod(at, &end) : 0;
    if (at == NULL || end == at || !(ms >= 0 && ms < 1e12))
        return false;
    *ns = (uint64_t)(ms * 1e6);
    return true;
}

static bool read_key(const char *line, const char *name, uint64_t *key)
{
    const char *at = value_of(line, name);
    if (at == NULL || *at != '"')
        return false;
    const char *end = ++at;
    while (*end != '"' && *end != '\0')
        end += end[0] == '\\' && end[1] != '\0' ? 2 : 1;
    if (strcmp(name, "client") == 0)
        for (const char *p = end; p > at; p--)
            if (*p == ':') {
                end = p;
                break;
            }
    *key = lb_hash(at, (size_t)(end - at));
    return true;
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = ((const struct sim_trace_request *)a)->at;
    uint64_t y = ((const struct sim_trace_request *)b)->at;
    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void number_keys(struct sim_trace *trace)
{
    uint64_t *keys = mem_need(malloc(trace->count * sizeof(*keys)));
    for (size_t i = 0; i < trace->count; i++)
        keys[i] = trace->requests[i].key;
    qsort(keys, trace->count, sizeof(*keys), by_value);
    for (size_t i = 0; i < trace->count; i++)
        if (trace->keys == 0 || keys[i] != keys[trace->keys - 1])
            keys[trace->keys++] = keys[i];
    for (size_t i = 0; i < trace->count; i++) {
        struct sim_trace_request *r = &trace->requests[i];
        const uint64_t *at = bsearch(&r->key, keys, trace->keys, sizeof(*keys), by_value);
        r->number_of_key = (uint32_t)(at - keys);
    }
    free(keys);
}

static bool read_all(struct sim_trace *trace, FILE *file, const char *key, size_t *number)
{
    char *line = NULL;
    size_t size = 0, room = 0;
    bool ok = true;
    while (ok && getline(&line, &size, file) > 0) {
        struct sim_trace_request r;
        ++*number;
        ok = read_time(line, &r.at) && read_work(line, &r.work) && read_key(line, key, &r.key);
        if (trace->count == room) {
            room = room ? room * 2 : 1024;
            trace->requests = mem_need(realloc(trace->requests, room * sizeof(r)));
        }
        trace->requests[trace->count] = r;
        trace->count += ok;
    }
    free(line);
    return ok;
}

bool sim_trace_load(struct sim_trace *trace, const char *path, const char *key, char *err,
                    size_t err_len)
{
    *trace = (struct sim_trace){0};
    FILE *file = fopen(path, "rb");
    size_t number = 0;
    if (file == NULL) {
        snprintf(err, err_len, "%s: %m", path);
        return false;
    }
    bool ok = read_all(trace, file, key, &number);
    fclose(file);
    if (!ok)
        snprintf(err, err_len,
                 "%s:%zu: not a line of an access log in JSON, with time, total_ms "
                 "and %s",
                 path, number, key);
    else if (trace->count == 0)
        snprintf(err, err_len, "%s: has no requests", path);
    if (!ok || trace->count == 0) {
        sim_trace_fini(trace);
        return false;
    }
    qsort(trace->requests, trace->count, sizeof(*trace->requests), by_time);
    for (size_t i = trace->count; i-- > 0;)
        trace->requests[i].at -= trace->requests[0].at;
    number_keys(trace);
    return true;
}

void sim_trace_fini(struct sim_trace *trace)
{
    free(trace->requests);
    *trace = (struct sim_trace){0};
}
