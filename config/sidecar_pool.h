/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a sidecar's pool has its endpoints, as one word of a command line:
 *
 *   ADDR[,ADDR]...                         those; a name among several is looked up once
 *   NAME:PORT                              one name: the addresses that DNS has for it
 *   _SERVICE._PROTO.NAME                   the SRV records of that
 *   kubernetes://[NAMESPACE/]SERVICE[:PORT]
 *   etcd://HOST[:PORT][,...]/PREFIX/       as etcd_url.h has it
 *   file:PATH                              a file of endpoints
 *
 * dns:// and file:// may stand before what else is one. Pure; any thread.
 */
#ifndef WEIR_CONFIG_SIDECAR_POOL_H
#define WEIR_CONFIG_SIDECAR_POOL_H

#include <stdio.h>

#include "proxy/base/span.h"

#define SIDECAR_TEXT 1024 /* a word of the command line, NUL included */

/* NULL, or why the text is none of them: what should stand there. The rest is the schema's to
 * find. */
const char *sidecar_pool_flaw(const char *text);

/* The pool's value in YAML, on one line, without its end. */
void sidecar_pool_write(FILE *out, const char *text);

/* Addresses alone. */
void sidecar_pool_write_list(FILE *out, const char *text);

/* A part of a text as a scalar. */
void sidecar_emit(FILE *out, struct span text);

#endif
