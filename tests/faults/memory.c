/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail, and their count. Owns a little memory for the time before it knows the
 * allocator behind it; must never serve any other memory itself. Any thread; glibc. faults.c tells
 * what can be said.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include "tests/faults/faults.h"

/* Behind ours is the C library's allocator, or a sanitizer's: found by dlsym, which may itself
 * allocate. Until it is known, memory comes from here and is not given back. */
static _Alignas(16) char early[16384];
static size_t early_used;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void (*free)(void *);
    size_t (*usable)(void *);
} real;

static bool is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

static void *early_get(size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (n > sizeof(early) - early_used)
        _exit(2);
    early_used += n;
    return early + early_used - n;
}

/* False: it is being looked for. */
static bool found(void)
{
    static bool looking; /* before there are threads */
    if (real.free != NULL)
        return true;
    if (looking)
        return false;
    looking = true;
    real.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    real.memalign = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "memalign");
    real.usable = (size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size");
    real.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    return true;
}

static void say(const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    NEXT(write);
    next(STDERR_FILENO, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

/* As addr2line -e wants it: a program, and an address in it. */
static _Unwind_Reason_Code say_frame(struct _Unwind_Context *context, void *skip)
{
    Dl_info info;
    char *at = (char *)_Unwind_GetIP(context);
    if ((*(int *)skip)-- <= 0 && dladdr(at, &info) != 0)
        say("faults:   %s +0x%zx %s\n", info.dli_fname, (size_t)(at - (char *)info.dli_fbase),
            info.dli_sname != NULL ? info.dli_sname : "");
    return _URC_NO_REASON;
}

static void say_where(uint64_t n)
{
    int skip = 2; /* frames of our own */
    inside = true;
    say("faults: allocation %llu fails\n", (unsigned long long)n);
    _Unwind_Backtrace(say_frame, &skip);
    inside = false;
}

/* Counts an allocation of so many bytes more; true: it fails. */
static bool fails(size_t size)
{
    if (inside)
        return false;
    uint64_t n = atomic_fetch_add_explicit(&words[WORD_MALLOCS], 1, memory_order_relaxed) + 1;
    uint64_t nth = words[WORD_MALLOC_NTH], limit = words[WORD_MALLOC_LIMIT];
    if (!faults.running || words[WORD_OFF] != 0)
        return false;
    if ((nth != 0 && n >= nth && n - nth < words[WORD_MALLOC_SPAN]) ||
        (limit != 0 && (int64_t)(words[WORD_LIVE] + size) > (int64_t)limit))
        word_add((enum word)(WORD_STRUCK + CHANCE_MALLOC), 1);
    else if (!strikes(CHANCE_MALLOC))
        return false;
    if (faults.trace)
        say_where(n);
    errno = ENOMEM;
    return true;
}

/* Before main a sanitizer may not be asked. */
static size_t usable(void *p)
{
    return faults.running && p != NULL ? real.usable(p) : 0;
}

static void *got(void *p)
{
    word_add(WORD_LIVE, usable(p));
    return p;
}

void *malloc(size_t size)
{
    if (!found())
        return early_get(size);
    return fails(size) ? NULL : got(real.malloc(size));
}

void *calloc(size_t count, size_t size)
{
    if (!found())
        return early_get(count * size); /* static memory is zero */
    return fails(count * size) ? NULL : got(real.calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (!found() || is_early(old)) {
        char *p = malloc(size);
        size_t most = (size_t)(early + sizeof(early) - (char *)old);
        if (p != NULL && old != NULL)
            memcpy(p, old, size < most ? size : most);
        return p;
    }
    size_t before = usable(old);
    if (fails(size > before ? size - before : 0))
        return NULL;
    void *p = real.realloc(old, size);
    if (p != NULL || size == 0)
        word_add(WORD_LIVE, usable(p) - before);
    return p;
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(count, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, all);
}

void *memalign(size_t align, size_t size)
{
    found();
    return fails(size) ? NULL : got(real.memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    int saved = errno;
    void *p = memalign(align, size);
    errno = saved;
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p)
{
    if (p == NULL || is_early(p) || !found())
        return;
    if (!inside)
        word_add(WORD_FREES, 1);
    word_add(WORD_LIVE, -usable(p));
    real.free(p);
}

/* A sanitizer asks, in each new thread, and ends the process if it can't be told. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
    NEXT(pthread_getattr_np);
    bool before = inside;
    inside = true;
    int error = next(thread, attr);
    inside = before;
    return error;
}
