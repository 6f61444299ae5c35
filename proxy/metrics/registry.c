/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of endpoints that register themselves. Owns nothing. Control thread. */
#include "proxy/base/check.h"
#include "proxy/discovery/registry.h"
#include "proxy/metrics/families.h"

enum registered_number { REG_ENTRIES, REG_OVERDUE, REG_REGISTERED, REG_RENEWED, REG_EXPIRED };

static uint64_t registered_number(const struct registry_counts *c, enum registered_number which)
{
    const uint64_t numbers[] = {[REG_ENTRIES] = c->entries,
                                [REG_OVERDUE] = c->overdue,
                                [REG_REGISTERED] = c->registered,
                                [REG_RENEWED] = c->renewed,
                                [REG_EXPIRED] = c->expired};
    return numbers[which];
}

static void registered_lines(struct text *t, const struct admin_view *v, const char *name,
                             const char *type, const char *help, enum registered_number which)
{
    char pool[TEXT_LABEL];
    text_head(t, name, type, help);
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        const struct pool_spec *spec = v->snapshot->pools[i];
        struct registry_counts counts;
        if (spec->from == NULL || spec->from->kind != &source_registry)
            continue;
        registry_counts(v->registry, spec->name, &counts);
        text_line(t, "%s{pool=\"%s\"} %" PRIu64 "\n", name, text_label(span_str(spec->name), pool),
                  registered_number(&counts, which));
    }
}

void metrics_registry(struct text *t, const struct admin_view *v)
{
    struct registry_saved saved;
    if (v->registry == NULL)
        return;
    registered_lines(t, v, "weir_registry_entries", "gauge", "Endpoints that are registered.",
                     REG_ENTRIES);
    registered_lines(t, v, "weir_registry_overdue", "gauge",
                     "Of them, those that stay only because nobody has been heard of.",
                     REG_OVERDUE);
    registered_lines(t, v, "weir_registry_registered_total", "counter",
                     "Endpoints that have registered for the first time, or again after they "
                     "were gone.",
                     REG_REGISTERED);
    registered_lines(t, v, "weir_registry_renewed_total", "counter", "Heartbeats.", REG_RENEWED);
    registered_lines(t, v, "weir_registry_expired_total", "counter",
                     "Endpoints that were not heard of for their TTL.", REG_EXPIRED);
    text_head(t, "weir_registry_refused_total", "counter",
              "Requests to register that were refused, by why.");
    for (unsigned why = 0; why < REGISTRY_REFUSALS; why++)
        text_line(t, "weir_registry_refused_total{why=\"%s\"} %" PRIu64 "\n",
                  registry_refusal_name(why), registry_refused(v->registry, why));
    registry_saved(v->registry, &saved);
    text_single(t, "weir_registry_state_errors_total", "counter",
                "Times that the file of who is registered could not be written.", saved.errors);
}
