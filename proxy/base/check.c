/* SPDX-License-Identifier: Apache-2.0 */
/* The failing end of CHECK. Owns nothing; runs on any thread; never returns. */
#include "proxy/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_fail(const char *file, int line, const char *func, const char *cond)
{
    fprintf(stderr, "weir: internal error at %s:%d in %s: CHECK(%s) does not hold\n", file, line,
            func, cond);
    abort();
}
