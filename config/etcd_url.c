/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of keys of etcd. Owns their texts, which it cuts in place. Any thread. */
#include "config/etcd_url.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/span.h"

#define PLAIN      "etcd://"
#define SECURE     "etcds://"
#define SILENCE_MS 30000
#define HOST_MAX   253

bool etcd_url_is(const char *text)
{
    struct span s = span_str(text);
    return span_starts(s, SPAN_LIT(PLAIN)) || span_starts(s, SPAN_LIT(SECURE));
}

/* Cuts at the first of these; what is behind it, or NULL. */
static char *cut(char *text, char at)
{
    char *end = strchr(text, at);
    if (end == NULL)
        return NULL;
    *end = '\0';
    return end + 1;
}

static bool read_port(const char *text, uint16_t *port)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    *port = (uint16_t)n;
    return text[0] >= '1' && text[0] <= '9' && *end == '\0' && n <= 65535;
}

/* The brackets of IPv6 go. */
static bool read_server(struct config_addr *to, char *text)
{
    char *port = NULL;
    *to = (struct config_addr){.text = text, .kind = CONFIG_ADDR_TCP, .host = text};
    if (text[0] == '[') {
        to->host = text + 1;
        port = cut(text, ']');
        if (port == NULL || (*port != ':' && *port != '\0'))
            return false;
        port = *port == ':' ? port + 1 : NULL;
    } else {
        port = cut(text, ':');
    }
    to->port = ETCD_PORT;
    size_t len = strlen(to->host);
    return len > 0 && len <= HOST_MAX && (port == NULL || read_port(port, &to->port));
}

static bool read_servers(struct etcd_url *url, char *text)
{
    struct config_etcd *etcd = &url->etcd;
    etcd->servers = url->servers;
    for (char *next; text != NULL; text = next) {
        next = cut(text, ',');
        if (etcd->server_count == CONFIG_ETCD_SERVERS_MAX ||
            !read_server(&url->servers[etcd->server_count++], text))
            return false;
    }
    return true;
}

static const char **option_of(struct config_etcd *etcd, const char *name)
{
    const struct {
        const char *name;
        const char **to;
        bool tls;
    } options[] = {
        {"ca", &etcd->tls.ca.text, true},   {"cert", &etcd->tls.cert.text, true},
        {"key", &etcd->tls.key.text, true}, {"sni", &etcd->tls.sni, true},
        {"user", &etcd->user, false},       {"password_file", &etcd->password_file.text, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strcmp(options[i].name, name) == 0 && (etcd->tls.enabled || !options[i].tls))
            return options[i].to;
    return NULL;
}

static const char *read_options(struct config_etcd *etcd, char *text)
{
    for (char *next; text != NULL; text = next) {
        next = cut(text, '&');
        char *value = cut(text, '=');
        const char **to = option_of(etcd, text);
        if (to == NULL)
            return "behind '?' there may be user and password_file, and with etcds:// ca, cert, "
                   "key "
                   "and sni";
        if (value == NULL || *value == '\0' || *to != NULL)
            return "behind '?' each name has one value: ?user=weir&password_file=/etc/weir/etcd";
        *to = value;
    }
    if ((etcd->user == NULL) != (etcd->password_file.text == NULL))
        return "user and password_file belong together";
    if ((etcd->tls.cert.text == NULL) != (etcd->tls.key.text == NULL))
        return "cert and key belong together";
    return NULL;
}

/* The key keeps its slash, so it is moved away from the servers by one. */
static const char *parse(struct etcd_url *url, const char *text)
{
    struct config_etcd *etcd = &url->etcd;
    CHECK(text != NULL);
    etcd->tls.enabled = etcd->tls.verify = span_starts(span_str(text), SPAN_LIT(SECURE));
    text += etcd->tls.enabled ? strlen(SECURE) : strlen(PLAIN);
    const char *slash = strchr(text, '/');
    if (slash == NULL)
        return "the key is missing: etcd://127.0.0.1:2379/weir/weir.yaml names /weir/weir.yaml";
    size_t n = (size_t)(slash - text);
    url->text = mem_need(calloc(1, strlen(text) + 2));
    memcpy(url->text, text, n);
    char *key = memcpy(url->text + n + 1, slash, strlen(slash) + 1);
    char *options = cut(key, '?');
    etcd->prefix = key;
    if (strlen(key) < 2 || strlen(key) > CONFIG_ETCD_KEY_MAX)
        return "a key has 1 to 1023 bytes behind its slash";
    if (!read_servers(url, url->text))
        return "its servers are 1 to 16 of host, host:port or [IPv6]:port, with commas in between";
    return options != NULL ? read_options(etcd, options) : NULL;
}

bool etcd_url_parse(struct etcd_url *url, const char *text, const char **why)
{
    *url = (struct etcd_url){.etcd = {.enabled = true, .silence_ms = SILENCE_MS}};
    url->name = mem_need(strdup(text));
    cut(url->name, '?');
    *why = etcd_url_is(text) ? parse(url, text) : "it begins with etcd:// or etcds://";
    return *why == NULL;
}

void etcd_url_fini(struct etcd_url *url)
{
    free(TAKE(url->name));
    free(TAKE(url->text));
}
