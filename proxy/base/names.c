/* SPDX-License-Identifier: Apache-2.0 */
/* A sorted list of names. Owns the list, not the names. One thread at a time. */
#include "proxy/base/names.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name_entry *)a)->name, ((const struct name_entry *)b)->name);
}

static int by_name_and_index(const void *a, const void *b)
{
    int order = by_name(a, b);
    int32_t ia = ((const struct name_entry *)a)->index, ib = ((const struct name_entry *)b)->index;
    return order != 0 ? order : (ia > ib) - (ia < ib);
}

void names_add(struct names *names, const char *name, int32_t index)
{
    if (names->n == names->room) {
        names->room = names->room == 0 ? 16 : 2 * names->room;
        names->entries = mem_need(realloc(names->entries, names->room * sizeof(names->entries[0])));
    }
    names->entries[names->n++] = (struct name_entry){name, index};
}

void names_sort(struct names *names)
{
    if (names->n > 0)
        qsort(names->entries, names->n, sizeof(names->entries[0]), by_name_and_index);
}

int32_t names_find_nth(const struct names *names, const char *name, uint32_t nth)
{
    if (names->n == 0)
        return -1;
    const struct name_entry wanted = {name, -1}, *end = names->entries + names->n;
    const struct name_entry *found =
        bsearch(&wanted, names->entries, names->n, sizeof(names->entries[0]), by_name);
    while (found != NULL && found > names->entries && by_name(found - 1, found) == 0)
        found--;
    if (found == NULL || nth >= (size_t)(end - found) || by_name(found + nth, &wanted) != 0)
        return -1;
    return found[nth].index;
}

void names_fini(struct names *names)
{
    free(names->entries);
    *names = (struct names){0};
}
