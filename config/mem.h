/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena behind one configuration, one parse tree or one list of errors: allocate, never free
 * singly, free all at once. Memory is zeroed. Running out of it aborts, as there is nothing
 * sensible to do with half a configuration. One thread at a time.
 */
#ifndef WEIR_CONFIG_MEM_H
#define WEIR_CONFIG_MEM_H

#include <stdarg.h>
#include <stddef.h>

struct config_mem;

struct config_mem *config_mem_new(void);

/* Everything that was allocated from it becomes invalid. NULL is fine. */
void config_mem_free(struct config_mem *mem);

/* `count` zeroed objects of `size` bytes, aligned for any type; never NULL, not even for 0. */
void *config_mem_alloc(struct config_mem *mem, size_t count, size_t size);

/* A copy of `len` bytes with a NUL behind them. */
char *config_mem_dup(struct config_mem *mem, const char *bytes, size_t len);

char *config_mem_printf(struct config_mem *mem, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
char *config_mem_vprintf(struct config_mem *mem, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

#endif
