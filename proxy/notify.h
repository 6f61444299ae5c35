/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager is told (sd_notify): that weir serves, that it ends, and, if it wants to
 * hear that regularly, that the control thread is alive. Without NOTIFY_SOCKET in the environment
 * nothing is sent. Control thread only.
 */
#ifndef WEIR_NOTIFY_H
#define WEIR_NOTIFY_H

#include <stdint.h>
#include <uv.h>

struct notify {
    uv_timer_t watchdog;
};

/* To be called before the others; from here on to notify_close the watchdog is fed, if there is
 * one (WATCHDOG_USEC, WATCHDOG_PID). */
void notify_init(struct notify *n, uv_loop_t *loop);

/* Every worker listens. */
void notify_ready(void);

/* Ending has begun, and takes at most so many milliseconds. */
void notify_stopping(uint64_t within_ms);

/* The struct may go once the loop has ended. May be called again. */
void notify_close(struct notify *n);

#endif
