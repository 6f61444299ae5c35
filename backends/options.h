/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of hello and world. Strings point into argv. Main thread, before any worker
 * runs; read-only afterwards.
 */
#ifndef WEIR_BACKENDS_OPTIONS_H
#define WEIR_BACKENDS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/knobs.h"
#include "backends/register.h"

/* What happens to a conn as soon as it was accepted. */
enum on_accept { ON_ACCEPT_SERVE, ON_ACCEPT_STALL, ON_ACCEPT_CLOSE, ON_ACCEPT_RESET };

struct options {
    const char *program;    /* "hello" or "world" */
    const char *listen;     /* as given, e.g. ":8080" */
    const char *body;       /* the text of the usual answer */
    const char *name;       /* NULL, or the value of X-Backend */
    const char *ready_file; /* NULL, or where to write the JSON object */
    const char *ledger;     /* NULL, or the file that every request is written to */
    const char *tls_cert;   /* NULL: no TLS */
    const char *tls_key;    /* NULL: in tls_cert */
    bool no_h2;             /* HTTP/1 only */
    bool print_port;
    uint32_t workers;     /* 1..256 */
    uint32_t linger;      /* seconds after SIGTERM; 0: none */
    uint32_t fault_every; /* the flags' knobs hold for every so-manieth request, from 1 */
    struct register_options registering;
    enum on_accept accept;
    struct knobs faults;  /* from flags */
    char listen_text[16]; /* what listen points at after --port */
    char token[260];      /* of --register-token-file; registering.token points at it */
};

enum options_result { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };

/*
 * Fills o. OPTIONS_DONE: --help or --version was printed, exit 0. OPTIONS_BAD: what is wrong was
 * printed to stderr, exit 2.
 */
enum options_result options_parse(struct options *o, int argc, char **argv, const char *program,
                                  unsigned port);

#endif
