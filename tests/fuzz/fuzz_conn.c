/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A script for the rig (rig.h): whole connections, both sides, through the real exchange code. With
 * RIG_TRACE in the environment it tells what happens.
 */
#include <stdlib.h>

#include "tests/fuzz/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rig_run(data, size, getenv("RIG_TRACE") != NULL ? stderr : NULL);
    return 0;
}
