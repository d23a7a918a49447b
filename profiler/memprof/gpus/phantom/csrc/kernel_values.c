/* Running the kernels whose name tells what they compute, on small tensors; others make what they write unknown.
 *
 * The parameters are those of CUDALoops.cuh, Reduce.cuh and OffsetCalculator.cuh in aten/src/ATen. They are the same
 * in PyTorch 2.9 to 2.14. Where a pointer is not one to the device, the layout is not what is expected: then nothing
 * is computed.
 */
#include "kernel_values.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "element.h"
#include "functor.h"
#include "kernels.h"
#include "torch_blocks.h"
#include "values.h"

enum { SMALL_BYTES = 64 << 10, OPERANDS = FUNCTOR_INPUTS + 1, MOST_BYTES_OF_AN_ELEMENT = 16 };

/* ---- operands: what is known of the range that a tensor covers ---- */

typedef struct {
    char *address;
    size_t bytes; /* of the range */
    char *values, *known;
} operand;

static bool open_operand(operand *o, char *address, size_t bytes) {
    *o = (operand){.address = address, .bytes = bytes};
    if (!bytes || bytes > SMALL_BYTES) return false;
    o->values = malloc(2 * bytes);
    if (!o->values) return false;
    o->known = o->values + bytes;
    phantom_recall_known(o->values, o->known, address, bytes);
    return true;
}

static void close_operands(operand *operands, int count) {
    for (int i = 0; i < count; i++) free(operands[i].values);
}

static bool is_known(const operand *o, size_t at, size_t bytes) { return !memchr(o->known + at, 0, bytes); }

/* ---- elementwise kernels ---- */

/* Where element `i` of each operand is, in bytes from its start: in order, or by OffsetCalculator. */
enum { DIMENSIONS = 25 };

typedef struct {
    uint32_t count;
    struct {
        uint32_t size, multiplier, shift; /* IntDivider */
    } sizes[DIMENSIONS];
    uint32_t strides[]; /* for each dimension one of each operand */
} offsets;

static size_t bytes_of_offsets(int operands) {
    return sizeof(offsets) + sizeof(uint32_t) * DIMENSIONS * (size_t)(operands > 1 ? operands : 1);
}

static size_t offset_of(const offsets *table, int operands, int operand, size_t i) {
    size_t offset = 0;
    for (uint32_t d = 0; d < table->count && d < DIMENSIONS; d++) {
        offset += i % table->sizes[d].size * table->strides[d * (uint32_t)operands + (uint32_t)operand];
        i /= table->sizes[d].size;
    }
    return offset;
}

static bool are_plausible(const offsets *table) {
    if (table->count > DIMENSIONS) return false;
    for (uint32_t d = 0; d < table->count; d++)
        if (!table->sizes[d].size) return false;
    return true;
}

/* From the start to the end of what element 0 to n-1 cover. */
static size_t covered_bytes(const offsets *table, int operands, int operand, size_t element_bytes) {
    size_t bytes = element_bytes;
    for (uint32_t d = 0; d < table->count; d++)
        bytes += (size_t)(table->sizes[d].size - 1) * table->strides[d * (uint32_t)operands + (uint32_t)operand];
    return bytes;
}

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
    return e->table ? offset_of(e->table, 1 + e->does->inputs, operand, i) : i * phantom_element_bytes(e->types[operand]);
}

static void convert(element from, const char *at, element to, char *result) {
    if (from == to) memcpy(result, at, phantom_element_bytes(to));
    else phantom_store(to, result, phantom_load(from, at));
}

static void compute_element(const elementwise *e, operand *operands, size_t i) {
    char inputs[FUNCTOR_INPUTS][MOST_BYTES_OF_AN_ELEMENT], result[MOST_BYTES_OF_AN_ELEMENT];
    const char *pointers[FUNCTOR_INPUTS];
    size_t to = place(e, 0, i), bytes = phantom_element_bytes(e->types[0]);
    bool known = true;
    for (int k = 0; k < e->does->inputs; k++) {
        size_t from = place(e, 1 + k, i);
        known &= is_known(&operands[1 + k], from, phantom_element_bytes(e->types[1 + k]));
        convert(e->types[1 + k], operands[1 + k].values + from, e->does->in[k], inputs[k]);
        pointers[k] = inputs[k];
    }
    memset(operands[0].known + to, known, bytes);
    if (!known) return;
    phantom_apply(e->does, e->fields, pointers, result);
    convert(e->does->out, result, e->types[0], operands[0].values + to);
}

