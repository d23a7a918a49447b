/* NCCL's types of elements, and reductions of them.
 *
 * Ranks are added in their order, in float for half and bfloat16. NCCL's order depends on its algorithm, so the last
 * bit may differ.
 */
#include "nccl_types.h"

#include <stdint.h>
#include <string.h>

#include "element.h"

enum { SUM, PRODUCT, MAXIMUM, MINIMUM, AVERAGE, BUILT_IN_OPERATIONS }; /* ncclSum, ncclProd, ncclMax, ... */

/* ncclInt8, ncclUint8, ncclInt32, ncclUint32, ... in the order of nccl.h. */
static const struct {
    const char *name;
    element type; /* NO_ELEMENT: it is moved, and not reduced */
    size_t bytes;
} TYPES[] = {
    {"int8", INT8, 1},           {"uint8", UINT8, 1},         {"int32", INT32, 4},     {"uint32", NO_ELEMENT, 4},
    {"int64", INT64, 8},         {"uint64", NO_ELEMENT, 8},   {"float16", HALF, 2},    {"float32", FLOAT, 4},
    {"float64", DOUBLE, 8},      {"bfloat16", BFLOAT16, 2},   {"float8_e4m3", NO_ELEMENT, 1},
    {"float8_e5m2", NO_ELEMENT, 1},
};

enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

size_t phantom_nccl_bytes(int type) { return type >= 0 && type < TYPE_COUNT ? TYPES[type].bytes : 0; }

const char *phantom_nccl_type_name(int type) { return type >= 0 && type < TYPE_COUNT ? TYPES[type].name : "unknown"; }

/* ---- operations that multiply with a number first ---- */

enum { MOST_FACTORS = 64 };

static double factors[MOST_FACTORS];
static int factor_count;

int phantom_nccl_premultiplied(int type, const void *scalar) {
    element kind = type >= 0 && type < TYPE_COUNT ? TYPES[type].type : NO_ELEMENT;
    double factor = phantom_is_number(kind) ? phantom_as_real(phantom_load(kind, scalar)) : 1;
    for (int i = 0; i < factor_count; i++)
        if (factors[i] == factor) return BUILT_IN_OPERATIONS + i;
    if (factor_count == MOST_FACTORS) return BUILT_IN_OPERATIONS + MOST_FACTORS; /* its results are unknown */
    factors[factor_count] = factor;
    return BUILT_IN_OPERATIONS + factor_count++;
}

/* ---- reductions ---- */

static number combine_whole(int operation, number a, number b) {
    uint64_t x = (uint64_t)a.whole, y = (uint64_t)b.whole; /* overflow wraps around */
    switch (operation) {
    case PRODUCT: return (number){.whole = (int64_t)(x * y)};
    case MAXIMUM: return a.whole > b.whole ? a : b;
    case MINIMUM: return a.whole < b.whole ? a : b;
    default: return (number){.whole = (int64_t)(x + y)};
    }
}

static number combine_real(int operation, number a, number b) {
    double result = a.real + b.real;
    if (operation == PRODUCT) result = a.real * b.real;
    if (operation == MAXIMUM) result = a.real > b.real ? a.real : b.real;
    if (operation == MINIMUM) result = a.real < b.real ? a.real : b.real;
    return (number){.real = result, .is_real = true};
}

static number scale(element type, number value, double factor) {
    if (!value.is_real) return (number){.whole = (int64_t)((double)value.whole * factor)};
    char stored[sizeof(double)];
    phantom_store(type, stored, (number){.real = value.real * factor, .is_real = true});
    return phantom_load(type, stored);
}

static number combine(element type, int operation, number a, number b) {
    if (!a.is_real) return combine_whole(operation, a, b);
    char rounded[sizeof(double)];
    element operating = phantom_operating_type(type);
    phantom_store(operating, rounded, combine_real(operation, a, b));
    return phantom_load(operating, rounded);
}

static number average(number sum, int ranks) {
    if (!sum.is_real) return (number){.whole = sum.whole / ranks};
    return (number){.real = sum.real / ranks, .is_real = true};
}

static number reduce_one(element type, int operation, const phantom_part *parts, int ranks, size_t at) {
    double factor = operation >= BUILT_IN_OPERATIONS ? factors[operation - BUILT_IN_OPERATIONS] : 1;
    number result = scale(type, phantom_load(type, parts[0].values + at), factor);
    for (int rank = 1; rank < ranks; rank++) {
        number next = scale(type, phantom_load(type, parts[rank].values + at), factor);
        result = combine(type, operation, result, next);
    }
    return operation == AVERAGE ? average(result, ranks) : result;
}

static bool is_known(const phantom_part *parts, int ranks, size_t at, size_t bytes) {
    for (int rank = 0; rank < ranks; rank++)
        if (!parts[rank].values || memchr(parts[rank].known + at, 0, bytes)) return false;
    return true;
}

void phantom_reduce(int type, int operation, const phantom_part *parts, int ranks, size_t count, char *values,
                    char *known) {
    element kind = TYPES[type].type;
    size_t bytes = TYPES[type].bytes;
    memset(known, 0, count * bytes);
    if (!phantom_is_number(kind) || operation >= BUILT_IN_OPERATIONS + factor_count) return;
    for (size_t at = 0; at < count * bytes; at += bytes) {
        if (!is_known(parts, ranks, at, bytes)) continue;
        phantom_store(kind, values + at, reduce_one(kind, operation, parts, ranks, at));
        memset(known + at, 1, bytes);
    }
}
