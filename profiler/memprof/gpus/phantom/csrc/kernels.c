/* The kernels of the process: the name of each, and from the name what it does to values.
 *
 * A library registers its kernels when it is loaded: 24,000 of them in PyTorch. A name is only read when its kernel
 * is first launched.
 */
#include "kernels.h"

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "element.h"
#include "functor.h"
#include "kernel_name.h"

typedef struct {
    const void *function;
    const char *name; /* belongs to the library */
    kernel_plan *plan; /* NULL until the first launch */
} registered;

static registered *kernels; /* a hash table with open addressing; its capacity is a power of 2 */
static size_t kernel_count, kernel_capacity;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static registered *find_place(registered *table, size_t capacity, const void *function) {
    size_t at = (size_t)(((uintptr_t)function >> 4) * 0x9e3779b97f4a7c15) & (capacity - 1); /* 2^64 / golden ratio */
    while (table[at].function && table[at].function != function) at = (at + 1) & (capacity - 1);
    return &table[at];
}

static bool grow(void) {
    size_t capacity = kernel_capacity ? 2 * kernel_capacity : 1 << 16;
    registered *larger = calloc(capacity, sizeof *larger);
    if (!larger) return false;
    for (size_t i = 0; i < kernel_capacity; i++)
        if (kernels[i].function) *find_place(larger, capacity, kernels[i].function) = kernels[i];
    free(kernels);
    kernels = larger;
    kernel_capacity = capacity;
    return true;
}

void phantom_add_kernel(const void *function, const char *mangled_name) {
    pthread_mutex_lock(&lock);
    if (2 * kernel_count < kernel_capacity || grow()) {
        registered *place = find_place(kernels, kernel_capacity, function);
        kernel_count += !place->function;
        *place = (registered){function, mangled_name, NULL}; /* another library may have the address of an older one */
    }
    pthread_mutex_unlock(&lock);
}

/* ---- reading a name ---- */

static part whole_of(const char *text) { return (part){text, strlen(text)}; }

static element type_of(part text) { return phantom_element_of(text.text, text.length); }

/* Whether `text` is the template `name` itself, with its arguments. */
static bool is_template(part text, const char *name) {
    return phantom_begins(text, name) && text.length > strlen(name) && text.text[strlen(name)] == '<';
}

static void add_written(kernel_plan *plan, int position, int first_word, int words) {
    if (plan->written_count < WRITTEN_LIMIT) plan->written[plan->written_count++] = (written){position, first_word, words};
}

/* Structures that are only read: their pointers are to constants, or they have none that outlives the operator. */
static bool is_only_read(part text) {
    static const char *const READ[] = {
        "TensorSizeStride<",    "CatArrInputTensorMetadata<", "TrivialOffsetCalculator<", "OffsetCalculator<",
        "at::PhiloxCudaState", "transform_iterator<",        "counting_iterator<",       "cub::ScanTileState<",
    };
    for (size_t i = 0; i < sizeof READ / sizeof *READ; i++) {
        const char *found = phantom_find(text, READ[i]), *template = memchr(text.text, '<', text.length);
        if (found && (!template || found < template)) return true;
    }
    part first;
    return phantom_split(text, '<', &first, 1) == 1 && first.length > 6 &&
           !strncmp(first.text + first.length - 6, " const", 6);
}

/* A pointer to what is not constant may be written to, and so may each pointer in a structure that is not known. */
static void read_parameters(kernel_plan *plan, part parameters) {
    enum { POSITIONS = 64, WORDS_OF_A_STRUCTURE = 64, WORDS_OF_A_LAMBDA = 192 };
    part items[POSITIONS];
    size_t count = phantom_split(parameters, '(', items, POSITIONS);
    for (size_t i = 0; i < count; i++) {
        part item = items[i];
        if (item.text[item.length - 1] == '*') {
            bool constant = item.length > 6 && !strncmp(item.text + item.length - 6, "const*", 6);
            if (!constant) add_written(plan, (int)i, 0, 1);
        } else if (phantom_find(item, "TensorList") && phantom_find(item, "Metadata<")) {
            continue; /* behind its last tensor it has addresses of earlier launches: which ones count, is not known */
        } else if (memchr(item.text, '<', item.length) || memchr(item.text, ':', item.length)) {
            bool first = phantom_begins(item, "at::cuda::detail::TensorInfo<") || phantom_find(item, "Accessor<");
            int words = first ? 1 : phantom_find(item, "{lambda(") ? WORDS_OF_A_LAMBDA : WORDS_OF_A_STRUCTURE;
            if (type_of(item) == NO_ELEMENT && !is_only_read(item)) add_written(plan, (int)i, 0, words);
        }
    }
}

