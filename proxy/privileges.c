/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights. Owns nothing; must never leave a way back. Calls of the kernel that libc has no
 * name for are made by number; what they set is of the thread that calls.
 */
#include "proxy/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/base/check.h"

#define CAPABILITIES 64
#define ONLY_LISTEN  (UINT32_C(1) << CAP_NET_BIND_SERVICE)

static bool refuse(char *why, size_t size, const char *what, const char *name)
{
    snprintf(why, size, "%s \"%s\": %s", what, name, strerror(errno));
    return false;
}

/* Permitted and effective; none inheritable. */
static bool set_capabilities(uint32_t set)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = set, .permitted = set}};
    return syscall(SYS_capset, &head, data) == 0;
}

static bool has_capability(uint32_t set)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    return syscall(SYS_capget, &head, data) == 0 && (data[0].permitted & set) == set;
}

static bool set_groups(const struct passwd *user, gid_t group, bool only)
{
    return (only ? setgroups(1, &group) : initgroups(user->pw_name, group)) == 0 &&
           setresgid(group, group, group) == 0;
}

/* What root has lost it must not be able to get again. */
static bool is_final(uid_t uid)
{
    return getuid() == uid && geteuid() == uid && (uid == 0 || setresuid(-1, 0, -1) != 0);
}

bool privileges_become(const char *user, const char *group, char *why, size_t size)
{
    errno = ENOENT;
    const struct passwd *pw = getpwnam(user);
    if (pw == NULL)
        return refuse(why, size, "there is no user", user);
    errno = ENOENT;
    const struct group *gr = group != NULL ? getgrnam(group) : NULL;
    if (group != NULL && gr == NULL)
        return refuse(why, size, "there is no group", group);
    gid_t gid = gr != NULL ? gr->gr_gid : pw->pw_gid;
    if (geteuid() == pw->pw_uid && getegid() == gid)
        return true;
    bool listens = has_capability(ONLY_LISTEN);
    for (unsigned long i = 0; i < CAPABILITIES; i++)
        if (i != CAP_NET_BIND_SERVICE) /* beyond the kernel's last there is none to drop */
            (void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    if (!set_groups(pw, gid, gr != NULL) || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0 ||
        !set_capabilities(listens && pw->pw_uid != 0 ? ONLY_LISTEN : 0))
        return refuse(why, size, "cannot become", user);
    if (!is_final(pw->pw_uid)) {
        errno = EPERM;
        return refuse(why, size, "did not wholly become", user);
    }
    return true;
}

void privileges_drop_thread(void)
{
    if (geteuid() != 0)
        (void)set_capabilities(0);
}
