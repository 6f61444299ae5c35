/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps EndpointSlices. Owns a copy of what it needs of each; must never keep a part of one that is
 * malformed. Pure; one thread.
 */
#include "proxy/discovery/kubernetes_slices.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/endpoint.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/source.h"

#define NAME_MAX_BYTES 253 /* of an object, as Kubernetes has it */
#define ZONE_MAX_BYTES 63  /* a label's value */

enum kube_state {
    KUBE_READY,
    KUBE_DRAINS, /* it ends, and still serves */
    KUBE_OUT,
};

struct kube_endpoint {
    uint8_t ip[16]; /* of IPv4: 4 bytes, and zeros */
    bool v6;
    uint8_t state; /* enum kube_state */
    bool hinted;   /* it says for which zones it is */
    bool for_us;   /* ... and one of them is weir's */
    uint16_t port;
    char *zone; /* or NULL */
};

struct kube_slice {
    char *name;
    bool has_port; /* the one that is wanted */
    size_t count;
    struct kube_endpoint items[];
};

/* ---- reading ---- */

static bool is_number(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0';
}

static bool is_wanted(const struct kube_want *want, struct span name, int64_t number, size_t n)
{
    if (want->port == NULL)
        return n == 1;
    return is_number(want->port) ? number == strtol(want->port, NULL, 10)
                                 : span_eq(name, span_str(want->port));
}

/* The number of the port that is wanted; 0: the slice has no such port. */
static uint16_t read_port(const struct kube_want *want, const struct json_t *object,
                          struct json_wrong *wrong)
{
    const struct json_t *ports = json_read_array(object, "ports", wrong);
    size_t n = json_read_count(ports);
    for (size_t i = 0; i < n; i++) {
        const struct json_t *port = json_read_item(ports, i);
        int64_t number = json_read_number(port, "port", 0, wrong);
        if (number < 0 || number > UINT16_MAX)
            json_read_wrong(wrong, "ports.port", "is out of range");
        else if (is_wanted(want, json_read_text(port, "name", "", wrong), number, n))
            return (uint16_t)number;
    }
    if (want->port == NULL && n > 1)
        json_read_wrong(wrong, "the Service",
                        "has several ports; the pool's kubernetes.port has to say which");
    return 0;
}

/* What is not said of ready is that it is. */
static uint8_t read_state(const struct json_t *endpoint, struct json_wrong *wrong)
{
    bool ready = json_read_bool(endpoint, "conditions.ready", true, wrong);
    bool serving = json_read_bool(endpoint, "conditions.serving", ready, wrong);
    bool ends = json_read_bool(endpoint, "conditions.terminating", false, wrong);
    if (ready)
        return KUBE_READY;
    return serving && ends ? KUBE_DRAINS : KUBE_OUT;
}

/* Any of its addresses leads to it, so that the first will do. */
static void read_address(struct kube_endpoint *e, const struct json_t *endpoint,
                         struct json_wrong *wrong)
{
    const struct json_t *addresses = json_read_array(endpoint, "addresses", wrong);
    struct span text = json_read_as_text(json_read_item(addresses, 0));
    if (text.ptr == NULL || inet_pton(e->v6 ? AF_INET6 : AF_INET, text.ptr, e->ip) != 1)
        json_read_wrong(wrong, "endpoints.addresses", "does not begin with an IP address");
}

static void read_hints(struct kube_endpoint *e, const struct kube_want *want,
                       const struct json_t *endpoint, struct json_wrong *wrong)
{
    const struct json_t *zones = json_read_array(endpoint, "hints.forZones", wrong);
    size_t n = json_read_count(zones);
    e->hinted = n > 0;
    for (size_t i = 0; want->zone != NULL && i < n; i++)
        e->for_us |= span_eq(json_read_text(json_read_item(zones, i), "name", "", wrong),
                             span_str(want->zone));
}

static void read_endpoint(struct kube_endpoint *e, const struct kube_want *want,
                          const struct json_t *endpoint, struct json_wrong *wrong)
{
    struct span zone = json_read_text(endpoint, "zone", "", wrong);
    e->state = read_state(endpoint, wrong);
    read_address(e, endpoint, wrong);
    read_hints(e, want, endpoint, wrong);
    if (zone.len > ZONE_MAX_BYTES)
        json_read_wrong(wrong, "endpoints.zone", "is too long");
    else if (zone.len > 0)
        e->zone = mem_need(strndup(zone.ptr, zone.len));
}

static void slice_free(struct kube_slice *slice)
{
    if (slice == NULL)
        return;
    for (size_t i = 0; i < slice->count; i++)
        free(slice->items[i].zone);
    free(slice->name);
    free(slice);
}

