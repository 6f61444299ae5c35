/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is there as a whole or not at all: written beside its place, as PATH.new, and renamed
 * into it. Who else writes the same file, be it from another container, is waited for, for a second
 * or so; what a crash has left of one is taken over. Blocks. Any thread.
 */
#ifndef WEIR_WATCH_FILE_PUT_H
#define WEIR_WATCH_FILE_PUT_H

#include <stdbool.h>

#include "proxy/base/span.h"

/* mode: of the file, less the umask. sync: it is on the disk when this returns, and so is its name.
 * 0, or an errno: what stood there is as it was. EAGAIN: somebody else does not let go of it. */
int file_put(const char *path, struct span text, unsigned mode, bool sync);

/* Such an errno in words, valid until the next. */
const char *file_put_why(int error);

#endif