/* ReduceOp<type of the input, operation, index, type of the output, ...> */
static void read_reduction(kernel_plan *plan, part text) {
    part items[4], inner[2];
    if (phantom_split(text, '<', items, 4) != 4) return;
    plan->from = type_of(items[0]);
    plan->to = type_of(items[3]);
    bool is_mean = is_template(items[1], "MeanOps");
    if (!is_mean && !is_template(items[1], "func_wrapper_t")) return;
    if (phantom_split(items[1], '<', inner, 2) != 2) return;
    part lambda;
    size_t lambdas = is_mean ? 0 : phantom_split(phantom_lambda_parameters(inner[1]), '(', &lambda, 1);
    plan->accumulated = type_of(lambdas ? lambda : inner[is_mean]);
    bool numbers = phantom_is_number(plan->from) && phantom_is_number(plan->accumulated) && phantom_is_number(plan->to);
    static const struct {
        const char *word;
        reduction reduces;
    } OPERATIONS[] = {{"sum_functor<", SUM},           {"and_kernel_cuda(", ALL}, {"or_kernel_cuda(", ANY},
                      {"MaxNanFunctor<", LARGEST}, {"MinNanFunctor<", SMALLEST}};
    if (is_mean) plan->reduces = MEAN;
    bool known = is_mean;
    for (size_t i = 0; !is_mean && i < sizeof OPERATIONS / sizeof *OPERATIONS; i++)
        if (phantom_begins(inner[1], OPERATIONS[i].word)) plan->reduces = OPERATIONS[i].reduces, known = true;
    if (known && numbers) plan->shape = REDUCED;
}

/* arange is a lambda in one of the cases of AT_DISPATCH_ALL_TYPES_AND2: their order gives the type. */
static void read_enumeration(kernel_plan *plan, part text) {
    static const element CASES[] = {UINT8, INT8, INT32, INT64, INT16, DOUBLE, FLOAT, HALF, BFLOAT16};
    const char *at = phantom_begins(text, "arange_cuda_out(") ? phantom_find(text, "{lambda()#1}::") : NULL;
    int number;
    if (!at || sscanf(at, "{lambda()#1}::operator()() const::{lambda()#%d}", &number) != 1) return;
    if (number < 1 || number > (int)(sizeof CASES / sizeof *CASES)) return;
    plan->does.out = CASES[number - 1];
    plan->shape = ENUMERATED;
}

/* The kernels of gpu_kernel and its relatives, in CUDALoops.cuh and Loops.cuh: the first operand is the output. */
static bool read_elementwise(kernel_plan *plan, part text) {
    part items[8], lambda;
    size_t count = phantom_split(text, '<', items, 8);
    if (is_template(text, "vectorized_elementwise_kernel") && count >= 3) {
        plan->does = phantom_read_functor(items[1]);
        plan->shape = CONTIGUOUS;
    } else if (is_template(text, "unrolled_elementwise_kernel") && count >= 5) {
        bool casts = count >= 7 && phantom_begins(items[5], "memory::LoadWithCast<");
        bool in_order = phantom_begins(items[3], "Trivial") && phantom_begins(items[4], "Trivial");
        if (in_order) plan->does = phantom_read_functor(items[0]);
        plan->shape = casts ? CONTIGUOUS_CAST : CONTIGUOUS;
    } else if (is_template(text, "elementwise_kernel") && count >= 3 && phantom_begins(items[2], "gpu_kernel_impl")) {
        bool casts = !is_template(items[2], "gpu_kernel_impl_nocast");
        if (!casts && phantom_split(items[2], '<', &lambda, 1) == 1) plan->does = phantom_read_functor(lambda);
        plan->shape = STRIDED;
        return true;
    } else if (is_template(text, "unrolled_elementwise_kernel_for_multi_outputs") && count >= 3) {
        add_written(plan, 2, 0, atoi(items[0].text));
        return true;
    } else if (is_template(text, "elementwise_kernel_with_index") && count >= 2) {
        read_enumeration(plan, items[1]);
        add_written(plan, 2, 0, 1);
        return true;
    } else {
        return false;
    }
    if (!plan->does.does) plan->shape = OTHER_KERNEL;
    add_written(plan, 2, 0, 1);
    return true;
}

/* The kernels of IndexKernel.cu and ScatterGatherKernel.cu have a lambda, too: (n, lambda). It begins with the offsets
 * of two or three operands, and its pointers follow. Those of DistributionTemplates.h begin with the output, or with
 * the offsets of one operand. */
static bool read_indexing(kernel_plan *plan, part text) {
    enum { AFTER_ONE = 51, AFTER_TWO = 63, AFTER_THREE = 76 }; /* (4 + 25 * 12 + 25 * 4 * operands) bytes, in words */
    static const struct {
        const char *kernel, *lambda;
        int word; /* of the pointer to the output */
    } KNOWN[] = {
        {"index_elementwise_kernel", "gpu_index_kernel<", AFTER_THREE},
        {"index_elementwise_kernel", "index_copy_kernel_impl<", AFTER_THREE},
        {"index_elementwise_kernel", "index_fill_kernel_impl<", AFTER_TWO},
        {"_scatter_gather_elementwise_kernel", "_cuda_scatter_gather_internal_kernel<", AFTER_THREE + 3},
        {"_scatter_gather_elementwise_kernel", "_cuda_scatter_fill_internal_kernel<", AFTER_TWO + 3},
    };
    part items[3];
    if (is_template(text, "distribution_elementwise_grid_stride_kernel")) { /* the fourth parameter is such a lambda */
        add_written(plan, 3, 0, 1);
        add_written(plan, 3, AFTER_ONE, 1);
        return true;
    }
    if (is_template(text, "vectorized_gather_kernel")) { /* rows, as an embedding reads them: (output, input, indices, ...) */
        add_written(plan, 0, 0, 1);
        return true;
    }
    if (phantom_split(text, '<', items, 3) != 3) return false;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (!is_template(text, KNOWN[i].kernel) || !phantom_begins(items[2], KNOWN[i].lambda)) continue;
        add_written(plan, 1, KNOWN[i].word, 1);
        return true;
    }
    return false;
}

