/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for OpenSSL. A handshake takes some 600 small pieces and a buffer of 21 KiB for messages;
 * a record that is read or written takes one of some 16.5 KiB, which it gives back right after
 * (SSL_MODE_RELEASE_BUFFERS), so that a quiet conn has none. Here they are kept for the next record
 * or handshake of whichever conn: the same few, still warm, and malloc is not asked. Owns lists for
 * each thread; any thread, also for a piece that another one was given.
 */
#include <malloc.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls.h"
#include "proxy/net/tls_ssl.h"

struct spare {
    struct spare *next;
};

struct spares {
    struct spare *first;
    unsigned n;
};

/* Small ones are told apart as malloc does it, by steps of 16 bytes. */
#define STEP       16
#define SMALL_MOST 1024
#define SMALL_KEEP (16 * 1024) /* bytes of a size */
#define SMALLS     (SMALL_MOST / STEP + 2)

/* Of the large ones, what is asked for with least to most bytes becomes most. */
struct kind {
    size_t least, most;
    unsigned keep;
};
static const struct kind kinds[] = {
    {16 * 1024, 18 * 1024, 32}, /* a record */
    {21 * 1024, 22 * 1024, 4},  /* the messages of a handshake */
};
#define KINDS ARRAY_LEN(kinds)

static __thread struct {
    struct spares small[SMALLS], large[KINDS];
    unsigned long taken;
} kept;

static void *mem_take(struct spares *of, size_t n)
{
    struct spare *spare = of->first;
    if (spare == NULL) {
        kept.taken++;
        return malloc(n);
    }
    of->first = spare->next;
    of->n--;
    return spare;
}

static void *mem_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    if (n == 0)
        return NULL;
    if (n <= SMALL_MOST)
        return mem_take(&kept.small[(n + sizeof(size_t) + STEP - 1) / STEP], n);
    for (size_t i = 0; i < KINDS; i++)
        if (n >= kinds[i].least && n <= kinds[i].most)
            return mem_take(&kept.large[i], kinds[i].most);
    return malloc(n);
}

/* Where n bytes, however they came to be, are worth keeping. */
static struct spares *mem_place(size_t n)
{
    if (n <= SMALL_MOST + STEP / 2) {
        struct spares *of = &kept.small[(n + sizeof(size_t)) / STEP];
        return of->n < SMALL_KEEP / n ? of : NULL;
    }
    for (size_t i = 0; i < KINDS; i++)
        if (n >= kinds[i].most && n - kinds[i].most < 1024 && kept.large[i].n < kinds[i].keep)
            return &kept.large[i];
    return NULL;
}

static void mem_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    struct spares *of = MEM_KEEPS && p != NULL ? mem_place(malloc_usable_size(p)) : NULL;
    if (of == NULL) {
        free(p);
        return;
    }
    struct spare *spare = p;
    spare->next = of->first;
    of->first = spare;
    of->n++;
}

static void *mem_realloc(void *p, size_t n, const char *file, int line)
{
    if (p == NULL)
        return mem_malloc(n, file, line);
    if (n > 0)
        return realloc(p, n);
    mem_free(p, file, line);
    return NULL;
}

void tls_setup(void)
{
    /* Too late for that if OpenSSL was used before: then it keeps its own ways. */
    (void)CRYPTO_set_mem_functions(mem_malloc, mem_realloc, mem_free);
}

unsigned long tls_mem_taken(void)
{
    return kept.taken;
}
