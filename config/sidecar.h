/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's proxy from a few words: what comes in goes to the application, what the application asks
 * for by name goes out to services. Becomes a configuration like any other. Control thread.
 */
#ifndef WEIR_CONFIG_SIDECAR_H
#define WEIR_CONFIG_SIDECAR_H

#include "config/config.h"

#define CONFIG_SIDECAR_MAX 64 /* of each list */

/* Texts as given on the command line; they are read where they are used. */
struct config_sidecar {
    const char *apps[CONFIG_SIDECAR_MAX]; /* "[LISTEN=]ADDR"; at least one */
    size_t app_count;
    const char *services[CONFIG_SIDECAR_MAX]; /* "NAME=" and what sidecar_pool.h has */
    size_t service_count;
    const char *in;    /* where the first app without LISTEN is served; NULL: :8000 */
    const char *out;   /* where services are asked for; NULL: 127.0.0.1:8001 */
    const char *admin; /* NULL: 127.0.0.1:9900 */
};

/* The YAML that it stands for. */
void config_write_sidecar(FILE *out, const struct config_sidecar *sidecar);

/* As config_load_text of that; errors name the option that is wrong. */
int config_load_sidecar(const struct config_sidecar *sidecar, struct config **out,
                        struct config_errors *errs);

#endif
