/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: the load that wrk and h2load can't make. An open loop without coordinated omission, idle
 * and slow conns that are held, WebSocket messages; and a closed loop, for the peak, that costs
 * less CPU than wrk because it shares a core with the backend. `load --help` has the options.
 *
 * load_net.c has the conns and the loop, load_answer.c finds where answers end, and each mode
 * is a file: load_open.c, load_closed.c, load_hold.c (idle), load_idle_tls.c,
 * load_slow.c, load_websocket.c. All of it
 * is one thread.
 */
#include "bench/load_modes.h"

int main(int argc, char **argv)
{
    struct load_options options;

    options_parse(&options, argc, argv);
    switch (options.mode) {
    case LOAD_OPEN:
        mode_open(&options);
        break;
    case LOAD_CLOSED:
        mode_closed(&options);
        break;
    case LOAD_IDLE:
        if (options.tls)
            mode_idle_tls(&options);
        else
            mode_idle(&options);
        break;
    case LOAD_SLOW:
        mode_slow(&options);
        break;
    case LOAD_WEBSOCKET:
        mode_websocket(&options);
        break;
    }
    return 0;
}
