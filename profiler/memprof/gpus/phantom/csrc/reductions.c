/* Reductions of small tensors, with the parameters of Reduce.cuh in aten/src/ATen. */
#include "reductions.h"

#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "element.h"
#include "kernels.h"
#include "operands.h"
#include "torch_blocks.h"
#include "values.h"

typedef struct { /* ReduceConfig */
    int element_bytes, inputs, outputs, rest[13];
} reduce_config;

static number combine(reduction reduces, number a, number b) {
    bool less = a.is_real ? a.real < b.real : a.whole < b.whole, nan = a.is_real && a.real != a.real;
    switch (reduces) {
    case ALL: return (number){.whole = a.whole && b.whole};
    case ANY: return (number){.whole = a.whole || b.whole};
    case LARGEST: return nan ? a : less || b.real != b.real ? b : a;
    case SMALLEST: return nan ? a : less ? a : b;
    default: return (number){a.real + b.real, (int64_t)((uint64_t)a.whole + (uint64_t)b.whole), a.is_real};
    }
}

static void reduce_one(const kernel_plan *plan, const operand *input, size_t from, const offsets *table, size_t n,
                       double factor, operand *output, size_t to) {
    size_t bytes = phantom_element_bytes(plan->from), out_bytes = phantom_element_bytes(plan->to);
    char accumulated[MOST_BYTES_OF_AN_ELEMENT];
    number total = {0};
    bool known = true;
    for (size_t i = 0; i < n && known; i++) {
        size_t at = from + phantom_offset_of(table, 1, 0, i);
        known = at + bytes <= input->bytes && phantom_is_known(input, at, bytes);
        if (!known) break;
        phantom_convert(plan->from, input->values + at, plan->accumulated, accumulated);
        number value = phantom_load(plan->accumulated, accumulated);
        bool truth = plan->reduces == ALL || plan->reduces == ANY;
        if (truth) value = (number){.whole = value.is_real ? value.real != 0 : value.whole != 0};
        total = i ? combine(plan->reduces, total, value) : value;
    }
    if (plan->reduces == MEAN) total.real *= factor;
    memset(output->known + to, known, out_bytes);
    if (known) phantom_store(plan->to, output->values + to, total);
}

/* ReduceOp begins with the operation (the factor of a mean, else nothing), and the identity of the accumulated type.
 * Its configuration follows, the offsets of the inputs, those of the outputs, the input, and the outputs. */
bool phantom_run_reduction(const kernel_plan *plan, char *reduce) {
    size_t wide = phantom_element_bytes(plan->accumulated), first = plan->reduces == MEAN ? wide : 1;
    size_t at = ((first + wide - 1) / wide * wide + wide + 3) / 4 * 4;
    const reduce_config *config = (const reduce_config *)(reduce + at);
    const offsets *inputs = (const offsets *)(config + 1);
    const offsets *outputs = (const offsets *)((const char *)inputs + phantom_bytes_of_offsets(1));
    size_t pointers = (size_t)((const char *)outputs - reduce) + phantom_bytes_of_offsets(2);
    char **data = (char **)(reduce + (pointers + 7) / 8 * 8);
    enum { INPUT, OUTPUT, SECOND_OUTPUT, ACCUMULATED, BETWEEN_BLOCKS, SEMAPHORES, BASE, FLAGS };
    if (config->element_bytes != (int)wide || !phantom_are_plausible(inputs)) return false;
    if (!phantom_are_plausible(outputs) || phantom_owner(data[INPUT]) < 0 || phantom_owner(data[OUTPUT]) < 0) return false;
    const bool *accumulates = (const bool *)(data + FLAGS), *is_final = accumulates + 1;
    if (*accumulates || !*is_final || config->inputs < 1 || config->outputs < 1) return false;
    /* An expanded scalar covers few bytes, and may have any number of elements. */
    if (!phantom_is_small(plan->from, (size_t)config->inputs * (size_t)config->outputs)) return false;
    size_t input_bytes = phantom_covered_bytes(inputs, 1, 0, 0) + phantom_covered_bytes(outputs, 2, 1, phantom_element_bytes(plan->from));
    size_t output_bytes = phantom_covered_bytes(outputs, 2, 0, phantom_element_bytes(plan->to));
    if (!phantom_is_small(plan->from, input_bytes) || !phantom_is_small(plan->to, output_bytes)) return false;
    if (!phantom_has_values(data[INPUT], input_bytes)) return false;
    operand both[2] = {0};
    bool ready = phantom_open_operand(&both[0], data[INPUT], input_bytes) && phantom_open_operand(&both[1], data[OUTPUT], output_bytes);
    double factor = plan->reduces == MEAN ? phantom_as_real(phantom_load(plan->accumulated, reduce)) : 1;
    for (size_t o = 0; ready && o < (size_t)config->outputs; o++)
        reduce_one(plan, &both[0], phantom_offset_of(outputs, 2, 1, o), inputs, (size_t)config->inputs, factor, &both[1],
                   phantom_offset_of(outputs, 2, 0, o));
    if (ready) phantom_store_operand(&both[1]);
    phantom_close_operands(both, 2);
    return ready;
}

/* The second pointer to the device after the tables of a ReduceOp whose operation is not known. */
void phantom_forget_reduced(char *const *words) {
    size_t fixed = (sizeof(reduce_config) + phantom_bytes_of_offsets(1) + phantom_bytes_of_offsets(2)) / 8;
    bool second = false;
    for (size_t word = fixed; word < fixed + 32; word++) {
        if (phantom_owner(words[word]) < 0) continue;
        if (second) return phantom_forget_written(words[word], SIZE_MAX / 2);
        second = true;
    }
}
