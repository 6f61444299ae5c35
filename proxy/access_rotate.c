/* SPDX-License-Identifier: Apache-2.0 */
/* Renaming the files of a log. Owns nothing; must never lose the newest of them. Writer thread. */
#include "proxy/access_rotate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* n 0: path itself. False: too long. */
static bool name_of(char out[PATH_MAX], const char *path, unsigned n)
{
    int len =
        n == 0 ? snprintf(out, PATH_MAX, "%s", path) : snprintf(out, PATH_MAX, "%s.%u", path, n);
    if (len < PATH_MAX)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

static bool move(const char *path, unsigned from, unsigned to)
{
    char old[PATH_MAX], new[PATH_MAX];
    return name_of(old, path, from) && name_of(new, path, to) &&
           (rename(old, new) == 0 || errno == ENOENT);
}

bool access_rotate(const char *path, unsigned keep)
{
    if (keep == 0)
        return unlink(path) == 0 || errno == ENOENT;
    for (unsigned n = keep; n > 0; n--)
        if (!move(path, n - 1, n))
            return false;
    return true;
}
