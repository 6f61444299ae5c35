/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that register themselves. Owns nothing of them. Control thread. */
#include <stdlib.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/registry.h"
#include "proxy/discovery/source.h"

#define REGISTRY_SOURCE_MAGIC MAGIC('s', 'r', 'c', 'r')

struct registry_source {
    struct source base;
    const struct registry *registry;
    struct registry_reader reader;
    bool certain; /* what has changed last */
    uv_timer_t soon;
};

static struct registry_source *registry_source_of(void *data)
{
    return CAST_OBJ(registry_source, data, REGISTRY_SOURCE_MAGIC);
}

static void on_soon(uv_timer_t *timer)
{
    struct registry_source *s = registry_source_of(timer->data);
    size_t overdue;
    struct config_endpoints *all = registry_endpoints(s->registry, s->base.spec->name, &overdue);
    size_t count = all->count;
    s->base.events->answered(&s->base, all, count == 0 ? "nobody is registered" : NULL);
    if (s->certain)
        s->base.events->certain(&s->base);
    s->certain = false;
    if (overdue > 0)
        s->base.events->failed(&s->base,
                               "some or all that are registered are overdue, and nobody else has "
                               "been heard of: see whether they reach the admin listener");
}

/* To make a set takes a millisecond for some hundred endpoints: that of thousands is not made for
 * each of them that comes. */
static void tell_soon(struct registry_source *s)
{
    struct registry_counts counts;
    if (uv_is_active((uv_handle_t *)&s->soon))
        return;
    registry_counts(s->registry, s->base.spec->name, &counts);
    uv_timer_start(&s->soon, on_soon, counts.entries / 200, 0);
}

static void on_changed(struct registry_reader *reader, bool certain)
{
    struct registry_source *s = CONTAINER_OF(reader, registry_source, reader);
    s->certain = certain;
    tell_soon(s);
}

static struct source *registry_start(const struct source_world *world, struct source_spec *spec,
                                     const struct source_events *events, void *owner)
{
    struct registry_source *s = mem_need(calloc(1, sizeof(*s)));
    CHECK(world->registry != NULL);
    s->base = (struct source){REGISTRY_SOURCE_MAGIC, spec, events, owner};
    s->registry = world->registry;
    s->reader.pool = spec->name;
    s->reader.changed = on_changed;
    registry_read(world->registry, &s->reader);
    uv_timer_init(&world->reactor->loop, &s->soon);
    s->soon.data = s;
    tell_soon(s);
    return &s->base;
}

static void registry_ask(struct source *source)
{
    tell_soon(registry_source_of(source));
}

static void on_closed(uv_handle_t *handle)
{
    struct registry_source *s = registry_source_of(handle->data);
    source_spec_unref(s->base.spec);
    s->base.magic = 0;
    free(s);
}

static void registry_stop(struct source *source)
{
    struct registry_source *s = registry_source_of(source);
    registry_read_end(&s->reader);
    uv_close((uv_handle_t *)&s->soon, on_closed);
}

const struct source_kind source_registry = {
    .name = "registry", .start = registry_start, .ask = registry_ask, .stop = registry_stop};
