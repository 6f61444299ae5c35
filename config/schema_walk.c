/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all that walk the schema's rows need. Owns nothing. Pure; any thread.
 */
#include <string.h>

#include "config/schema.h"

const struct schema_row *schema_find(const struct schema_table *table, const char *key)
{
    for (size_t i = 0; i < table->row_count; i++)
        if (strcmp(table->rows[i].key, key) == 0)
            return &table->rows[i];
    return NULL;
}

const struct schema_row *schema_short(const struct schema_table *table)
{
    return table->short_key ? schema_find(table, table->short_key) : NULL;
}

const char *schema_items_of(const struct schema_row *row, const void *obj, size_t *count)
{
    const char *items;
    memcpy(&items, (const char *)obj + row->offset, sizeof(items));
    memcpy(count, (const char *)obj + row->count_offset, sizeof(*count));
    return items;
}

static bool table_is_set(const struct schema_table *t, const void *obj)
{
    for (size_t i = 0; i < t->row_count; i++)
        if (schema_is_set(&t->rows[i], obj))
            return true;
    return false;
}

bool schema_is_set(const struct schema_row *row, const void *obj)
{
    size_t count;
    if (row->applies != NULL && !row->applies(obj))
        return false;
    switch (row->shape) {
    case SHAPE_SCALAR:
        return row->type->is_set == NULL || row->type->is_set(schema_field(row, obj));
    case SHAPE_LIST:
    case SHAPE_MAP:
        schema_items_of(row, obj, &count);
        return count > 0;
    case SHAPE_TABLE:
        break;
    }
    if (row->flags & ROW_SWITCH)
        return *(const bool *)((const char *)obj + row->present_offset);
    return table_is_set(row->table, schema_field(row, obj));
}
