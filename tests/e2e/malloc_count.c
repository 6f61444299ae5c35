/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload that counts a process's calls of the allocator, in all its threads, into a file that is
 * mapped: its reader sees them live and disturbs nothing. Built and loaded by test_syscalls.py; glibc.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALLOCS, FREES, COUNTERS };

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static _Atomic uint64_t before_main[COUNTERS]; /* until the file is mapped */
static _Atomic uint64_t *counters = before_main;

static void count(int which) {
    atomic_fetch_add_explicit(&counters[which], 1, memory_order_relaxed);
}

__attribute__((constructor)) static void map_counters(void) {
    const char *path = getenv("MALLOC_COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof before_main, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        counters = p;
}

void *malloc(size_t size) {
    count(ALLOCS);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    count(ALLOCS);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    count(ALLOCS);
    return __libc_realloc(old, size);
}

void *memalign(size_t align, size_t size) {
    count(ALLOCS);
    return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size) {
    return memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size) {
    void *p = memalign(align, size);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p) {
    if (p)
        count(FREES);
    __libc_free(p);
}
