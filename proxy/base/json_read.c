/* SPDX-License-Identifier: Apache-2.0 */
/* jansson, with bounds. Owns nothing but what it hands out. Any thread. */
#include "proxy/base/json_read.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "proxy/base/check.h"

#define KEY_MAX 128 /* bytes of one key of a path */

const char *json_read_library(void)
{
    return jansson_version_str();
}

/* What it would come to, without what is in texts: jansson's own bound of the depth is its build's,
 * and it has none of the rest. A part for each mark that separates or encloses others. */
static void measure(struct span text, size_t *deepest, size_t *parts)
{
    size_t depth = 0;
    bool quoted = false;
    *deepest = *parts = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            *deepest = ++depth > *deepest ? depth : *deepest;
        else if (!quoted && (c == '}' || c == ']') && depth > 0)
            depth--;
        *parts += !quoted && (c == '{' || c == '[' || c == ',' || c == ':');
    }
}

/* False with why set. */
static bool is_bounded(struct span text, char why[JSON_READ_WHY])
{
    size_t deepest, parts;
    if (text.len > JSON_READ_MAX) {
        snprintf(why, JSON_READ_WHY, "%zu bytes of JSON are too many", text.len);
        return false;
    }
    measure(text, &deepest, &parts);
    if (deepest > JSON_READ_DEPTH)
        snprintf(why, JSON_READ_WHY, "the JSON is more than %d levels deep", JSON_READ_DEPTH);
    else if (parts > JSON_READ_PARTS)
        snprintf(why, JSON_READ_WHY, "the JSON has %zu parts, more than %zu", parts,
                 JSON_READ_PARTS);
    return deepest <= JSON_READ_DEPTH && parts <= JSON_READ_PARTS;
}

/* What it quotes of the text may be anything. */
static void make_printable(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

struct json_t *json_read(struct span text, char why[JSON_READ_WHY])
{
    json_error_t error;
    if (!is_bounded(text, why))
        return NULL;
    json_t *root =
        json_loadb(text.len > 0 ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        snprintf(why, JSON_READ_WHY, "malformed JSON at line %d, column %d: %.140s", error.line,
                 error.column, error.text);
        make_printable(why);
    }
    return root;
}

void json_read_free(struct json_t *root)
{
    json_decref(root);
}

/* ---- looking ---- */

const struct json_t *json_read_key(const struct json_t *in, const char *key)
{
    const json_t *value = json_object_get(in, key);
    return json_is_null(value) ? NULL : value;
}

const struct json_t *json_read_at(const struct json_t *in, const char *path)
{
    struct span rest = span_str(path), key;
    char name[KEY_MAX];
    while (in != NULL && span_next_piece(&rest, '.', &key)) {
        CHECK(key.len < sizeof(name));
        memcpy(name, key.ptr, key.len);
        name[key.len] = '\0';
        in = json_read_key(in, name);
    }
    return in;
}

void json_read_wrong(struct json_wrong *wrong, const char *path, const char *what)
{
    if (wrong->why[0] == '\0')
        snprintf(wrong->why, sizeof(wrong->why), "%.80s %.100s", path, what);
}

struct span json_read_as_text(const struct json_t *value)
{
    if (!json_is_string(value))
        return span_of(NULL, 0);
    return span_of(json_string_value(value), json_string_length(value));
}

struct span json_read_text(const struct json_t *in, const char *path, const char *otherwise,
                           struct json_wrong *wrong)
{
    const json_t *value = json_read_at(in, path);
    if (json_is_string(value))
        return json_read_as_text(value);
    if (value != NULL)
        json_read_wrong(wrong, path, "is not a string");
    return span_str(otherwise);
}

int64_t json_read_number(const struct json_t *in, const char *path, int64_t otherwise,
                         struct json_wrong *wrong)
{
    const json_t *value = json_read_at(in, path);
    if (json_is_integer(value))
        return json_integer_value(value);
    if (value != NULL)
        json_read_wrong(wrong, path, "is not a whole number");
    return otherwise;
}

bool json_read_bool(const struct json_t *in, const char *path, bool otherwise,
                    struct json_wrong *wrong)
{
    const json_t *value = json_read_at(in, path);
    if (json_is_boolean(value))
        return json_boolean_value(value);
    if (value != NULL)
        json_read_wrong(wrong, path, "is neither true nor false");
    return otherwise;
}

const struct json_t *json_read_array(const struct json_t *in, const char *path,
                                     struct json_wrong *wrong)
{
    const json_t *value = json_read_at(in, path);
    if (value == NULL || json_is_array(value))
        return value;
    json_read_wrong(wrong, path, "is not a list");
    return NULL;
}

size_t json_read_count(const struct json_t *array)
{
    return json_array_size(array);
}

const struct json_t *json_read_item(const struct json_t *array, size_t i)
{
    return json_array_get(array, i);
}
