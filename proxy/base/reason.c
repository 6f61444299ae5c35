/* SPDX-License-Identifier: Apache-2.0 */
/* The table of reasons. Constant data; any thread. */
#include "proxy/base/reason.h"

#include "proxy/base/check.h"

static const struct reason_row rows[REASON_COUNT] = {
#define X(id, name, side, status, retry, count, error, text) \
    [REASON_##id] = {name, error, text, status, SIDE_##side, RETRY_##retry, COUNT_##count},
    REASONS(X)
#undef X
};

const struct reason_row *reason_row(enum reason reason)
{
    CHECK((unsigned)reason < REASON_COUNT);
    return &rows[reason];
}
