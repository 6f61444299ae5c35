/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is built into the program as it stands in the tree: the dashboard (dashboard/index.html) and
 * the description of the admin's pages (docs/openapi.json). And the policy that the dashboard is
 * served with: the browser runs this script and applies this style, and no other. Any thread.
 */
#ifndef WEIR_ADMIN_ASSETS_H
#define WEIR_ADMIN_ASSETS_H

#include "proxy/base/span.h"

#define ADMIN_POLICY 512 /* the longest, NUL included */

struct span admin_dashboard(void);
struct span admin_openapi(void);

/* The value of Content-Security-Policy for a page with one <script> and one <style>, both without
 * attributes. Returns what is in out. */
struct span admin_policy(struct span page, char out[ADMIN_POLICY]);

#endif
