/* SPDX-License-Identifier: Apache-2.0 */
/* A script for the rig (rig.h) whose clients talk HTTP/2 to weir, in whole frames or in bytes. */
#include "tests/fuzz/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return rig_fuzz(data, size, RIG_H2_CLIENTS);
}
