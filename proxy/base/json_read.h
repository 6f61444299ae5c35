/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON that others wrote, over jansson: bounded in bytes, depth and what a tree of it
 * takes, a repeated key is an error. What has been read is a tree; a value is looked for by its
 * path ("metadata.name"), which is also what an error says about it. Writing is json.h's. Any
 * thread; a tree is one thread's.
 */
#ifndef WEIR_BASE_JSON_READ_H
#define WEIR_BASE_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

#define JSON_READ_MAX   ((size_t)32 << 20) /* bytes of a text, at most */
#define JSON_READ_DEPTH 64                 /* more is malformed */
#define JSON_READ_PARTS ((size_t)1 << 20)  /* values, keys and brackets: some 120 bytes each */
#define JSON_READ_WHY   200

/* A value, anywhere in a tree. */
struct json_t;

/* The version of jansson that runs. */
const char *json_read_library(void);

/* The whole text is one value, an object or an array; to be freed with json_read_free. NULL with
 * why set: one line, with the place. */
struct json_t *json_read(struct span text, char why[JSON_READ_WHY]);

/* The tree, of its root. NULL is fine. */
void json_read_free(struct json_t *root);

/* The value at a path of keys with dots in between, or with one key that has dots itself
 * (json_read_key). NULL: one of them is not there, or null, or within what is no object. */
const struct json_t *json_read_at(const struct json_t *in, const char *path);
const struct json_t *json_read_key(const struct json_t *in, const char *key);

/* What is wrong with a tree; all zero: nothing yet. The first error stays. */
struct json_wrong {
    char why[JSON_READ_WHY]; /* "metadata.name is not a string" */
};

/* As json_read_at, for values that may be left out: then what is `otherwise` comes back. A value of
 * another type is an error (and `otherwise` comes back too). Texts are UTF-8, have a NUL behind
 * them and none within, and live as long as the tree. */
struct span json_read_text(const struct json_t *in, const char *path, const char *otherwise,
                           struct json_wrong *wrong);
int64_t json_read_number(const struct json_t *in, const char *path, int64_t otherwise,
                         struct json_wrong *wrong);
bool json_read_bool(const struct json_t *in, const char *path, bool otherwise,
                    struct json_wrong *wrong);

/* The array at a path, to be walked from 0 to its length; left out: of no length. */
const struct json_t *json_read_array(const struct json_t *in, const char *path,
                                     struct json_wrong *wrong);
size_t json_read_count(const struct json_t *array);
const struct json_t *json_read_item(const struct json_t *array, size_t i);

/* The value itself as a text, or an empty span: it is none. */
struct span json_read_as_text(const struct json_t *value);

/* Says that something is wrong; the first stays. */
void json_read_wrong(struct json_wrong *wrong, const char *path, const char *what);

#endif
