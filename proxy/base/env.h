/* SPDX-License-Identifier: Apache-2.0 */
/* What the environment says. Control thread, as long as nobody changes it. */
#ifndef WEIR_BASE_ENV_H
#define WEIR_BASE_ENV_H

#include <stdint.h>

/* The decimal number that this variable is; 0: it is not set, or is none. */
uint64_t env_number(const char *name);

#endif
