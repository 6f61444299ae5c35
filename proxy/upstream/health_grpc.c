/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1, as bytes. Owns nothing; must never read beyond its span. Any thread. */
#include "proxy/upstream/health_grpc.h"

#include <stdint.h>
#include <string.h>

#include "proxy/base/check.h"

enum { PREFIX = 5, SERVING = 1 };
enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

size_t health_grpc_request(struct span service, char out[HEALTH_GRPC_REQUEST])
{
    CHECK(service.len <= HEALTH_GRPC_SERVICE);
    char *at = out + PREFIX;
    if (service.len > 0) {
        *at++ = 1 << 3 | WIRE_BYTES;
        if (service.len >= 128)
            *at++ = (char)((service.len & 127) | 128);
        *at++ = (char)(service.len >= 128 ? service.len >> 7 : service.len);
        memcpy(at, service.ptr, service.len);
        at += service.len;
    }
    size_t len = (size_t)(at - out) - PREFIX;
    memcpy(out, (const char[PREFIX]){0, 0, 0, (char)(len >> 8), (char)len}, PREFIX);
    return PREFIX + len;
}

/* What is left to be read of a message. */
struct reader {
    const uint8_t *at, *end;
};

static bool read_varint(struct reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

static bool skip(struct reader *r, uint64_t n)
{
    if (n > (uint64_t)(r->end - r->at))
        return false;
    r->at += n;
    return true;
}

/* The value of one field, whose number is of no interest; *value if it is a varint. */
static bool read_value(struct reader *r, unsigned wire, uint64_t *value)
{
    switch (wire) {
    case WIRE_VARINT:
        return read_varint(r, value);
    case WIRE_64:
        return skip(r, 8);
    case WIRE_32:
        return skip(r, 4);
    case WIRE_BYTES:
        return read_varint(r, value) && skip(r, *value);
    default:
        return false;
    }
}

bool health_grpc_serving(struct span response)
{
    const uint8_t *p = (const uint8_t *)response.ptr;
    struct reader r;
    uint64_t tag, value = 0, status = 0;
    if (response.len < PREFIX || p[0] != 0)
        return false;
    uint32_t len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    if (len != response.len - PREFIX)
        return false;
    for (r = (struct reader){p + PREFIX, p + response.len}; r.at < r.end;) {
        if (!read_varint(&r, &tag) || !read_value(&r, tag & 7, &value))
            return false;
        if (tag == (1 << 3 | WIRE_VARINT)) /* the last one counts */
            status = value;
    }
    return status == SERVING;
}
