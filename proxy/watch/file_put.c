/* SPDX-License-Identifier: Apache-2.0 */
/* Putting a file in its place. Owns nothing once it has returned; must never write into what is not
 * its own. Any thread. */
#include "proxy/watch/file_put.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/mem.h"

#define TRIES    500 /* of others in between, who write it too */
#define PAUSE_MS 2   /* between two of them; who has it for a second altogether may have stopped */

/* Is that what the name still stands for? Who waited for the lock may have got what was renamed. */
static bool is_at(int fd, const char *name)
{
    struct stat own, there;
    return fstat(fd, &own) == 0 && lstat(name, &there) == 0 && own.st_ino == there.st_ino &&
           own.st_dev == there.st_dev;
}

/* What another user has put there could be read, or be changed later: it is not written into. */
static bool is_ours(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink <= 1;
}

/* Not every file system knows of locks. */
static bool lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/* Empty, and locked as long as it is open. -1: errno. */
static int open_new(const char *name, unsigned mode)
{
    for (int i = 0; i < TRIES; i++) {
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
        if (fd < 0)
            return -1;
        bool ours = is_ours(fd), locked = ours && lock(fd);
        if (locked && is_at(fd, name) && ftruncate(fd, 0) == 0)
            return fd;
        close(fd);
        if (!ours && unlink(name) != 0 && errno != ENOENT)
            return -1;
        if (ours && !locked)
            (void)poll(NULL, 0, PAUSE_MS);
    }
    errno = EAGAIN;
    return -1;
}

static bool write_all(int fd, struct span text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            text = span_of(text.ptr + n, text.len - (size_t)n);
    }
    return true;
}

/* So that the new name is there after a crash of the machine, too; not every file system can. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        mem_need(slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup("."));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

int file_put(const char *path, struct span text, unsigned mode, bool sync)
{
    char name[PATH_MAX];
    if ((size_t)snprintf(name, sizeof(name), "%s.new", path) >= sizeof(name))
        return ENAMETOOLONG;
    int fd = open_new(name, mode);
    if (fd < 0)
        return errno;
    bool ok = write_all(fd, text) && (!sync || fsync(fd) == 0) && rename(name, path) == 0;
    int error = ok ? 0 : errno;
    if (!ok)
        (void)unlink(name);
    close(fd);
    if (ok && sync)
        sync_folder(path);
    return error;
}

const char *file_put_why(int error)
{
    return error == EAGAIN ? "another process has had the file of that name and .new locked for a "
                             "second; see which one (fuser), and end it"
                           : strerror(error);
}