static struct span read_name(const struct json_t *object, struct json_wrong *wrong)
{
    struct span name = json_read_text(object, "metadata.name", "", wrong);
    if (name.len == 0)
        json_read_wrong(wrong, "metadata.name", "is missing");
    if (name.len > NAME_MAX_BYTES)
        json_read_wrong(wrong, "metadata.name", "is too long");
    return name;
}

/* A slice of names (FQDN), which nobody makes any more, has no endpoints here. */
static bool read_family(const struct json_t *object, bool *v6, struct json_wrong *wrong)
{
    struct span type = json_read_text(object, "addressType", "", wrong);
    *v6 = span_eq(type, SPAN_LIT("IPv6"));
    if (*v6 || span_eq(type, SPAN_LIT("IPv4")))
        return true;
    if (!span_eq(type, SPAN_LIT("FQDN")))
        json_read_wrong(wrong, "addressType", "is neither IPv4 nor IPv6");
    return false;
}

static struct kube_slice *slice_read(const struct kube_want *want, const struct json_t *object,
                                     struct json_wrong *wrong)
{
    bool v6;
    struct span name = read_name(object, wrong);
    const struct json_t *endpoints = json_read_array(object, "endpoints", wrong);
    size_t n = read_family(object, &v6, wrong) ? json_read_count(endpoints) : 0;
    uint16_t port = n > 0 ? read_port(want, object, wrong) : 0;
    if (n > SOURCE_ENDPOINTS_MAX)
        json_read_wrong(wrong, "endpoints", "are too many");
    if (wrong->why[0] != '\0')
        return NULL;
    struct kube_slice *slice = mem_need(calloc(1, sizeof(*slice) + n * sizeof(slice->items[0])));
    slice->name = mem_need(strndup(name.ptr, name.len));
    slice->has_port = n == 0 || port != 0;
    slice->count = port != 0 ? n : 0;
    for (size_t i = 0; i < slice->count; i++) {
        slice->items[i].v6 = v6;
        slice->items[i].port = port;
        read_endpoint(&slice->items[i], want, json_read_item(endpoints, i), wrong);
    }
    if (wrong->why[0] != '\0') {
        slice_free(slice);
        return NULL;
    }
    return slice;
}

/* ---- keeping ---- */

/* Where the slice of that name is, or would be. */
static size_t place(const struct kube_slices *slices, const char *name, bool *there)
{
    size_t from = 0, to = slices->count;
    *there = false;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int order = strcmp(slices->items[mid]->name, name);
        if (order == 0) {
            *there = true;
            return mid;
        }
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static void insert(struct kube_slices *slices, size_t at, struct kube_slice *slice)
{
    if (slices->count == slices->capacity) {
        slices->capacity = slices->capacity > 0 ? 2 * slices->capacity : 8;
        slices->items =
            mem_need(realloc(slices->items, slices->capacity * sizeof(slices->items[0])));
    }
    memmove(&slices->items[at + 1], &slices->items[at],
            (slices->count - at) * sizeof(slices->items[0]));
    slices->items[at] = slice;
    slices->count++;
}

bool kube_slices_put(struct kube_slices *slices, const struct kube_want *want,
                     const struct json_t *object, struct json_wrong *wrong)
{
    bool there;
    struct kube_slice *slice = slice_read(want, object, wrong);
    if (slice == NULL)
        return false;
    size_t at = place(slices, slice->name, &there);
    size_t before = there ? slices->items[at]->count : 0;
    if (slices->endpoints - before + slice->count > SOURCE_ENDPOINTS_MAX ||
        slices->count >= SOURCE_ENDPOINTS_MAX) {
        json_read_wrong(wrong, "the Service", "has more than 65536 endpoints");
        slice_free(slice);
        return false;
    }
    slices->endpoints += slice->count - before;
    if (there) {
        slice_free(slices->items[at]);
        slices->items[at] = slice;
    } else {
        insert(slices, at, slice);
    }
    return true;
}

bool kube_slices_drop(struct kube_slices *slices, const struct json_t *object,
                      struct json_wrong *wrong)
{
    bool there;
    struct span name = read_name(object, wrong);
    if (wrong->why[0] != '\0')
        return false;
    size_t at = place(slices, name.ptr, &there);
    if (!there)
        return true;
    slices->endpoints -= slices->items[at]->count;
    slice_free(slices->items[at]);
    slices->count--;
    memmove(&slices->items[at], &slices->items[at + 1],
            (slices->count - at) * sizeof(slices->items[0]));
    return true;
}

void kube_slices_fini(struct kube_slices *slices)
{
    for (size_t i = 0; i < slices->count; i++)
        slice_free(slices->items[i]);
    free(slices->items);
    *slices = (struct kube_slices){0};
}

/* ---- what they come to ---- */

/* The same endpoint may be in two slices while it moves from one to the other: the better state is
 * the newer one as a rule. */
static int by_address(const void *a, const void *b)
{
    const struct kube_endpoint *x = *(const struct kube_endpoint *const *)a;
    const struct kube_endpoint *y = *(const struct kube_endpoint *const *)b;
    int order = memcmp(x->ip, y->ip, sizeof(x->ip));
    if (order == 0)
        order = (int)x->port - (int)y->port;
    return order != 0 ? order : (int)x->state - (int)y->state;
}

static bool same_address(const struct kube_endpoint *a, const struct kube_endpoint *b)
{
    return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* Those of a family, in order, each once; how many. */
static size_t gather(const struct kube_slices *slices, bool v6, const struct kube_endpoint **out)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < slices->count; i++)
        for (size_t k = 0; k < slices->items[i]->count; k++)
            if (slices->items[i]->items[k].v6 == v6 && slices->items[i]->items[k].state != KUBE_OUT)
                out[n++] = &slices->items[i]->items[k];
    qsort(out, n, sizeof(out[0]), by_address);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || !same_address(out[kept - 1], out[i]))
            out[kept++] = out[i];
    return kept;
}

