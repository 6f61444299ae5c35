/* SPDX-License-Identifier: Apache-2.0 */
/* Words about configurations. Owns nothing; must never change what it tells of. Control thread. */
#include "proxy/runtime_tell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/json.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/net/listen.h"
#include "proxy/snapshot.h"
#include "proxy/watch/file_put.h"

void runtime_log_listener(const struct runtime *rt, size_t i)
{
    char text[NET_ADDR_TEXT];
    net_addr_print(&rt->snap->listeners[i]->addr, text);
    log_info("listener %s on %s%s", rt->snap->listeners[i]->name, text,
             rt->snap->tls[i] != NULL ? " (TLS)" : "");
}

void runtime_log_summary(const struct runtime *rt)
{
    char text[NET_ADDR_TEXT];
    log_info("weir " WEIR_VERSION " serves %s", rt->cfg->pos.file);
    for (size_t i = 0; i < rt->snap->n_listeners; i++)
        runtime_log_listener(rt, i);
    for (size_t i = 0; i < rt->snap->n_pools; i++)
        log_info("pool %s: %u endpoint%s, %s", rt->snap->pools[i]->name,
                 rt->snap->pools[i]->n_endpoints, rt->snap->pools[i]->n_endpoints == 1 ? "" : "s",
                 rt->snap->pools[i]->balance->policy->name);
    if (rt->admin_socket >= 0) {
        struct net_addr addr;
        listen_bound(rt->admin_socket, &addr);
        net_addr_print(&addr, text);
        log_info("admin on http%s://%s", rt->admin_tls != NULL ? "s" : "", text);
    }
    log_info("%u worker%s (%s)", rt->n_workers, rt->n_workers == 1 ? "" : "s", rt->why);
}

bool runtime_write_ready_file(const struct runtime *rt)
{
    size_t size = 256 + (rt->snap->n_listeners + 1) * 512;
    char *buf = mem_need(malloc(size)), text[NET_ADDR_TEXT];
    struct json j;
    json_init(&j, buf, size);
    json_object_begin(&j);
    json_key(&j, "pid");
    json_u64(&j, (uint64_t)getpid());
    if (rt->admin_socket >= 0) {
        struct net_addr addr;
        listen_bound(rt->admin_socket, &addr);
        json_key(&j, "admin");
        json_string(&j, net_addr_print(&addr, text));
    }
    json_key(&j, "listeners");
    json_object_begin(&j);
    for (size_t i = 0; i < rt->snap->n_listeners; i++) {
        json_key(&j, rt->snap->listeners[i]->name);
        json_string(&j, net_addr_print(&rt->snap->listeners[i]->addr, text));
    }
    json_object_end(&j);
    json_object_end(&j);
    int error = file_put(rt->ready_file, json_text(&j), 0666, false);
    if (error != 0)
        log_error("cannot write --ready-file %s: %s", rt->ready_file, file_put_why(error));
    free(buf);
    return error == 0;
}

char *runtime_tell_errors(const struct config_errors *errs)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = mem_need(open_memstream(&text, &len));
    config_errors_print(errs, out);
    mem_need(fclose(out) == 0 ? text : NULL);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        log_write(errs->errors > 0 ? LOG_ERROR : LOG_WARN, "reload: %.*s", (int)(end - line), line);
    return text;
}