/* CatArrayBatchedCopy<type, index, dimensions, batch, strides>, and its forms for contiguous inputs, of which the
 * vectorized one also names the bytes and the elements of a unit. */
static void read_concatenation(kernel_plan *plan, part text) {
    part items[7];
    size_t count = phantom_split(text, '<', items, 7);
    bool vectorized = is_template(text, "CatArrayBatchedCopy_vectorized") && count == 7;
    bool others = is_template(text, "CatArrayBatchedCopy") || is_template(text, "CatArrayBatchedCopy_contig") ||
                  is_template(text, "CatArrayBatchedCopy_alignedK_contig");
    if ((!vectorized && !others) || count < 5 || !phantom_begins(items[1], "unsigned int")) return;
    plan->from = type_of(items[0]);
    plan->dimensions = atoi(items[2].text);
    plan->batch = atoi(items[3].text);
    plan->strides = atoi(items[4].text);
    plan->unit = vectorized ? atoi(items[6].text) : 0;
    if (phantom_element_bytes(plan->from)) plan->shape = CONCATENATED;
}

/* The type that a parameter `T*` or `T const*` points to. */
static element type_behind(part pointer) {
    static const char CONSTANT[] = " const";
    size_t length = pointer.length - 1, constant = strlen(CONSTANT); /* items of a name are not empty */
    if (pointer.text[length] != '*') return NO_ELEMENT;
    if (length > constant && !strncmp(pointer.text + length - constant, CONSTANT, constant)) length -= constant;
    return type_of((part){pointer.text, length});
}

/* cumsum: along the last dimension, along another one, and cub's kernel for a tensor that is one row. The operation
 * is a parameter. With a value to start from, cub's kernel begins with that. */
static void read_scan(kernel_plan *plan, part text, part parameters) {
    static const struct {
        const char *kernel;
        int operation, start;
        scan_parameters scans;
    } KNOWN[] = {
        {"tensor_kernel_scan_innermost_dim<", 6, -1, {0, 1, 2, 3, -1}},
        {"tensor_kernel_scan_outer_dim<", 6, -1, {0, 1, 2, 4, 3}},
        {"DeviceScanKernel<", 4, 5, {1, 0, -1, 6, -1}},
    };
    part items[8];
    const char *template = memchr(text.text, '<', text.length);
    if (phantom_split(parameters, '(', items, 8) != 7) return;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        const char *found = phantom_find(text, KNOWN[i].kernel);
        const scan_parameters *scans = &KNOWN[i].scans;
        if (!found || found + strlen(KNOWN[i].kernel) - 1 != template) continue;
        if (!phantom_begins(items[KNOWN[i].operation], "plus<")) continue;
        if (!phantom_begins(items[scans->row], "unsigned int")) continue;
        if (KNOWN[i].start >= 0 && !phantom_find(items[KNOWN[i].start], "::NullType")) continue;
        plan->from = type_behind(items[scans->output]);
        plan->scans = *scans;
        if (phantom_is_number(plan->from) && plan->from == type_behind(items[scans->input])) plan->shape = SCANNED;
    }
}

static kernel_plan read_name(const char *name) {
    kernel_plan plan = {.shape = OTHER_KERNEL};
    part text = whole_of(name), items[3];
    if (phantom_begins(text, "void ")) text = whole_of(name + strlen("void "));
    if (is_template(text, "reduce_kernel") && phantom_split(text, '<', items, 3) == 3) {
        read_reduction(&plan, items[2]);
        add_written(&plan, 0, 0, WORDS_OF_REDUCTION);
    } else if (!read_elementwise(&plan, text) && !read_indexing(&plan, text)) {
        part parameters = phantom_parameters(name);
        read_parameters(&plan, parameters);
        read_concatenation(&plan, text);
        read_scan(&plan, text, parameters);
        if (phantom_find(text, "BinaryOpScalarFunctor<float, 1, 1, 0>, plus<float>, float>")) plan.shape = ADDED_TO_LIST;
    }
    return plan;
}

const kernel_plan *phantom_plan_of(const void *function) {
    pthread_mutex_lock(&lock);
    registered *found = kernel_capacity ? find_place(kernels, kernel_capacity, function) : NULL;
    if (found && found->function && !found->plan) {
        char *name = phantom_readable_name(found->name);
        found->plan = calloc(1, sizeof *found->plan);
        if (name && found->plan) *found->plan = read_name(name);
        free(name);
    }
    const kernel_plan *plan = found ? found->plan : NULL;
    pthread_mutex_unlock(&lock);
    return plan;
}
