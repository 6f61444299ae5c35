/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a failed CHECK does in the backends. They link nothing of the proxy, so that a fault in it
 * can't hide in both ends of a test; of proxy/base they use headers alone. Any thread.
 */
#include "proxy/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_fail(const char *file, int line, const char *func, const char *cond)
{
    fprintf(stderr, "%s:%d: %s: CHECK(%s) failed\n", file, line, func, cond);
    abort();
}
