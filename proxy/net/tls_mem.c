/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for OpenSSL. For a record that is read or written it takes a buffer of some 16.5 KiB and
 * up to three small pieces, and gives them back right after (SSL_MODE_RELEASE_BUFFERS), so that a
 * quiet conn has none. Here they are kept for the next record of whichever conn: the same few,
 * still warm, and malloc is not asked. Owns a list of each kind for each thread; any thread, also
 * for a piece that another one was given.
 */
#include <malloc.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "proxy/base/check.h"
#include "proxy/net/tls.h"
#include "proxy/net/tls_ssl.h"

struct spare {
    struct spare *next;
};

/* What is asked for with least to most bytes becomes most. */
struct kind {
    size_t least, most;
    unsigned keep;
};
static const struct kind kinds[] = {
    {33, 40, 64},               /* how far a packet within a packet is written */
    {16 * 1024, 18 * 1024, 32}, /* a record */
};
#define KINDS ARRAY_LEN(kinds)

static __thread struct {
    struct spare *first[KINDS];
    unsigned n[KINDS];
    unsigned long taken;
} spares;

static void *mem_take(size_t i)
{
    struct spare *spare = spares.first[i];
    if (spare == NULL) {
        spares.taken++;
        return malloc(kinds[i].most);
    }
    spares.first[i] = spare->next;
    spares.n[i]--;
    return spare;
}

static void *mem_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    for (size_t i = 0; i < KINDS; i++)
        if (n >= kinds[i].least && n <= kinds[i].most)
            return mem_take(i);
    return n > 0 ? malloc(n) : NULL;
}

static void *mem_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return realloc(p, n);
}

#ifndef __SANITIZE_ADDRESS__ /* whoever uses what was freed is to be found */
/* However it came to be: is it as large as these? Not much larger, or else it would be wasted. */
static bool is_of(const struct kind *kind, size_t n)
{
    return n >= kind->most && n - kind->most < kind->most / 4;
}

static bool mem_keep(void *p)
{
    size_t n = malloc_usable_size(p);
    for (size_t i = 0; i < KINDS; i++) {
        if (!is_of(&kinds[i], n) || spares.n[i] == kinds[i].keep)
            continue;
        struct spare *spare = p;
        spare->next = spares.first[i];
        spares.first[i] = spare;
        spares.n[i]++;
        return true;
    }
    return false;
}
#else
static bool mem_keep(void *p)
{
    (void)p;
    return false;
}
#endif

static void mem_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    if (p != NULL && !mem_keep(p))
        free(p);
}

void tls_setup(void)
{
    /* Too late for that if OpenSSL was used before: then it keeps its own ways. */
    (void)CRYPTO_set_mem_functions(mem_malloc, mem_realloc, mem_free);
}

unsigned long tls_mem_taken(void)
{
    return spares.taken;
}
