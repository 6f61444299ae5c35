/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A script for the rig (rig.h) whose upstreams talk HTTP/2 to weir: what they say is made of whole
 * frames with fields that are compressed rightly, or of bytes (rig_h2.h). RIG_TRACE in the
 * environment tells it.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < RIG_SETTINGS)
        return 0;
    uint8_t *script = malloc(size);
    CHECK(script != NULL);
    memcpy(script, data, size);
    script[0] |= RIG_H2_UPSTREAMS;
    rig_run(script, size, getenv("RIG_TRACE") != NULL ? stderr : NULL);
    free(script);
    return 0;
}
