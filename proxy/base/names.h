/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a name among many: a sorted list of them. No I/O; one thread at a time. */
#ifndef WEIR_BASE_NAMES_H
#define WEIR_BASE_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct name_entry {
    const char *name;
    int32_t index;
};

/* Begins as {0}. The names are borrowed. */
struct names {
    struct name_entry *entries;
    size_t n, room;
};

/* All are added before the first is looked for. */
void names_add(struct names *names, const char *name, int32_t index);
void names_sort(struct names *names);

/* The index that a name was added with, or -1. Of several that are equal the nth from 0, by index.
 */
int32_t names_find_nth(const struct names *names, const char *name, uint32_t nth);

static inline int32_t names_find(const struct names *names, const char *name)
{
    return names_find_nth(names, name, 0);
}

void names_fini(struct names *names);

#endif
