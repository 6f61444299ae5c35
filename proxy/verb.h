/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs of the command line: what they are, and what those have in common that ask a weir which
 * runs. The only thread.
 */
#ifndef WEIR_VERB_H
#define WEIR_VERB_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proxy/admin_client.h"

enum { EXIT_NO = 1, EXIT_USAGE = 2 };

struct verb {
    const char *name;
    const char *args;
    const char *summary;
    const char *detail;
    /* The exit code; argv begins with the verb. */
    int (*run)(const struct verb *verb, int argc, char **argv);
};

/* Says what is wrong with the command line, and what would be right. EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int verb_usage(const struct verb *verb, const char *format,
                                                     ...);

/* For what getopt_long returned when it is no option: '?' or ':'. EXIT_USAGE. */
int verb_bad_option(const struct verb *verb, int c, char **argv);

/* ---- asking a weir that runs ---- */

/* Which one: --admin ADDRESS, or -c FILE for the one that serves FILE. */
struct verb_admin {
    const char *address, *file; /* NULL: not given */
    /* In FILE: where it listens, what it wants to be shown, a file that its certificate is in. */
    char *found, *token, *ca;
    bool tls;
    char *at; /* who was asked last, without what makes a URL of it */
    bool https;
};

/* Two of the rows for getopt_long, of which the short options are "c:". */
#define VERB_ADMIN_OPTIONS                     \
    {"admin", required_argument, NULL, 'A'},   \
    {                                          \
        "config", required_argument, NULL, 'c' \
    }
/* The same in the usage, which has to be short, and in the detail of a verb. */
#define VERB_ADMIN_ARG  "[--admin ADDR]"
#define VERB_ADMIN_ARGS "[--admin ADDR | -c FILE]"
#define VERB_ADMIN_HELP                                                                            \
    "It asks the admin listener at --admin ADDR (host:port, :port, unix:/path or a URL), or the "  \
    "one\n"                                                                                        \
    "that the file of -c FILE has; else that at $WEIR_ADMIN, else at 127.0.0.1:9900. If it wants " \
    "a\n"                                                                                          \
    "token, $WEIR_ADMIN_TOKEN is shown, or what is in the token_file of that file. https://ADDR "  \
    "has\n"                                                                                        \
    "TLS: $WEIR_ADMIN_CA is a file of whom to trust, $WEIR_ADMIN_CERT one with a certificate to "  \
    "show,\n"                                                                                      \
    "and its key, unless that is in $WEIR_ADMIN_KEY.\n"

/* Takes an option of those; false: it is another one. */
bool verb_admin_option(struct verb_admin *a, int c, const char *value);

/* admin_ask of that listener. False: there is no answer, and stderr says why. May be called again.
 */
bool verb_ask(const struct verb *verb, struct verb_admin *a, const char *method, const char *path,
              uint64_t within_ms, struct admin_answer *answer);

/* The same with a body. */
bool verb_send(const struct verb *verb, struct verb_admin *a, const char *method, const char *path,
               struct span body, uint64_t within_ms, struct admin_answer *answer);

/* Writes a parameter of a query, "&name=value", encoded; nothing for NULL. */
void verb_parameter(FILE *out, const char *name, const char *value);

void verb_admin_fini(struct verb_admin *a);

/* Milliseconds from "5s", "500ms", "1m". False: it is none of these, or more than a day. */
bool verb_duration(const char *text, uint64_t *ms);

/* ---- verbs that are not of main.c ---- */

int verb_explain(const struct verb *verb, int argc, char **argv);
int verb_top(const struct verb *verb, int argc, char **argv);
int verb_probe(const struct verb *verb, int argc, char **argv);
int verb_drain(const struct verb *verb, int argc, char **argv);
int verb_why(const struct verb *verb, int argc, char **argv);
int verb_reload(const struct verb *verb, int argc, char **argv);
int verb_plan(const struct verb *verb, int argc, char **argv);

#endif
