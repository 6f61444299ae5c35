/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager is told (sd_notify): that weir serves, reloads, ends, and, if it wants to
 * hear that regularly, that all its threads are alive. Without NOTIFY_SOCKET in the environment
 * nothing is sent. Control thread only.
 */
#ifndef WEIR_NOTIFY_H
#define WEIR_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct notify {
    uv_timer_t watchdog;
    bool (*well)(void *ctx); /* asked each time that the watchdog is to be fed */
    void *ctx;
};

/* To be called before the others; from here on to notify_close the watchdog is fed, if there is
 * one (WATCHDOG_USEC, WATCHDOG_PID), twice in its time if all is well. */
void notify_init(struct notify *n, uv_loop_t *loop, bool (*well)(void *ctx), void *ctx);

/* Every worker listens; or the reload is over, whatever came of it. */
void notify_ready(void);

/* A reload begins; notify_ready follows. */
void notify_reloading(void);

/* That process is the service from now on, and what it says counts. */
void notify_main(pid_t pid);

/* Ending has begun, and takes at most so many milliseconds. */
void notify_stopping(uint64_t within_ms);

/* The struct may go once the loop has ended. May be called again. */
void notify_close(struct notify *n);

#endif
