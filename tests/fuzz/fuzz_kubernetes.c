/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what an API server of Kubernetes writes: the first byte says in what pieces. Reading must
 * end within the bytes; what comes of the slices are endpoints each of which is there once, in no
 * more zones than the balancer bears.
 */
#include <stdlib.h>
#include <string.h>

#include "balancer/endpoint.h"
#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/discovery/kubernetes_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct kube_slices slices;
    struct kube_want want;
};

static bool on_event(void *ctx, const struct kube_event *event)
{
    struct fuzz *f = ctx;
    struct json_wrong wrong = {0};
    CHECK(event->version.len < KUBE_VERSION_MAX);
    CHECK((event->kind == KUBE_ERROR) == (event->version.len == 0));
    if (event->kind == KUBE_DELETE)
        kube_slices_drop(&f->slices, event->object, &wrong);
    else if (event->kind == KUBE_PUT)
        CHECK(kube_slices_put(&f->slices, &f->want, event->object, &wrong) ==
              (wrong.why[0] == '\0'));
    return event->kind != KUBE_ERROR;
}

static void check_endpoints(const struct fuzz *f)
{
    const char *note;
    struct config_endpoints *set = kube_slices_endpoints(&f->slices, &f->want, &note);
    bool all_drain = set->count > 0;
    CHECK((note != NULL) == (set->count == 0));
    for (size_t i = 0; i < set->count; i++) {
        const struct config_endpoint *e = &set->items[i];
        CHECK(e->address.port != 0 && e->weight == 1);
        CHECK(i == 0 || strcmp(e->address.text, set->items[i - 1].address.text) != 0);
        all_drain &= e->drain;
    }
    CHECK(!all_drain);
    config_endpoints_unref(set);
}

static void read_page(struct fuzz *f, struct span text)
{
    struct json_wrong wrong = {0};
    struct span version, more;
    struct json_t *root = json_read(text, wrong.why);
    if (root != NULL)
        kube_page_read(&f->slices, &f->want, root, &version, &more, &wrong);
    json_read_free(root);
}

static void read_stream(struct fuzz *f, struct span text, size_t piece)
{
    struct kube_stream stream = {0};
    struct json_wrong wrong = {0};
    while (text.len > 0) {
        size_t n = text.len < piece ? text.len : piece;
        if (!kube_stream_feed(&stream, span_of(text.ptr, n), on_event, f, &wrong))
            break;
        text = span_of(text.ptr + n, text.len - n);
    }
    kube_stream_fini(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {.want = {.port = NULL, .zone = "a"}};
    if (size == 0)
        return 0;
    size_t piece = data[0] & 0x3f;
    if (data[0] & 0x80)
        f.want.port = data[0] & 0x40 ? "http" : "80";
    char *copy = malloc(size); /* so that the sanitizer sees a read behind its end */
    memcpy(copy, data + 1, size - 1);
    if (piece == 0)
        read_page(&f, span_of(copy, size - 1));
    else
        read_stream(&f, span_of(copy, size - 1), piece * piece);
    check_endpoints(&f);
    kube_slices_fini(&f.slices);
    free(copy);
    return 0;
}
