/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole service: options, sockets, workers, signals. Main thread.
 */
#ifndef WEIR_BACKENDS_SERVER_H
#define WEIR_BACKENDS_SERVER_H

/* main() of a service called program with that default port. Returns the exit status. */
int server_main(int argc, char **argv, const char *program, unsigned port);

#endif
