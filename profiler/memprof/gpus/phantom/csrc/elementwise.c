/* Elementwise kernels on small tensors, with the parameters of CUDALoops.cuh in aten/src/ATen. */
#include "elementwise.h"

#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "element.h"
#include "functor.h"
#include "kernels.h"
#include "operands.h"
#include "torch_blocks.h"
#include "values.h"

enum { OPERANDS = FUNCTOR_INPUTS + 1 };

/* One elementwise kernel: the output is operand 0. `types` are those in memory; the functor may compute in others. */
typedef struct {
    const functor *does;
    const char *fields;
    size_t n;
    char *const *data;
    const offsets *table; /* NULL: in order */
    element types[OPERANDS];
} elementwise;

static size_t place(const elementwise *e, int operand, size_t i) {
    return e->table ? phantom_offset_of(e->table, 1 + e->does->inputs, operand, i) : i * phantom_element_bytes(e->types[operand]);
}

static void compute_element(const elementwise *e, operand *operands, size_t i) {
    char inputs[FUNCTOR_INPUTS][MOST_BYTES_OF_AN_ELEMENT], result[MOST_BYTES_OF_AN_ELEMENT];
    const char *pointers[FUNCTOR_INPUTS];
    size_t to = place(e, 0, i), bytes = phantom_element_bytes(e->types[0]);
    bool known = true;
    for (int k = 0; k < e->does->inputs; k++) {
        size_t from = place(e, 1 + k, i);
        known &= phantom_is_known(&operands[1 + k], from, phantom_element_bytes(e->types[1 + k]));
        phantom_convert(e->types[1 + k], operands[1 + k].values + from, e->does->in[k], inputs[k]);
        pointers[k] = inputs[k];
    }
    memset(operands[0].known + to, known, bytes);
    if (!known) return;
    phantom_apply(e->does, e->fields, pointers, result);
    phantom_convert(e->does->out, result, e->types[0], operands[0].values + to);
}

static size_t range_of(const elementwise *e, int operand) {
    size_t bytes = phantom_element_bytes(e->types[operand]);
    return e->table ? phantom_covered_bytes(e->table, 1 + e->does->inputs, operand, bytes) : e->n * bytes;
}

static bool types_are_known(const elementwise *e) {
    for (int k = 0; k <= e->does->inputs; k++) {
        element computed = k ? e->does->in[k - 1] : e->does->out;
        bool converts = e->types[k] != computed;
        if (!phantom_element_bytes(e->types[k])) return false;
        if (converts && !(phantom_is_number(e->types[k]) && phantom_is_number(computed))) return false;
    }
    return true;
}

/* Whether any input has a known value; a fill needs none. */
static bool has_anything_to_do(const elementwise *e) {
    bool any = !e->does->inputs;
    for (int k = 1; k <= e->does->inputs; k++) any |= phantom_has_values(e->data[k], range_of(e, k));
    return any;
}

static bool compute_elementwise(const elementwise *e) {
    operand operands[OPERANDS] = {0};
    if (!types_are_known(e)) return false;
    for (int k = 0; k <= e->does->inputs; k++)
        if (!phantom_is_small(e->types[k], range_of(e, k)) || phantom_owner(e->data[k]) < 0) return false;
    if (!phantom_is_small(e->types[0], e->n) || !has_anything_to_do(e)) return false;
    bool ready = true;
    for (int k = 0; k <= e->does->inputs && ready; k++) ready = phantom_open_operand(&operands[k], e->data[k], range_of(e, k));
    for (size_t i = 0; ready && i < e->n; i++) compute_element(e, operands, i);
    if (ready) phantom_store_operand(&operands[0]);
    phantom_close_operands(operands, OPERANDS);
    return ready;
}

static size_t count_of(void *argument) {
    int n;
    memcpy(&n, argument, sizeof n);
    return n > 0 ? (size_t)n : 0;
}

void phantom_run_contiguous(const kernel_plan *plan, void **arguments) {
    elementwise e = {&plan->does, arguments[1], count_of(arguments[0]), arguments[2], NULL, {plan->does.out}};
    memcpy(e.types + 1, plan->does.in, sizeof plan->does.in);
    if (plan->shape == CONTIGUOUS_CAST) { /* LoadWithCast and StoreWithCast begin with a byte for each type */
        const signed char *loaded = arguments[5], *stored = arguments[6];
        e.types[0] = (element)stored[0];
        for (int k = 0; k < plan->does.inputs; k++) e.types[1 + k] = (element)loaded[k];
    }
    if (!compute_elementwise(&e)) phantom_forget_written(e.data[0], e.n * MOST_BYTES_OF_AN_ELEMENT);
}

/* The lambda of gpu_kernel_impl_nocast has the offsets, the operands and the functor, in this order. */
void phantom_run_strided(const kernel_plan *plan, void **arguments, bool computes) {
    enum { MOST_WORDS = 64 + DIMENSIONS * OPERANDS / 2 };
    char *lambda = arguments[1];
    size_t at = (phantom_bytes_of_offsets(1 + plan->does.inputs) + 7) / 8 * 8;
    elementwise e = {&plan->does, lambda + at + 8 * (size_t)(1 + plan->does.inputs), count_of(arguments[0]),
                     (char *const *)(lambda + at), (const offsets *)lambda, {plan->does.out}};
    memcpy(e.types + 1, plan->does.in, sizeof plan->does.in);
    if (plan->does.does && computes && phantom_are_plausible(e.table) && compute_elementwise(&e)) return;
    for (size_t word = phantom_bytes_of_offsets(1) / 8; word < MOST_WORDS; word++) {
        char *address = ((char **)lambda)[word];
        if (phantom_owner(address) < 0) continue;
        phantom_forget_written(address, SIZE_MAX / 2);
        return;
    }
}

/* arange: the lambda has the start and the step, in the type that the device computes in. */
void phantom_run_enumeration(const kernel_plan *plan, void **arguments) {
    element out = plan->does.out, computed = phantom_is_number(out) && phantom_operating_type(out) == FLOAT ? FLOAT
                                             : out == DOUBLE                                               ? DOUBLE
                                                                                                           : INT64;
    size_t n = count_of(arguments[0]), bytes = phantom_element_bytes(out), wide = phantom_element_bytes(computed);
    char *address = *(char **)arguments[2];
    operand output = {0};
    if (!phantom_is_small(out, n * bytes) || !phantom_open_operand(&output, address, n * bytes)) {
        phantom_forget_written(address, n * bytes);
        return;
    }
    number start = phantom_load(computed, arguments[1]), step = phantom_load(computed, (char *)arguments[1] + wide);
    for (size_t i = 0; i < n; i++) {
        number value = start;
        value.real += step.real * (double)i;
        value.whole += step.whole * (int64_t)i;
        phantom_store(out, output.values + i * bytes, value);
    }
    memset(output.known, 1, n * bytes);
    phantom_store_operand(&output);
    phantom_close_operands(&output, 1);
}
