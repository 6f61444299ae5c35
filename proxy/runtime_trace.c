/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to traces. Owns nothing. Control thread. */
#include "proxy/runtime_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/mem.h"
#include "proxy/trace/target.h"

#define KEY "tracing.export"

static char *copy(const char *text)
{
    return text != NULL ? mem_need(strdup(text)) : NULL;
}

/* Opened: the sandbox may have something against it that access(2) knows nothing of. */
static bool can_read(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool check_target(const struct config_trace_export *from, struct fetch_url *url,
                         struct config_errors *errs)
{
    const char *why;
    if (!fetch_url_parse(url, from->url, &why)) {
        config_errors_add(errs, CONFIG_ERROR, from->pos, KEY, "\"%s\" %s", from->url, why);
        return false;
    }
    if (from->ca.text != NULL && !can_read(from->ca.text)) {
        config_errors_add(errs, CONFIG_ERROR, from->ca.pos, KEY ".ca", "cannot read %s: %s",
                          from->ca.text, strerror(errno));
        return false;
    }
    return true;
}

static struct trace_target *make_target(const struct config_tracing *cfg,
                                        const struct fetch_url *url)
{
    const struct config_trace_export *from = &cfg->export;
    struct trace_target *to = trace_target_new(from->header_count + 1);
    to->url = *url;
    to->text = copy(from->url);
    to->ca = copy(from->ca.text);
    to->service = copy(cfg->service);
    to->batch = from->batch;
    to->every_ms = from->every_ms;
    to->timeout_ms = (uint32_t)from->timeout_ms;
    to->fields[0] =
        (struct fetch_field){span_str(copy("Content-Type")), span_str(copy("application/json"))};
    for (size_t i = 0; i < from->header_count; i++)
        to->fields[i + 1] = (struct fetch_field){span_str(copy(from->headers[i].name)),
                                                 span_str(copy(from->headers[i].value))};
    return to;
}

bool runtime_trace(const struct config *cfg, struct snapshot *snap, struct config_errors *errs)
{
    const struct config_tracing *from = &cfg->tracing;
    struct fetch_url url;
    snap->traces = from->enabled;
    snap->sampler =
        (struct trace_sampler){trace_below(from->sample), from->parent == CONFIG_TRACE_IGNORE};
    if (!from->export.enabled)
        return true;
    if (!check_target(&from->export, &url, errs))
        return false;
    snap->traces_to = make_target(from, &url);
    return true;
}
