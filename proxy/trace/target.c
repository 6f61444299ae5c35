/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what was configured. Control thread. */
#include "proxy/trace/target.h"

#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

struct trace_target *trace_target_new(size_t n_fields)
{
    struct trace_target *target = mem_need(calloc(1, sizeof(*target)));
    target->refs = 1;
    target->n_fields = n_fields;
    target->fields = mem_need(calloc(n_fields + 1, sizeof(target->fields[0])));
    return target;
}

struct trace_target *trace_target_ref(struct trace_target *target)
{
    if (target != NULL)
        target->refs++;
    return target;
}

void trace_target_unref(struct trace_target *target)
{
    if (target == NULL || --target->refs > 0)
        return;
    for (size_t i = 0; i < target->n_fields; i++) {
        free((char *)(uintptr_t)target->fields[i].name.ptr);
        free((char *)(uintptr_t)target->fields[i].value.ptr);
    }
    free(target->fields);
    free(target->text);
    free(target->ca);
    free(target->service);
    free(target);
}
