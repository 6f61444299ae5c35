/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS of a configuration: reads the files that it names, and says what is wrong with them.
 * Control thread. */
#ifndef WEIR_RUNTIME_TLS_H
#define WEIR_RUNTIME_TLS_H

#include <stdbool.h>

#include "proxy/snapshot.h"

struct config;
struct config_errors;
struct config_listener;
struct config_pool;

/* Makes what the listener's TLS comes from, if it has any, and reads its files; *to is NULL before,
 * and the caller's to free. False: added to errs, with the position of the file's name. keylog:
 * whether to open the key log too. */
bool runtime_listener_tls(const struct config_listener *from, struct tls_source **to, bool keylog,
                          struct config_errors *errs);

/* The same for the admin listener. */
bool runtime_admin_tls(const struct config *cfg, struct tls_source **to,
                       struct config_errors *errs);

/* The same for a pool; fills in its spec's protocol, PROXY header and TLS with its source. known:
 * what has been read of the same configuration; NULL: nothing. */
bool runtime_pool_tls(const struct config_pool *from, struct pool_spec *to,
                      struct tls_source *known, struct config_errors *errs);

/* Reads every file that the configuration names for TLS, and forgets it again: what `weir check`
 * adds to the checks of the configuration itself. False: added to errs. */
bool runtime_check(const struct config *cfg, struct config_errors *errs);

#endif
