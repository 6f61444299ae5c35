/* SPDX-License-Identifier: Apache-2.0 */
/* The modes. Each runs to its end and prints its result. */
#ifndef BENCH_LOAD_MODES_H
#define BENCH_LOAD_MODES_H

#include "bench/load_options.h"

void mode_open(const struct load_options *o);
void mode_closed(const struct load_options *o);
void mode_idle(const struct load_options *o);
void mode_idle_tls(const struct load_options *o);
void mode_slow(const struct load_options *o);
void mode_websocket(const struct load_options *o);

#endif
