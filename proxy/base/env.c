/* SPDX-License-Identifier: Apache-2.0 */
/* The environment. Owns nothing, and must never change it. Control thread. */
#include "proxy/base/env.h"

#include <stdlib.h>

uint64_t env_number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return 0;
    unsigned long long number = strtoull(text, &end, 10);
    return *end == '\0' ? number : 0;
}
