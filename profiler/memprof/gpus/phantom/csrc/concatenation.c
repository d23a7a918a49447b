/* Concatenation of small tensors, with the parameters of Shape.cu in aten/src/ATen: (output, inputs, sizes and strides
 * of the output, dimension, stride of the dimension). Numbers are of 32 bits for small tensors.
 *
 * CatArrInputTensorMetadata<type, index, batch, strides> has five arrays of `batch` numbers, and then the sizes and
 * strides of each input, or of the first only: pointers, places in the dimension, sizes of the dimension, counts of
 * elements, and whether each is contiguous.
 */
#include "concatenation.h"

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "element.h"
#include "operands.h"
#include "values.h"

enum { DIMENSIONS_OF_CAT = 4 };

typedef struct { /* TensorSizeStride */
    uint32_t sizes[DIMENSIONS_OF_CAT], strides[DIMENSIONS_OF_CAT];
} size_stride;

typedef struct {
    char *const *data;
    const uint32_t *places, *sizes, *counts;
    const bool *contiguous;
    const size_stride *strides;
} cat_inputs;

static cat_inputs read_inputs(const char *metadata, size_t batch) {
    cat_inputs found = {.data = (char *const *)metadata};
    found.places = (const uint32_t *)(found.data + batch);
    found.sizes = found.places + batch;
    found.counts = found.sizes + batch;
    found.contiguous = (const bool *)(found.counts + batch);
    found.strides = (const size_stride *)(found.contiguous + batch);
    return found;
}

/* CatArrIndexToOffset: where the element with the number `i` of an input is, in elements. */
static size_t offset_of(const size_stride *of, int dimensions, int dimension, uint32_t size, uint32_t i) {
    size_t offset = 0;
    for (int d = dimensions - 1; d > 0; d--) {
        uint32_t length = d == dimension ? size : of->sizes[d];
        if (!length) return 0;
        offset += (size_t)(i % length) * of->strides[d];
        i /= length;
    }
    return offset + (size_t)i * of->strides[0];
}

static void copy_one(char *to, const char *from, size_t bytes) {
    char values[MOST_BYTES_OF_AN_ELEMENT], known[MOST_BYTES_OF_AN_ELEMENT];
    phantom_recall_known(values, known, from, bytes);
    phantom_keep_known(to, values, known, bytes);
}

/* A vectorized kernel moves units of several elements. Then the dimensions after that of the concatenation are one with
 * it, the sizes of the output are in units, and `stride` is the number of elements of those dimensions. */
static void copy_input(const kernel_plan *plan, const cat_inputs *inputs, size_t n, char *output,
                       const size_stride *outer, int dimension, uint32_t stride) {
    uint32_t unit = (uint32_t)(plan->unit ? plan->unit : 1), size = inputs->sizes[n] * (plan->unit ? stride : 1) / unit;
    size_t bytes = phantom_element_bytes(plan->from) * unit, place = (size_t)inputs->places[n] * stride / unit;
    const size_stride *own = &inputs->strides[plan->strides > 1 ? n : 0];
    for (uint32_t i = 0; i < inputs->counts[n] / unit; i++) {
        bool in_order = plan->unit || inputs->contiguous[n];
        size_t from = in_order ? i : offset_of(own, plan->dimensions, dimension, size, i);
        size_t to = place + offset_of(outer, plan->dimensions, dimension, size, i);
        copy_one(output + to * bytes, inputs->data[n] + from * bytes, bytes);
    }
}

/* Whether all inputs are small, and something is known of one. */
static bool is_worth_it(const cat_inputs *inputs, size_t count, element type) {
    size_t bytes = phantom_element_bytes(type);
    bool any = false;
    for (size_t n = 0; n < count; n++) {
        if (phantom_owner(inputs->data[n]) < 0 || !phantom_is_small(type, inputs->counts[n] * bytes)) return false;
        any |= phantom_has_values(inputs->data[n], inputs->counts[n] * bytes);
    }
    return any;
}

bool phantom_run_concatenation(const kernel_plan *plan, void **arguments, size_t count) {
    char *output = *(char **)arguments[0];
    cat_inputs inputs = read_inputs(arguments[1], (size_t)plan->batch);
    if (count > (size_t)plan->batch || phantom_owner(output) < 0) return false;
    if (!is_worth_it(&inputs, count, plan->from)) return false;
    for (size_t n = 0; n < count; n++)
        copy_input(plan, &inputs, n, output, arguments[2], *(const int *)arguments[3], *(const uint32_t *)arguments[4]);
    return true;
}
