/* SPDX-License-Identifier: Apache-2.0 */
/* `weir why`: asks the flight recorder of a weir that runs for one request. The only thread. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/base/span.h"
#include "proxy/verb.h"

#define WITHIN_MS 5000

/* The page of a request: whatever is no letter, digit or one of -._~ is percent-encoded. */
static char *page_of(const char *id, bool json)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    static const char format[] = "/requests/%s";
    size_t size = sizeof(format) + 3 * strlen(id) + sizeof("?as=text");
    char *page = mem_need(malloc(size)), *at = page + snprintf(page, size, format, "");
    for (; *id != '\0'; id++)
        at += snprintf(at, size - (size_t)(at - page), strchr(plain, *id) != NULL ? "%c" : "%%%02X",
                       (unsigned char)*id);
    snprintf(at, size - (size_t)(at - page), "%s", json ? "" : "?as=text");
    return page;
}

static int why(const struct verb *verb, struct verb_admin *admin, const char *id, bool json)
{
    struct admin_answer answer;
    char *page = page_of(id, json);
    bool there = verb_ask(verb, admin, "GET", page, WITHIN_MS, &answer);
    free(page);
    if (!there)
        return EXIT_NO;
    int status = answer.status == 200 ? 0 : EXIT_NO;
    fprintf(status == 0 ? stdout : stderr, "%s%s", answer.body, json && status == 0 ? "\n" : "");
    admin_answer_free(&answer);
    return status;
}

int verb_why(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {
        VERB_ADMIN_OPTIONS, {"json", no_argument, NULL, 'j'}, {0}};
    struct verb_admin admin = {0};
    bool json = false;
    int c;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'j')
            json = true;
        else if (!verb_admin_option(&admin, c, optarg))
            return verb_bad_option(verb, c, argv);
    }
    if (optind + 1 != argc || *argv[optind] == '\0')
        return verb_usage(verb, "which request? Its id is in weir's answer, as X-Request-Id");
    int status = why(verb, &admin, argv[optind], json);
    verb_admin_fini(&admin);
    return status;
}
