/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing of knob values by kind. Never does I/O, never allocates; any thread.
 */
#include "backends/knobs.h"

const struct knob_row knob_rows[KNOB_COUNT] = {
#define KNOB_ROW(id, name, kind, type, member, min, max, arg, doc) \
    [KNOB_##id] = {name, kind, offsetof(struct knobs, member), sizeof(type), min, max, arg, doc},
    KNOBS(KNOB_ROW)
#undef KNOB_ROW
};

bool parse_number(struct span text, uint64_t *n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *n = v;
    return text.len > 0;
}

static const char *parse_flag(bool *flag, struct span value)
{
    if (value.len == 0 || span_eq(value, SPAN_LIT("1")))
        *flag = true;
    else if (span_eq(value, SPAN_LIT("0")))
        *flag = false;
    else
        return "expected 1, 0 or nothing";
    return NULL;
}

static const char *parse_cut(struct cut *cut, struct span value)
{
    uint64_t bytes = 0;
    if (span_eq_nocase(value, SPAN_LIT("before-head")))
        *cut = (struct cut){CUT_BEFORE_HEAD, 0};
    else if (span_eq_nocase(value, SPAN_LIT("in-head")))
        *cut = (struct cut){CUT_IN_HEAD, 0};
    else if (parse_number(value, &bytes))
        *cut = (struct cut){CUT_IN_BODY, bytes};
    else
        return "expected before-head, in-head or a number of body bytes";
    return NULL;
}

static const char *parse_text(struct knob_text *text, struct span value)
{
    if (value.len >= sizeof(text->text))
        return "at most 255 bytes";
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return "control bytes are not allowed";
    }
    if (value.len > 0 && !memchr(value.ptr, ':', value.len))
        return "expected `Name: value`";
    memcpy(text->text, value.ptr, value.len);
    text->text[value.len] = '\0';
    return NULL;
}

static const char *parse_interim(struct interim *info, struct span value)
{
    struct interim parsed = {.count = 0};
    struct span element;
    while (span_next_element(&value, &element)) {
        uint64_t status;
        if (!parse_number(element, &status) || status < 100 || status > 199 || status == 101)
            return "expected statuses of 100..199 but 101, split by commas";
        if (parsed.count == sizeof(parsed.status) / sizeof(parsed.status[0]))
            return "at most 4 statuses";
        parsed.status[parsed.count++] = (uint16_t)status;
    }
    *info = parsed;
    return NULL;
}

static const char *parse_value(const struct knob_row *row, void *at, struct span value)
{
    uint64_t number;
    switch (row->kind) {
    case KNOB_NUMBER:
        if (!parse_number(value, &number))
            return "expected a decimal number";
        if (number < row->min || number > row->max)
            return "number out of range";
        memcpy(at, &number, sizeof(number));
        return NULL;
    case KNOB_FLAG:
        return parse_flag(at, value);
    case KNOB_CUT:
        return parse_cut(at, value);
    case KNOB_TEXT:
        return parse_text(at, value);
    case KNOB_INTERIM:
        return parse_interim(at, value);
    }
    return "unknown kind of knob";
}

const char *knobs_set(struct knobs *k, struct span name, struct span value)
{
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const struct knob_row *row = &knob_rows[i];
        if (!span_eq_nocase(name, span_str(row->name)))
            continue;
        const char *why = parse_value(row, (char *)k + row->offset, value);
        if (!why)
            k->set |= UINT32_C(1) << i;
        return why;
    }
    return "no such knob, see --help";
}

void knobs_merge(struct knobs *k, const struct knobs *defaults)
{
    uint32_t missing = defaults->set & ~k->set;
    for (size_t i = 0; missing && i < KNOB_COUNT; i++) {
        const struct knob_row *row = &knob_rows[i];
        if (missing & UINT32_C(1) << i)
            memcpy((char *)k + row->offset, (const char *)defaults + row->offset, row->size);
    }
    k->set |= missing;
}
