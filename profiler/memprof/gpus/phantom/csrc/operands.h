/* Tensors that a kernel is given: what is known of them, and where their elements are. */
#ifndef MEMPROF_OPERANDS_H
#define MEMPROF_OPERANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "element.h"

enum { PHANTOM_SMALL_BYTES = 64 << 10, MOST_BYTES_OF_AN_ELEMENT = 16 };

/* Whether values of so many bytes are computed: 64 KiB, and 262,144 elements of integers and bools. These are often
 * positions and masks, which decide what a program does: transformers looks for packed sequences in the positions of
 * all tokens of a batch. */
bool phantom_is_small(element type, size_t bytes);

/* What is known of the range that a tensor covers. */
typedef struct {
    char *address;
    size_t bytes;
    char *values, *known;
} operand;

bool phantom_open_operand(operand *o, char *address, size_t bytes); /* false: it has no bytes, or no host memory */
void phantom_store_operand(const operand *o);
void phantom_close_operands(operand *operands, int count);
bool phantom_is_known(const operand *o, size_t at, size_t bytes);
void phantom_convert(element from, const char *at, element to, char *result);

/* OffsetCalculator: where element `i` of each operand is, in bytes from its start. */
enum { DIMENSIONS = 25 };

typedef struct {
    uint32_t count;
    struct {
        uint32_t size, multiplier, shift; /* IntDivider */
    } sizes[DIMENSIONS];
    uint32_t strides[]; /* for each dimension one of each operand */
} offsets;

size_t phantom_bytes_of_offsets(int operands);
size_t phantom_offset_of(const offsets *table, int operands, int operand, size_t i);
bool phantom_are_plausible(const offsets *table);
/* From the start to the end of what all elements cover. */
size_t phantom_covered_bytes(const offsets *table, int operands, int operand, size_t element_bytes);

#endif
