/* SPDX-License-Identifier: Apache-2.0 */
/* Older files of a log: path.1 is the one before, path.2 the one before that. */
#ifndef WEIR_PROXY_ACCESS_ROTATE_H
#define WEIR_PROXY_ACCESS_ROTATE_H

#include <stdbool.h>

/* Makes room at path: what is there becomes path.1, path.1 becomes path.2, and so on up to
 * path.keep, whose content is gone; keep 0: what is at path is gone. A gap in the row is fine.
 * False with errno: path may still be there. Any thread; may block on a slow file system. */
bool access_rotate(const char *path, unsigned keep);

#endif
