/* SPDX-License-Identifier: Apache-2.0 */
/* The retry rule. Pure; any thread. */
#include "proxy/retry.h"

enum retry_verdict retry_verdict(const struct retry_facts *f)
{
    enum retry_class class = (enum retry_class)reason_row(f->reason)->retry;
    if (f->committed || !f->replayable || class == RETRY_NEVER)
        return RETRY_NO;
    if (class == RETRY_AGAIN)
        return RETRY_SAME;
    if (class != RETRY_UNSENT && !f->idempotent)
        return RETRY_NO;
    /* A conn that had served before and now died without a word was closed while it was idle. */
    if (f->reused && !f->answered && class != RETRY_ELSEWHERE)
        return RETRY_SAME;
    return f->attempts_left > 0 ? RETRY_OTHER : RETRY_NO;
}

const char *retry_verdict_name(enum retry_verdict verdict)
{
    static const char *const names[] = {"no retry", "again on a fresh connection",
                                        "again at another endpoint"};
    return names[verdict];
}
