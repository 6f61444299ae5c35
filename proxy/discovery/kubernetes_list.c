/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing. Owns the pages so far; must never hand on a part of a list, nor go on without end.
 * Control thread.
 */
#include "proxy/discovery/kubernetes_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define PAGE_SLICES 20   /* of up to 1000 endpoints, if a cluster is configured so */
#define MOST_PAGES  5000 /* of 20 endpoints, say: more than are used of any Service */
#define MOST_BYTES  ((size_t)256 << 20)

/* It is over: what came of it goes to who asked, who may begin another. */
static void over(struct kube_list *list, struct kube_listed *listed)
{
    kube_listed_fn *fn = list->fn;
    void *ctx = list->ctx;
    listed->slices = list->slices;
    list->slices = (struct kube_slices){0};
    free(TAKE(list->more));
    *list = (struct kube_list){0};
    fn(ctx, listed);
    kube_slices_fini(&listed->slices);
}

static void fail(struct kube_list *list, const char *why)
{
    over(list, &(struct kube_listed){.why = why});
}

/* ---- a page ---- */

/* One that always has another page is none. */
static bool will_end(struct kube_list *list, size_t bytes, bool more, struct json_wrong *wrong)
{
    list->pages++;
    list->bytes += bytes;
    if (!more || (list->pages < MOST_PAGES && list->bytes < MOST_BYTES))
        return true;
    snprintf(wrong->why, sizeof(wrong->why),
             "it has no end: after %u pages (%zu MiB) there is one more; see whether it is the API "
             "server that answers",
             list->pages, list->bytes >> 20);
    return false;
}

/* version: of the list, whose last page it is; "": there are more. */
static bool read_page(struct kube_list *list, struct span body, char version[KUBE_VERSION_MAX],
                      struct json_wrong *wrong)
{
    struct span of, more;
    char why[JSON_READ_WHY], at[FETCH_AUTHORITY];
    struct json_t *root = json_read(body, why);
    if (root == NULL)
        snprintf(wrong->why, sizeof(wrong->why), "%.100s; see what it is that answers at %.60s",
                 why, fetch_url_authority(&list->reach->access.url, at));
    bool ok = root != NULL && kube_page_read(&list->slices, list->want, root, &of, &more, wrong) &&
              will_end(list, body.len, more.len > 0, wrong);
    free(TAKE(list->more));
    if (ok && more.len > 0)
        list->more = mem_need(strdup(more.ptr));
    if (ok)
        snprintf(version, KUBE_VERSION_MAX, "%s", more.len == 0 ? of.ptr : "");
    json_read_free(root);
    return ok;
}

static bool ask(struct kube_list *list, char why[KUBE_WHY]);

static void go_on(struct kube_list *list, const struct fetch_answer *answer)
{
    char why[KUBE_WHY], version[KUBE_VERSION_MAX];
    struct json_wrong wrong = {0};
    if (!read_page(list, answer->body, version, &wrong)) {
        snprintf(why, sizeof(why), "the API server's list of EndpointSlices: %s", wrong.why);
        over(list, &(struct kube_listed){.why = why, .malformed = true});
    } else if (version[0] != '\0') {
        over(list, &(struct kube_listed){.status = 200, .version = version});
    } else if (!ask(list, why)) {
        fail(list, why);
    }
}

static void on_page(void *ctx, const struct fetch_answer *answer)
{
    struct kube_list *list = ctx;
    list->fetch = NULL;
    if (answer->why != NULL)
        fail(list, answer->why);
    else if (answer->head.status == 200)
        go_on(list, answer);
    else
        over(list, &(struct kube_listed){.status = answer->head.status,
                                         .body = answer->body,
                                         .retry_after_ms = answer->head.retry_after_ms});
}

/* The first page, or the next. */
static bool ask(struct kube_list *list, char why[KUBE_WHY])
{
    struct kube_ask page;
    char limit[32];
    bool next = list->more != NULL;
    snprintf(limit, sizeof(limit), "&limit=%d%s", PAGE_SLICES, next ? "&continue=" : "");
    if (!kube_ask_make(&page, list->reach, "", limit, next ? list->more : "", why))
        return false;
    page.request.total_ms = KUBE_PAGE_MS;
    list->fetch = fetch_whole(list->reach->client, &page.request, KUBE_PAGE_BYTES, on_page, list);
    kube_ask_free(&page);
    return true;
}

/* ---- life ---- */

bool kube_list_begin(struct kube_list *list, const struct kube_reach *reach,
                     const struct kube_want *want, kube_listed_fn *fn, void *ctx,
                     char why[KUBE_WHY])
{
    CHECK(!kube_list_runs(list));
    *list = (struct kube_list){.reach = reach, .want = want, .fn = fn, .ctx = ctx};
    return ask(list, why);
}

void kube_list_end(struct kube_list *list)
{
    fetch_cancel(list->fetch);
    kube_slices_fini(&list->slices);
    free(list->more);
    *list = (struct kube_list){0};
}
