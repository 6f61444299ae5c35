/* SPDX-License-Identifier: Apache-2.0 */
/* Flight records as JSON and as text for people. Pure; any thread. */
#ifndef WEIR_FLIGHT_VIEW_H
#define WEIR_FLIGHT_VIEW_H

#include "proxy/base/json.h"
#include "proxy/flight.h"

/* More than the text of a record takes. */
#define FLIGHT_TEXT_BYTES 16384

/* One line of a list: what happened, without the timeline. */
void flight_write_line(struct json *j, const struct flight *f, unsigned worker);

/* All of it. */
void flight_write(struct json *j, const struct flight *f, unsigned worker);

/* A timeline to be read in a terminal: nothing that a client sent can steer one. Returns its
 * length. */
size_t flight_print(const struct flight *f, unsigned worker, char *out, size_t size);

#endif
