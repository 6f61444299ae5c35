/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for OpenSSL. It takes two buffers of some 16.5 KiB while a record is read or written and
 * gives them back right after (SSL_MODE_RELEASE_BUFFERS), so that a quiet conn has none. Here they
 * are kept for the next record of whichever conn: the same few, still warm, and malloc is not
 * asked. Owns a list of them for each thread; any thread.
 */
#include <malloc.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "proxy/net/tls.h"
#include "proxy/net/tls_ssl.h"

/* What is asked for between these two is a buffer, and becomes as large as the largest. */
#define BUFFER_MIN ((size_t)16 * 1024)
#define BUFFER_MAX ((size_t)18 * 1024)
#define KEEP       32

struct spare {
    struct spare *next;
};

static __thread struct {
    struct spare *first;
    unsigned n;
    unsigned long taken;
} spares;

static void *mem_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    if (n < BUFFER_MIN || n > BUFFER_MAX)
        return n > 0 ? malloc(n) : NULL;
    struct spare *spare = spares.first;
    if (spare == NULL) {
        spares.taken++;
        return malloc(BUFFER_MAX);
    }
    spares.first = spare->next;
    spares.n--;
    return spare;
}

static void *mem_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return realloc(p, n);
}

/* Is it as large as a buffer, however it came to be? */
static bool is_buffer(void *p)
{
    size_t n = malloc_usable_size(p);
    return n >= BUFFER_MAX && n < BUFFER_MAX + 64;
}

static void mem_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
#ifndef __SANITIZE_ADDRESS__ /* whoever uses one that was freed is to be found */
    if (p != NULL && spares.n < KEEP && is_buffer(p)) {
        struct spare *spare = p;
        spare->next = spares.first;
        spares.first = spare;
        spares.n++;
        return;
    }
#else
    (void)is_buffer;
#endif
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
