/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to what may be used. Owns nothing. Control thread. */
#include "proxy/runtime_sandbox.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/runtime_centre.h"
#include "proxy/discovery/kubernetes_access.h"
#include "proxy/net/tls_ctx.h"
#include "proxy/privileges.h"
#include "proxy/runtime.h"
#include "proxy/sandbox.h"

/* For names: what libc reads to look them up, and what it loads for that; and time zones. */
static const char *const folders[] = {
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/sys/devices/system/cpu",
};
static const char *const files[] = {
    "/etc/hosts",    "/etc/nsswitch.conf", "/etc/host.conf",   "/etc/gai.conf",
    "/etc/services", "/etc/localtime",     "/etc/ld.so.cache", "/etc/ssl/openssl.cnf",
    "/dev/null",     "/dev/urandom",       "/dev/stdout",      "/dev/stderr",
};

/* Whether it is in a folder of its own, as /run/systemd/resolve/resolv.conf is, where others keep
 * nothing: not /etc, nor what is right below a folder like /run. */
static bool stands_apart(const char *path)
{
    const char *second = strchr(path + 1, '/');
    return strncmp(path, "/etc/", 5) != 0 && second != NULL && strchr(second + 1, '/') != NULL;
}

/* Whoever changes the name servers makes another file. In /etc is nothing that is secret from all
 * users but root; root may read the one that is there, and others where a symlink leads. */
static void allow_resolver(struct sandbox *s)
{
    static const char path[] = "/etc/resolv.conf";
    char real[PATH_MAX];
    sandbox_allow(s, path, geteuid() == 0 ? SANDBOX_FILE : SANDBOX_READ);
    if (realpath(path, real) != NULL && stands_apart(real))
        sandbox_allow(s, real, SANDBOX_READ);
}

static void allow_system(struct sandbox *s)
{
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        sandbox_allow(s, folders[i], SANDBOX_READ);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        sandbox_allow(s, files[i], SANDBOX_FILE);
    sandbox_allow(s, tls_trust_system(), SANDBOX_READ);
    allow_resolver(s);
}

static void allow_socket(struct sandbox *s, const struct config_addr *addr)
{
    if (addr->kind == CONFIG_ADDR_UNIX)
        sandbox_allow(s, addr->path, SANDBOX_WRITE);
}

static void allow_written(struct sandbox *s, const char *path)
{
    if (path != NULL)
        sandbox_allow(s, path, strncmp(path, "/dev/", 5) == 0 ? SANDBOX_FILE : SANDBOX_WRITE);
}

static void allow_read(void *s, const char *path)
{
    sandbox_allow(s, path, SANDBOX_READ);
}

static void allow_configured(struct sandbox *s, const struct config *cfg)
{
    for (size_t i = 0; i < cfg->file_count; i++)
        if (strncmp(cfg->files[i].text, "/dev/", 5) != 0)
            sandbox_allow(s, cfg->files[i].text, SANDBOX_READ);
    for (size_t i = 0; i < cfg->listener_count; i++) {
        allow_socket(s, &cfg->listeners[i].bind);
        allow_written(s, cfg->listeners[i].tls.keylog.text);
    }
    for (size_t i = 0; i < cfg->pool_count; i++)
        if (cfg->pools[i].kubernetes.enabled)
            kube_access_files(&cfg->pools[i].kubernetes, allow_read, s);
    if (cfg->admin.enabled)
        allow_socket(s, &cfg->admin.listen);
    if (cfg->access_log.enabled)
        allow_written(s, cfg->access_log.path);
    allow_written(s, cfg->registry_state.text);
}

static bool become_user(const struct config *cfg, const char *file, struct config_errors *errs)
{
    char why[160];
    const struct config_user *user = &cfg->user;
    if (!user->enabled)
        return true;
    if (!privileges_become(user->name, user->group, why, sizeof(why))) {
        config_errors_add(errs, CONFIG_ERROR, user->pos, "user",
                          "%s; weir has to be started as root for that, or as this user", why);
        return false;
    }
    if (file != NULL && access(file, R_OK) != 0)
        log_warn("user \"%s\" cannot read %s, so that there will be no reload: %s", user->name,
                 file, strerror(errno));
    return true;
}

static void allow_origin(void *ctx, const char *path, bool write)
{
    sandbox_allow(ctx, path, write ? SANDBOX_WRITE : SANDBOX_READ);
}

bool runtime_sandbox(const struct config *cfg, const struct runtime_origin *from,
                     const char *ready_file, struct config_errors *errs)
{
    if (!become_user(cfg, from->file, errs))
        return false;
    if (!cfg->sandbox)
        return true;
    struct sandbox *s = sandbox_new();
    allow_system(s);
    allow_configured(s, cfg);
    if (from->file != NULL)
        sandbox_allow(s, from->file, SANDBOX_READ);
    if (from->centre != NULL)
        runtime_centre_files(from->centre, allow_origin, s);
    allow_written(s, ready_file);
    sandbox_enter(s);
    sandbox_free(s);
    return true;
}

/* What says so names its file, but not who refuses. */
void runtime_sandbox_hint(struct config_errors *errs, const char *file)
{
    struct config_pos top = {.file = file};
    bool refused = false;
    for (size_t i = 0; i < errs->count; i++)
        refused |= strstr(errs->items[i].message, strerror(EACCES)) != NULL;
    if (refused && sandbox_has_walls())
        config_errors_add(errs, CONFIG_WARNING, top, "sandbox",
                          "weir may read only in the folders that its configuration named when it "
                          "started; a binary upgrade (SIGUSR2) or a restart allows those of the "
                          "new one");
}
