/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world: answers "Hello, World!" on port 8081. `world --help` documents every option, path and
 * fault knob; they come from knobs.h and options.c, which hello and world share.
 */
#include "backends/server.h"

int main(int argc, char **argv)
{
    return server_main(argc, argv, "world", 8081);
}
