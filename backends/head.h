/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing of response heads, and the ready-made answers. Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_HEAD_H
#define WEIR_BACKENDS_HEAD_H

#include "backends/conn.h"

/* Appends the final response's head, as c->resp says, to the output. */
void head_append(struct conn *c);

/* Appends the interim responses of the knob. */
void head_append_interim(struct conn *c, const struct interim *info);

/* Appends `Name: value` lines of a text where `|` splits them. */
void head_append_fields(struct output *out, const char *text);

/* Makes w->canned of the options and w->date. Returns false when out of memory. */
bool canned_init(struct worker *w);
void canned_fini(struct worker *w);

/* Puts the current second into w->date and w->canned. */
void canned_set_date(struct worker *w);

#endif
