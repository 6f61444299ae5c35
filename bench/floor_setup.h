/* SPDX-License-Identifier: Apache-2.0 */
/* What the two floors do before the first byte: nothing here runs while something is measured. */
#ifndef BENCH_FLOOR_SETUP_H
#define BENCH_FLOOR_SETUP_H

#include <netinet/in.h>

/* Ends the program with 1: what failed, and the errno that says why. */
_Noreturn void floor_die(const char *what, int error);

/* Reads --listen ADDRESS --to ADDRESS, takes all the files it may open, and listens; says on which
 * port. Returns the listener, a socket with these flags of socket(2). Ends the program with 2 when
 * its arguments are wrong. */
int floor_begin(int argc, char **argv, int flags, struct sockaddr_in *upstream);

/* For each socket that forwards. */
void floor_no_delay(int fd);

#endif
