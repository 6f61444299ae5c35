/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when memory runs out. While weir starts, it ends with a message. A thread that
 * serves has a fund: memory that is asked for at the start, never touched (so that it costs address
 * space only), and given back the first time malloc fails. What is in progress then goes on, and
 * the layers above take nothing new until the fund is whole again. Only if even that was not enough
 * does weir end, with the same message. Never a crash: the kernel would have been as sudden.
 * mem_out is for any thread, a fund for its owner's.
 */
#ifndef WEIR_BASE_MEM_H
#define WEIR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#define MEM_FUND_BYTES ((size_t)1 << 20)

/* Under AddressSanitizer nothing that was given back is kept to be handed out again: whoever uses
 * it nevertheless is to be found. */
#if defined(__SANITIZE_ADDRESS__)
#define MEM_KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_KEEPS 0
#endif
#endif
#ifndef MEM_KEEPS
#define MEM_KEEPS 1
#endif

struct mem_fund {
    void *spare; /* NULL: it was needed */
};

/* Says on stderr that memory is out, and ends the process with status 1. */
_Noreturn void mem_out(void);

/* What an allocator returned, unless that is NULL: mem_need(calloc(n, size)). */
static inline void *mem_need(void *p)
{
    if (__builtin_expect(p == NULL, 0))
        mem_out();
    return p;
}

/* Memory for a table that is read all over, malloc's but on large pages, where it has some of them
 * and the kernel knows such: a look into it then misses the TLB less. */
void *mem_table_new(size_t size);

/* Asks for the fund (mem_out without memory for it); fini gives it back. */
void mem_fund_init(struct mem_fund *fund);
void mem_fund_fini(struct mem_fund *fund);

/* malloc; if that fails, once more without the fund. NULL: it failed again. fund may be NULL. */
void *mem_alloc(struct mem_fund *fund, size_t size);

/* Gives the fund back to malloc, for an allocation that has failed elsewhere; false: it was gone.
 */
bool mem_fund_spend(struct mem_fund *fund);

/* Tries to get the fund back; false: memory is still short. */
bool mem_fund_refill(struct mem_fund *fund);

/* Is memory short? Nothing new should be begun then. */
static inline bool mem_short(struct mem_fund *fund)
{
    return __builtin_expect(fund->spare == NULL, 0) && !mem_fund_refill(fund);
}

#endif
