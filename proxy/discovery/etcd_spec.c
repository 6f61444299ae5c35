/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of what is said of etcd. Owns their memory; reads no file but the password's. Control
 * thread. */
#include "proxy/discovery/etcd_spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/etcd_message.h"
#include "proxy/net/addr.h"

#define MANY_BYTES  ((size_t)8 << 20)
#define ALONE_BYTES (CONFIG_MAX_BYTES / 3 * 4 + 65536) /* in base64, and what is around it */

static char *copy(const char *text)
{
    return text != NULL ? mem_need(strdup(text)) : NULL;
}

static void set_server(struct fetch_url *to, const struct config_addr *from, bool tls)
{
    struct net_addr addr;
    CHECK(from->host != NULL && strlen(from->host) < sizeof(to->host));
    *to = (struct fetch_url){.tls = tls, .port = from->port};
    to->ip = net_addr_ip(&addr, from->host, from->port);
    for (size_t i = 0; from->host[i] != '\0'; i++)
        to->host[i] = ascii_lower(from->host[i]);
}

struct etcd_spec *etcd_spec_new(const struct config_etcd *from, bool alone)
{
    struct etcd_spec *spec = mem_need(calloc(1, sizeof(*spec)));
    const struct config_tls_client *tls = &from->tls;
    CHECK(from->server_count <= CONFIG_ETCD_SERVERS_MAX);
    spec->n_servers = from->server_count;
    for (size_t i = 0; i < from->server_count; i++)
        set_server(&spec->servers[i], &from->servers[i], tls->enabled);
    spec->key = copy(from->prefix);
    if (!alone)
        spec->end = etcd_range_end(span_str(spec->key), &spec->end_len);
    spec->tls = tls->enabled;
    if (tls->enabled)
        spec->secure = (struct fetch_tls){
            .ca_file = copy(tls->ca.text),
            .cert_file = copy(tls->cert.text),
            .key_file = copy(tls->key.text),
            .server_name = copy(tls->sni),
            .no_verify = !tls->verify,
        };
    spec->user = copy(from->user);
    spec->password_file = copy(from->password_file.text);
    spec->silence_ms = (uint32_t)from->silence_ms;
    spec->max_bytes = alone ? ALONE_BYTES : MANY_BYTES;
    return spec;
}

static void drop(const char *text)
{
    free((char *)(uintptr_t)text);
}

void etcd_spec_free(struct etcd_spec *spec)
{
    if (spec == NULL)
        return;
    drop(spec->secure.ca_file);
    drop(spec->secure.cert_file);
    drop(spec->secure.key_file);
    drop(spec->secure.server_name);
    free(spec->key);
    free(spec->end);
    free(spec->user);
    free(spec->password_file);
    free(spec);
}

bool etcd_spec_password(const struct etcd_spec *spec, char text[ETCD_PASSWORD_MAX], size_t *len,
                        char why[256])
{
    FILE *in = fopen(spec->password_file, "re");
    *len = in != NULL ? fread(text, 1, ETCD_PASSWORD_MAX, in) : 0;
    int error = in == NULL || ferror(in) ? errno : 0;
    if (in != NULL)
        fclose(in);
    while (*len > 0 && (text[*len - 1] == '\n' || text[*len - 1] == '\r'))
        --*len;
    bool ok = error == 0 && *len > 0 && *len < ETCD_PASSWORD_MAX;
    if (!ok)
        snprintf(why, 256, "the password in %.150s: %s", spec->password_file,
                 error != 0  ? strerror(error)
                 : *len == 0 ? "the file is empty"
                             : "it is longer than passwords are");
    return ok;
}