static size_t range_of(const elementwise *e, int operand) {
    size_t bytes = phantom_element_bytes(e->types[operand]);
    return e->table ? covered_bytes(e->table, 1 + e->does->inputs, operand, bytes) : e->n * bytes;
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
        if (range_of(e, k) > SMALL_BYTES || phantom_owner(e->data[k]) < 0) return false;
    if (e->n > SMALL_BYTES || !has_anything_to_do(e)) return false;
    bool ready = true;
    for (int k = 0; k <= e->does->inputs && ready; k++) ready = open_operand(&operands[k], e->data[k], range_of(e, k));
    for (size_t i = 0; ready && i < e->n; i++) compute_element(e, operands, i);
    if (ready) phantom_keep_known(operands[0].address, operands[0].values, operands[0].known, operands[0].bytes);
    close_operands(operands, OPERANDS);
    return ready;
}

static size_t count_of(void *argument) {
    int n;
    memcpy(&n, argument, sizeof n);
    return n > 0 ? (size_t)n : 0;
}

static bool run_contiguous(const kernel_plan *plan, void **arguments) {
    elementwise e = {&plan->does, arguments[1], count_of(arguments[0]), arguments[2], NULL, {plan->does.out}};
    memcpy(e.types + 1, plan->does.in, sizeof plan->does.in);
    if (plan->shape == CONTIGUOUS_CAST) { /* LoadWithCast and StoreWithCast begin with a byte for each type */
        const signed char *loaded = arguments[5], *stored = arguments[6];
        e.types[0] = (element)stored[0];
        for (int k = 0; k < plan->does.inputs; k++) e.types[1 + k] = (element)loaded[k];
    }
    if (compute_elementwise(&e)) return true;
    phantom_forget_written(e.data[0], e.n * MOST_BYTES_OF_AN_ELEMENT);
    return true;
}

/* The lambda of gpu_kernel_impl_nocast has the offsets, the operands and the functor, in this order. */
static bool run_strided(const kernel_plan *plan, void **arguments, bool computes) {
    enum { MOST_WORDS = 64 + DIMENSIONS * OPERANDS / 2 };
    char *lambda = arguments[1];
    size_t at = (bytes_of_offsets(1 + plan->does.inputs) + 7) / 8 * 8;
    elementwise e = {&plan->does, lambda + at + 8 * (size_t)(1 + plan->does.inputs), count_of(arguments[0]),
                     (char *const *)(lambda + at), (const offsets *)lambda, {plan->does.out}};
    memcpy(e.types + 1, plan->does.in, sizeof plan->does.in);
    if (plan->does.does && computes && are_plausible(e.table) && compute_elementwise(&e)) return true;
    for (size_t word = bytes_of_offsets(1) / 8; word < MOST_WORDS; word++) {
        char *address = ((char **)lambda)[word];
        if (phantom_owner(address) < 0) continue;
        phantom_forget_written(address, SIZE_MAX / 2);
        break;
    }
    return true;
}

/* arange: the lambda has the start and the step, in the type that the device computes in. */
static void run_enumeration(const kernel_plan *plan, void **arguments) {
    element out = plan->does.out, computed = phantom_is_number(out) && phantom_operating_type(out) == FLOAT ? FLOAT
                                             : out == DOUBLE                                               ? DOUBLE
                                                                                                           : INT64;
    size_t n = count_of(arguments[0]), bytes = phantom_element_bytes(out), wide = phantom_element_bytes(computed);
    char *address = *(char **)arguments[2], known[SMALL_BYTES], values[SMALL_BYTES];
    if (!n || n * bytes > SMALL_BYTES) {
        phantom_forget_written(address, n * bytes);
        return;
    }
    number start = phantom_load(computed, arguments[1]), step = phantom_load(computed, (char *)arguments[1] + wide);
    for (size_t i = 0; i < n; i++) {
        number value = start;
        value.real += step.real * (double)i;
        value.whole += step.whole * (int64_t)i;
        phantom_store(out, values + i * bytes, value);
    }
    memset(known, 1, n * bytes);
    phantom_keep_known(address, values, known, n * bytes);
}

