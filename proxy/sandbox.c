/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox. Owns the list of what is allowed until it is entered; must never keep weir from
 * serving. Landlock knows files by their inodes, and a certificate or a configuration is often
 * replaced by another: so it is folders that are allowed. Control thread.
 */
#include "proxy/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/privileges.h"
#include "proxy/seccomp.h"

/* Of ABI 2, 3 and 5; headers may be older than the kernel. */
#define REFER     (UINT64_C(1) << 13)
#define TRUNCATE  (UINT64_C(1) << 14)
#define IOCTL_DEV (UINT64_C(1) << 15)
#define OF_ABI_1  ((UINT64_C(1) << 13) - 1)

#define READ_FILES  (LANDLOCK_ACCESS_FS_READ_FILE)
#define READ        (READ_FILES | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_FILES (LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)
#define WRITE                                                                          \
    (READ | WRITE_FILES | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | \
     LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define OF_FILES (READ_FILES | WRITE_FILES | LANDLOCK_ACCESS_FS_EXECUTE | IOCTL_DEV)

struct allowed {
    char *path;
    enum sandbox_use use;
};

struct sandbox {
    struct allowed *items;
    size_t n;
};

static bool walls; /* around files */
static bool filters;

struct sandbox *sandbox_new(void)
{
    return mem_need(calloc(1, sizeof(struct sandbox)));
}

void sandbox_free(struct sandbox *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->items[i].path);
    free(s->items);
    free(s);
}

void sandbox_allow(struct sandbox *s, const char *path, enum sandbox_use use)
{
    s->items = mem_need(realloc(s->items, (s->n + 1) * sizeof(*s->items)));
    s->items[s->n++] = (struct allowed){mem_need(strdup(path)), use};
}

/* ---- landlock ---- */

static int abi(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* What this kernel can refuse. */
static uint64_t handled(int version)
{
    uint64_t all = OF_ABI_1;
    if (version >= 2)
        all |= REFER;
    if (version >= 3)
        all |= TRUNCATE;
    return version >= 5 ? all | IOCTL_DEV : all;
}

/* The file or folder itself, as far as it is there. */
static void add_rule(int rules, const char *path, uint64_t access, uint64_t known)
{
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        access &= OF_FILES;
    struct landlock_path_beneath_attr rule = {.allowed_access = access & known, .parent_fd = fd};
    (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(fd);
}

/* The folder that it is in, unless that is everything. */
static void add_folder(int rules, const char *path, uint64_t access, uint64_t known)
{
    char copy[PATH_MAX];
    struct stat st;
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(copy, sizeof(copy), "%s", path);
    const char *folder = is_folder ? path : dirname(copy);
    add_rule(rules, strcmp(folder, "/") == 0 ? path : folder, access, known);
}

/* Where it is said to be, and where it is: both are looked at when it is opened again. */
static void add_allowed(int rules, const struct allowed *item, uint64_t known)
{
    char real[PATH_MAX];
    uint64_t access = item->use == SANDBOX_WRITE ? WRITE : READ;
    if (item->use == SANDBOX_FILE) {
        add_rule(rules, item->path, READ_FILES | WRITE_FILES | IOCTL_DEV, known);
        return;
    }
    add_folder(rules, item->path, access, known);
    if (realpath(item->path, real) != NULL)
        add_folder(rules, real, access, known);
}

/* NULL, or why there is none. */
static const char *wall_flaw(void)
{
    if (SECCOMP_SANITIZED)
        return "a sanitizer reads files of its own";
    if (abi() >= 1)
        return NULL;
    return errno == EOPNOTSUPP ? "it is switched off in this kernel" : "this kernel has none";
}

bool sandbox_can_wall(void)
{
    return wall_flaw() == NULL;
}

/* NULL, or why it is not done. */
static const char *wall_files(const struct sandbox *s)
{
    const char *flaw = wall_flaw();
    if (flaw != NULL)
        return flaw;
    struct landlock_ruleset_attr attr = {.handled_access_fs = handled(abi())};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (rules < 0)
        return strerror(errno);
    for (size_t i = 0; i < s->n; i++)
        add_allowed(rules, &s->items[i], attr.handled_access_fs);
    const char *why = syscall(SYS_landlock_restrict_self, rules, 0) == 0 ? NULL : strerror(errno);
    close(rules);
    walls = why == NULL;
    return why;
}

/* ---- all of it ---- */

static const char *set_filter(void)
{
    const char *flaw = seccomp_flaw();
    int err = flaw == NULL ? seccomp_enter() : 0;
    if (flaw == NULL && err != 0)
        flaw = strerror(err);
    filters = flaw == NULL;
    return flaw;
}

static void tell(const char *what, const char *flaw)
{
    if (flaw != NULL)
        log_warn("sandbox: no %s: %s", what, flaw);
}

void sandbox_enter(struct sandbox *s)
{
    const char *privs = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? NULL : strerror(errno);
    const char *files = privs != NULL ? "it needs no_new_privs" : wall_files(s);
    const char *calls = privs != NULL ? "it needs no_new_privs" : set_filter();
    tell("no_new_privs", privs);
    tell("landlock", files);
    tell("seccomp", calls);
    if (privs == NULL)
        log_info("sandbox: no_new_privs%s%s%s", files == NULL ? ", landlock" : "",
                 calls == NULL ? ", seccomp" : "",
                 geteuid() == 0 ? "; weir runs as root: \"user\" would give that up" : "");
}

bool sandbox_has_walls(void)
{
    return walls;
}

void sandbox_enter_worker(void)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    if (!filters)
        return;
    privileges_drop_thread();
    int err = seccomp_enter_worker();
    if (err != 0)
        log_limited(&limit, LOG_WARN, "sandbox: no seccomp for a worker: %s", strerror(err));
}

unsigned sandbox_features(const char *words[SANDBOX_WALLS])
{
    unsigned n = 0;
    words[n++] = "no_new_privs";
    if (sandbox_can_wall())
        words[n++] = "landlock";
    if (seccomp_flaw() == NULL)
        words[n++] = "seccomp";
    return n;
}
