/* Tensors that a kernel is given, and OffsetCalculator, as OffsetCalculator.cuh in aten/src/ATen has it. */
#include "operands.h"

#include <stdlib.h>
#include <string.h>

#include "element.h"
#include "values.h"

bool phantom_is_small(element type, size_t bytes) {
    enum { MOST_INTEGERS = 256 << 10 };
    bool whole = type <= INT64 || type == BOOL || type == OPAQUE8; /* torch.cat moves int64 as OPAQUE8 */
    return bytes <= (whole ? MOST_INTEGERS * phantom_element_bytes(type) : PHANTOM_SMALL_BYTES);
}

bool phantom_open_operand(operand *o, char *address, size_t bytes) {
    *o = (operand){.address = address, .bytes = bytes};
    if (!bytes) return false;
    o->values = malloc(2 * bytes);
    if (!o->values) return false;
    o->known = o->values + bytes;
    phantom_recall_known(o->values, o->known, address, bytes);
    return true;
}

void phantom_store_operand(const operand *o) {
    phantom_keep_known(o->address, o->values, o->known, o->bytes);
}

void phantom_close_operands(operand *operands, int count) {
    for (int i = 0; i < count; i++) free(operands[i].values);
}

bool phantom_is_known(const operand *o, size_t at, size_t bytes) { return !memchr(o->known + at, 0, bytes); }

void phantom_convert(element from, const char *at, element to, char *result) {
    if (from == to) memcpy(result, at, phantom_element_bytes(to));
    else phantom_store(to, result, phantom_load(from, at));
}

size_t phantom_bytes_of_offsets(int operands) {
    return sizeof(offsets) + sizeof(uint32_t) * DIMENSIONS * (size_t)(operands > 1 ? operands : 1);
}

size_t phantom_offset_of(const offsets *table, int operands, int operand, size_t i) {
    size_t offset = 0;
    for (uint32_t d = 0; d < table->count && d < DIMENSIONS; d++) {
        offset += i % table->sizes[d].size * table->strides[d * (uint32_t)operands + (uint32_t)operand];
        i /= table->sizes[d].size;
    }
    return offset;
}

bool phantom_are_plausible(const offsets *table) {
    if (table->count > DIMENSIONS) return false;
    for (uint32_t d = 0; d < table->count; d++)
        if (!table->sizes[d].size) return false;
    return true;
}

size_t phantom_covered_bytes(const offsets *table, int operands, int operand, size_t element_bytes) {
    size_t bytes = element_bytes;
    for (uint32_t d = 0; d < table->count; d++)
        bytes += (size_t)(table->sizes[d].size - 1) * table->strides[d * (uint32_t)operands + (uint32_t)operand];
    return bytes;
}
