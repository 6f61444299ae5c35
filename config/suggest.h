/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Did you mean ...?": offered candidates, keeps the one that is fewest typing mistakes away from a
 * word, if that is few enough to be meant. Pure; any thread.
 */
#ifndef WEIR_CONFIG_SUGGEST_H
#define WEIR_CONFIG_SUGGEST_H

#include <stddef.h>

struct suggest {
    const char *word;
    const char *best; /* NULL: nothing is near enough */
    size_t distance;  /* of best; the bound while best is NULL */
};

/* `word` and the candidates are borrowed. */
void suggest_init(struct suggest *s, const char *word);
void suggest_offer(struct suggest *s, const char *candidate);

/*
 * Insertions, deletions, replacements and swaps of neighbours between two strings, regardless of
 * ASCII case; `bound` + 1 if there are more than `bound` or a string is longer than 63 bytes.
 */
size_t suggest_distance(const char *a, const char *b, size_t bound);

#endif
