/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request: the first two bytes say where it is cut, the rest is the wire. What weir accepts must
 * be what a second reader sees: line, fields, framing, body and where it ends.
 */
#include <stdlib.h>

#include "tests/fuzz/reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 8192)
        return 0;
    struct reading r;
    size_t len = size - 2;
    reading_compare((const char *)data + 2, len,
                    (struct reading_options){.cut = (data[0] | (size_t)data[1] << 8) % len}, &r);
    free(r.body);
    return 0;
}
