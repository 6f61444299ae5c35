/* SPDX-License-Identifier: Apache-2.0 */
/* The modes that hold conns: in the next commit. One thread. */
#include "bench/load_modes.h"
#include "bench/load_net.h"

void mode_idle(const struct load_options *o)
{
    net_die(o->name, "this mode is not in this build");
}

void mode_slow(const struct load_options *o)
{
    net_die(o->name, "this mode is not in this build");
}

void mode_websocket(const struct load_options *o)
{
    net_die(o->name, "this mode is not in this build");
}
