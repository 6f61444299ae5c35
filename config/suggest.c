/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edit distance (optimal string alignment) with a bound. Owns nothing. Pure; any thread.
 */
#include "config/suggest.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/span.h"

#define MAX_WORD 63

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b, size_t bound)
{
    size_t la = strlen(a), lb = strlen(b);
    if (la > MAX_WORD || lb > MAX_WORD || la > lb + bound || lb > la + bound)
        return bound + 1;
    size_t rows[3][MAX_WORD + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= lb; j++)
        last[j] = j;
    for (size_t i = 1; i <= la; i++) {
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            char x = ascii_lower(a[i - 1]), y = ascii_lower(b[j - 1]);
            now[j] = min2(min2(last[j] + 1, now[j - 1] + 1), last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == ascii_lower(b[j - 2]) && ascii_lower(a[i - 2]) == y)
                now[j] = min2(now[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return min2(last[lb], bound + 1);
}

void suggest_init(struct suggest *s, const char *word)
{
    /* One mistake in three letters, at most three; in a single letter everything is near. */
    size_t bound = min2((strlen(word) + 1) / 3, 3);
    *s = (struct suggest){.word = word, .distance = bound + 1};
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    if (s->distance == 0)
        return;
    size_t d = suggest_distance(s->word, candidate, s->distance - 1);
    if (d < s->distance) {
        s->best = candidate;
        s->distance = d;
    }
}