static size_t count_ready(const struct kube_endpoint **all, size_t n)
{
    size_t ready = 0;
    for (size_t i = 0; i < n; i++)
        ready += all[i]->state == KUBE_READY;
    return ready;
}

/* All or nothing: hints that are not complete are about to change. */
static bool hints_hold(const struct kube_endpoint **all, size_t n)
{
    size_t ours = 0;
    for (size_t i = 0; i < n; i++) {
        if (all[i]->state == KUBE_READY && !all[i]->hinted)
            return false;
        ours += all[i]->state == KUBE_READY && all[i]->for_us;
    }
    return ours > 0;
}

/* Sessions go on at what drains, wherever it is. */
static size_t keep_ours(const struct kube_endpoint **all, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i]->state != KUBE_READY || all[i]->for_us)
            all[kept++] = all[i];
    return kept;
}

/* A zone that the balancer has no number for any more is none. */
static const char *known_zone(const char *zones[LB_ZONES - 1], size_t *n, const char *zone)
{
    for (size_t i = 0; zone != NULL && i < *n; i++)
        if (strcmp(zones[i], zone) == 0)
            return zone;
    if (zone == NULL || *n == LB_ZONES - 1)
        return NULL;
    return zones[(*n)++] = zone;
}

static struct config_endpoints *make(const struct kube_endpoint **all, size_t n, bool drain)
{
    struct config_endpoints *set = config_endpoints_new(n);
    const char *zones[LB_ZONES - 1];
    char text[INET6_ADDRSTRLEN];
    size_t n_zones = 0;
    for (size_t i = 0; i < n; i++) {
        const struct kube_endpoint *e = all[i];
        inet_ntop(e->v6 ? AF_INET6 : AF_INET, e->ip, text, sizeof(text));
        config_endpoints_put(set, i, text, e->port, 1, 0);
        config_endpoints_place(set, i, known_zone(zones, &n_zones, e->zone),
                               drain && e->state == KUBE_DRAINS);
    }
    config_endpoints_done(set);
    return set;
}

static const char *why_none(const struct kube_slices *slices)
{
    bool has_port = slices->count == 0;
    for (size_t i = 0; i < slices->count; i++)
        has_port |= slices->items[i]->has_port;
    if (slices->count == 0)
        return "there is no EndpointSlice of that Service; see whether it is there (kubectl get "
               "endpointslices)";
    return has_port ? "none of the Service's endpoints is ready"
                    : "the Service has no such port; see kubernetes.port of the pool";
}

struct config_endpoints *kube_slices_endpoints(const struct kube_slices *slices,
                                               const struct kube_want *want, const char **note)
{
    const struct kube_endpoint **all =
        mem_need(malloc((slices->endpoints + 1) * sizeof(const struct kube_endpoint *)));
    size_t n = gather(slices, false, all);
    if (n == 0)
        n = gather(slices, true, all);
    bool ready = count_ready(all, n) > 0;
    if (want->zone != NULL && hints_hold(all, n))
        n = keep_ours(all, n);
    struct config_endpoints *set = make(all, n, ready);
    *note = n == 0 ? why_none(slices) : NULL;
    free(all);
    return set;
}
