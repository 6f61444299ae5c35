/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A response: the first byte says what it answers, the next two where it is cut, the rest is the
 * wire. As fuzz_request.c.
 */
#include <stdlib.h>

#include "tests/fuzz/reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 8192)
        return 0;
    struct reading r;
    size_t len = size - 3;
    struct reading_options options = {.response = true,
                                      .to_head = data[0] & 1,
                                      .to_upgrade = data[0] & 2,
                                      .cut = (data[1] | (size_t)data[2] << 8) % len};
    reading_compare((const char *)data + 3, len, options, &r);
    free(r.body);
    return 0;
}