/* ---- reductions ---- */

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
        size_t at = from + offset_of(table, 1, 0, i);
        known = at + bytes <= input->bytes && is_known(input, at, bytes);
        if (!known) break;
        convert(plan->from, input->values + at, plan->accumulated, accumulated);
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
static bool run_reduction(const kernel_plan *plan, char *reduce) {
    size_t wide = phantom_element_bytes(plan->accumulated), first = plan->reduces == MEAN ? wide : 1;
    size_t at = ((first + wide - 1) / wide * wide + wide + 3) / 4 * 4;
    const reduce_config *config = (const reduce_config *)(reduce + at);
    const offsets *inputs = (const offsets *)(config + 1);
    const offsets *outputs = (const offsets *)((const char *)inputs + bytes_of_offsets(1));
    size_t pointers = (size_t)((const char *)outputs - reduce) + bytes_of_offsets(2);
    char **data = (char **)(reduce + (pointers + 7) / 8 * 8);
    enum { INPUT, OUTPUT, SECOND_OUTPUT, ACCUMULATED, BETWEEN_BLOCKS, SEMAPHORES, BASE, FLAGS };
    if (config->element_bytes != (int)wide || !are_plausible(inputs)) return false;
    if (!are_plausible(outputs) || phantom_owner(data[INPUT]) < 0 || phantom_owner(data[OUTPUT]) < 0) return false;
    const bool *accumulates = (const bool *)(data + FLAGS), *is_final = accumulates + 1;
    if (*accumulates || !*is_final || config->inputs < 1 || config->outputs < 1) return false;
    size_t input_bytes = covered_bytes(inputs, 1, 0, 0) + covered_bytes(outputs, 2, 1, phantom_element_bytes(plan->from));
    size_t output_bytes = covered_bytes(outputs, 2, 0, phantom_element_bytes(plan->to));
    if (input_bytes > SMALL_BYTES || !phantom_has_values(data[INPUT], input_bytes)) return false;
    operand both[2] = {0};
    bool ready = open_operand(&both[0], data[INPUT], input_bytes) && open_operand(&both[1], data[OUTPUT], output_bytes);
    double factor = plan->reduces == MEAN ? phantom_as_real(phantom_load(plan->accumulated, reduce)) : 1;
    for (size_t o = 0; ready && o < (size_t)config->outputs; o++)
        reduce_one(plan, &both[0], offset_of(outputs, 2, 1, o), inputs, (size_t)config->inputs, factor, &both[1],
                   offset_of(outputs, 2, 0, o));
    if (ready) phantom_keep_known(both[1].address, both[1].values, both[1].known, output_bytes);
    close_operands(both, 2);
    return ready;
}

/* ---- all kernels ---- */

/* The second pointer to the device after the tables of a ReduceOp whose operation is not known. */
static void forget_reduced(char *const *words) {
    size_t fixed = (sizeof(reduce_config) + bytes_of_offsets(1) + bytes_of_offsets(2)) / 8;
    bool second = false;
    for (size_t word = fixed; word < fixed + 32; word++) {
        if (phantom_owner(words[word]) < 0) continue;
        if (second) return phantom_forget_written(words[word], SIZE_MAX / 2);
        second = true;
    }
}

static void forget_outputs(const kernel_plan *plan, void **arguments) {
    for (int i = 0; i < plan->written_count; i++) {
        const written *w = &plan->written[i];
        char *const *words = arguments[w->position];
        if (w->words == WORDS_OF_REDUCTION) forget_reduced(words);
        for (int word = w->first_word; word < w->first_word + w->words; word++)
            if (phantom_owner(words[word]) >= 0) phantom_forget_written(words[word], SIZE_MAX / 2);
    }
}

void phantom_run_kernel(const void *function, void **arguments, bool computes) {
    const kernel_plan *plan = phantom_plan_of(function);
    if (!plan || !arguments) return;
    bool computed = false;
    if (plan->shape == STRIDED) computed = run_strided(plan, arguments, computes);
    else if (!computes) computed = false;
    else if (plan->shape == CONTIGUOUS || plan->shape == CONTIGUOUS_CAST) computed = run_contiguous(plan, arguments);
    else if (plan->shape == ENUMERATED) run_enumeration(plan, arguments), computed = true;
    else if (plan->shape == REDUCED) computed = run_reduction(plan, arguments[0]);
    if (!computed) forget_outputs(plan, arguments);
}
