/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that runs out. Owns a thread's fund; must never allocate to say that it cannot. */
#include "proxy/base/mem.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proxy/base/check.h"

_Noreturn void mem_out(void)
{
    static const char words[] = "weir: out of memory\n";
    ssize_t n = write(STDERR_FILENO, words, sizeof(words) - 1);
    (void)n; /* there is nobody else to tell */
    _exit(1);
}

#define LARGE_PAGE ((size_t)2 << 20)

void *mem_table_new(size_t size)
{
    if (size < LARGE_PAGE)
        return mem_need(malloc(size));
    void *table = NULL;
    if (posix_memalign(&table, LARGE_PAGE, size) != 0)
        mem_out();
    (void)madvise(table, size, MADV_HUGEPAGE); /* advice: as good as it gets */
    return table;
}

void mem_fund_init(struct mem_fund *fund)
{
    fund->spare = mem_need(malloc(MEM_FUND_BYTES));
}

void mem_fund_fini(struct mem_fund *fund)
{
    free(TAKE(fund->spare));
}

void *mem_alloc(struct mem_fund *fund, size_t size)
{
    void *p = malloc(size);
    if (p != NULL || fund == NULL || fund->spare == NULL)
        return p;
    free(TAKE(fund->spare));
    return malloc(size);
}

bool mem_fund_spend(struct mem_fund *fund)
{
    if (fund->spare == NULL)
        return false;
    free(TAKE(fund->spare));
    return true;
}

bool mem_fund_refill(struct mem_fund *fund)
{
    if (fund->spare == NULL)
        fund->spare = malloc(MEM_FUND_BYTES);
    return fund->spare != NULL;
}
