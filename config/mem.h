/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena behind one configuration, one parse tree or one list of errors: allocate, never free
 * singly, free all at once. Memory is zeroed. Running out of it ends the process (mem_out), as
 * there is nothing sensible to do with half a configuration. One thread at a time.
 */
#ifndef WEIR_CONFIG_MEM_H
#define WEIR_CONFIG_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

struct config_mem;

/* Text that is written through a FILE. */
struct config_text {
    struct config_mem *mem;
    char *text; /* NUL behind it */
    size_t len, size;
    FILE *out;
};

/* Never NULL; the caller's, to config_mem_free. */
struct config_mem *config_mem_new(void);

/* Everything that was allocated from it becomes invalid. NULL is fine. */
void config_mem_free(struct config_mem *mem);

/* `count` zeroed objects of `size` bytes, aligned for any type; never NULL, not even for 0. */
void *config_mem_alloc(struct config_mem *mem, size_t count, size_t size);

/* A copy of `len` bytes with a NUL behind them. */
char *config_mem_dup(struct config_mem *mem, const char *bytes, size_t len);

/* What printf makes of it; never NULL. */
char *config_mem_printf(struct config_mem *mem, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
char *config_mem_vprintf(struct config_mem *mem, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Begins a text, to be written to text->out. open_memstream would lose, without a word, what it has
 * no memory for. */
void config_text_open(struct config_text *text, struct config_mem *mem);

/* Ends it; the text lives as long as mem. */
char *config_text_close(struct config_text *text);

#endif
