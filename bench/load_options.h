/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line says. */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum load_mode { LOAD_OPEN, LOAD_CLOSED, LOAD_IDLE, LOAD_SLOW, LOAD_WEBSOCKET };
enum slow_kind { SLOW_HEAD, SLOW_BODY, SLOW_READ };

enum { MAX_FIELDS = 32, MAX_MIX = 8, MAX_MIX_TOTAL = 1000, METHOD_MAX = 15 };

struct mix_part {
    char method[METHOD_MAX + 1]; /* as sent */
    unsigned weight;
};

struct load_options {
    enum load_mode mode;
    const char *to;
    unsigned connections;
    double rate; /* requests a second, over all conns */
    uint64_t measured_ns, warmup_ns, drain_ns, timeout_ns, interval_ns;
    const char *path;
    unsigned paths; /* "{}" in the path becomes 0, 1, ... paths-1, in turns */
    struct mix_part mix[MAX_MIX];
    unsigned mix_len;
    uint64_t body; /* bytes, of POST, PUT and PATCH */
    bool close;    /* a new conn for each request */
    bool tls;      /* open, closed and idle */
    const char *fields[MAX_FIELDS];
    unsigned fields_len;
    enum slow_kind kind;
    bool once;        /* slow: a conn that ended is not opened again */
    uint64_t size;    /* bytes of a WebSocket message */
    const char *name; /* of the mode */
};

/* Ends the program with 2 and a line on stderr if the command line is wrong, with 0 after --help.
 */
void options_parse(struct load_options *o, int argc, char **argv);

#endif
