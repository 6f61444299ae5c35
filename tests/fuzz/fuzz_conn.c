/* SPDX-License-Identifier: Apache-2.0 */
/* A script for the rig (rig.h): whole connections, both sides, through the real exchange code. */
#include "tests/fuzz/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return rig_fuzz(data, size, 0);
}
