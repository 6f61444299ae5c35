/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether files have changed, told from what stat says of them: the device and inode behind all
 * symlinks, the size and the times. Any thread; it touches the file system.
 */
#ifndef WEIR_WATCH_FILE_STATE_H
#define WEIR_WATCH_FILE_STATE_H

#include <stdint.h>

/* A number that is another one when the file is another one or was written to. Of a directory: when
 * a .pem, .crt or .key in it is, or came or went. A file that is not there has a state too. */
uint64_t file_state(const char *path);

/* Of several: states in a row make one. Begin with 0. */
uint64_t file_state_mix(uint64_t states, uint64_t state);

#endif
