/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first moments of a process that is to serve, before it can heed anything, and its last:
 * signals that ask a running weir for something wait, and the three standard descriptors are open,
 * so that no socket gets their numbers. Before there is a second thread.
 */
#ifndef WEIR_EARLY_H
#define WEIR_EARLY_H

/* Opens /dev/null for each of the descriptors 0 to 2 that is closed. */
void early_descriptors(void);

/* From now on SIGHUP, SIGUSR1 and SIGUSR2, which end a process that does not heed them, wait. */
void early_signals_hold(void);

/* They come, those too that have waited: there is somebody who heeds them. */
void early_signals_let(void);

/* Nobody heeds them any more, nor SIGTERM and SIGINT: what comes now comes too late. From the last
 * thread that takes signals. */
void early_signals_end(void);

/* The signals that wait are those that waited when the process was started: for a child. */
void early_signals_as_before(void);

#endif
