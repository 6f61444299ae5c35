/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small process that waits beside weir to start its successor. It is made before weir gives up
 * any right and has what weir began with: its user, folder, environment and arguments. So weir
 * itself needs no right to run a program, and the next one begins as this one did. All that it can
 * be asked for is to run this one command line. It ends with weir. Control thread.
 */
#ifndef WEIR_LAUNCHER_H
#define WEIR_LAUNCHER_H

/* What the successor finds in its environment: the number of a descriptor. */
#define LAUNCHER_VARIABLE "WEIR_UPGRADE"

/* Before there is another thread. argv: of the process, which stays as it is; the program is looked
 * for anew each time. -1 with errno: there will be none. Else a SOCK_SEQPACKET socket to it. */
int launcher_start(char **argv);

/* Runs the program, with a copy of channel, which is SOCK_SEQPACKET: if it cannot be run, the
 * channel says "failed" and why, and closes. 0 or errno. */
int launcher_run(int launcher, int channel);

/* Ends what was run last, if it is still there. */
void launcher_kill(int launcher);

#endif
