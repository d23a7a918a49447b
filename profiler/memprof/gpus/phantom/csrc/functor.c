/* PyTorch's functors by their names in its source, aten/src/ATen/native/cuda, and what they compute.
 *
 * A functor is passed to its kernel by value, so the scalars of an operation are its fields. Types and layouts are
 * those of PyTorch 2.9 to 2.14. What is computed is what the device computes: in float for half and bfloat16, and
 * rounded once.
 */
#include "functor.h"

#include <math.h>
#include <string.h>

#include "element.h"
#include "kernel_name.h"

typedef struct {
    const char *word;
    operation does;
} known;

/* Functions of two operands, inside BinaryFunctor, AUnaryFunctor or BUnaryFunctor. */
static const known BINARY[] = {
    {"MulFunctor<", MULTIPLY},
    {"DivFunctor<", DIVIDE},
    {"CompareEqFunctor<", EQUAL},
    {"CompareFunctor<", COMPARE},
    {"BitwiseAndFunctor<", BIT_AND},
    {"BitwiseOrFunctor<", BIT_OR},
    {"BitwiseXorFunctor<", BIT_XOR},
    {"minimum_kernel_cuda(", MINIMUM},
    {"maximum_kernel_cuda(", MAXIMUM},
    {"div_floor_kernel_cuda(", FLOOR_DIVIDE},
    {"div_trunc_kernel_cuda(", TRUNCATING_DIVIDE},
    {"remainder_kernel_cuda(", REMAINDER},
    {"logical_and_kernel_cuda(", LOGICAL_AND},
    {"logical_or_kernel_cuda(", LOGICAL_OR},
};

/* Lambdas, named after the function that has them. */
static const known LAMBDAS[] = {
    {"direct_copy_kernel_cuda(", COPY},
    {"bfloat16_copy_kernel_cuda(", COPY},
    {"float16_copy_kernel_cuda(", COPY},
    {"bitwise_not_kernel_cuda(", BIT_NOT},
    {"logical_not_kernel_cuda(", LOGICAL_NOT},
    {"neg_kernel_cuda(", NEGATE},
    {"reciprocal_kernel_cuda(", RECIPROCAL},
    {"sqrt_kernel_cuda(", SQUARE_ROOT},
    {"launch_clamp_scalar(", CLAMP},
    {"where_kernel_impl(", WHERE},
    {"masked_fill_kernel(", MASKED_FILL},
};

static operation find_operation(const known *table, size_t count, part text) {
    for (size_t i = 0; i < count; i++)
        if (phantom_begins(text, table[i].word)) return table[i].does;
    return UNKNOWN_OPERATION;
}
#define FIND(table, text) find_operation(table, sizeof table / sizeof *table, text)

static element type_of(part text) { return phantom_element_of(text.text, text.length); }

static size_t align(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

/* ---- reading the names ---- */

/* Scalars follow the field that says which comparison it is, or an empty function, which takes one byte. */
static void place_scalar(functor *f, element scalar, bool after_int) {
    size_t bytes = phantom_element_bytes(scalar);
    f->scalar = scalar;
    f->scalar_at = bytes ? align(after_int ? sizeof(int) : 1, bytes) : 0;
}

/* What a function of two operands takes: float for half if it is the template of a type to compute in. */
static element type_of_argument(part function) {
    part item, lambda = phantom_lambda_parameters(function);
    size_t count = lambda.length ? phantom_split(lambda, '(', &item, 1) : phantom_split(function, '<', &item, 1);
    return count ? type_of(item) : NO_ELEMENT;
}

/* `NAME<first operand, second operand, result, function>` */
static functor read_wrapped(part text, operand_source source) {
    part items[4];
    functor f = {.source = source, .inputs = source == FROM_TENSORS ? 2 : 1};
    if (phantom_split(text, '<', items, 4) != 4) return f;
    operation does = FIND(BINARY, items[3]);
    f.in[0] = f.in[1] = type_of(items[0]);
    f.out = type_of(items[2]);
    place_scalar(&f, type_of_argument(items[3]), does == EQUAL || does == COMPARE);
    bool numbers = phantom_is_number(f.in[0]) && phantom_is_number(f.out) && phantom_is_number(f.scalar);
    if (type_of(items[1]) == f.in[0] && numbers) f.does = does;
    return f;
}

/* `NAME<type of elements>`; scalars come first. */
static functor read_named(part text, operation does, operand_source source, int inputs) {
    part item;
    functor f = {.source = source, .inputs = inputs};
    if (phantom_split(text, '<', &item, 1) != 1) return f;
    f.in[0] = f.in[1] = f.out = type_of(item);
    f.scalar = phantom_operating_type(f.out);
    if (does == COMPARE) f.out = BOOL;
    if (does == FILL ? phantom_element_bytes(f.out) > 0 : phantom_is_number(f.in[0])) f.does = does;
    return f;
}

/* compare_scalar_kernel<type>(...)::{lambda(type)}: which comparison, and the second operand. */
static functor read_compared_scalar(part text) {
    functor f = read_named(text, COMPARE, SECOND_IS_SCALAR, 1);
    place_scalar(&f, f.in[0], true);
    return f;
}

static functor read_lambda(part text) {
    part items[FUNCTOR_INPUTS + 1];
    functor f = {.inputs = 1};
    operation does = FIND(LAMBDAS, text);
    size_t count = phantom_split(phantom_lambda_parameters(text), '(', items, FUNCTOR_INPUTS + 1);
    if (!does || count < 1 || count > FUNCTOR_INPUTS) return f;
    for (size_t i = 0; i < count; i++) f.in[i] = type_of(items[i]);
    f.inputs = (int)count;
    f.out = does == LOGICAL_NOT ? BOOL : does == WHERE ? f.in[1] : f.in[0];
    if (does == COPY && phantom_begins(text, "bfloat16")) f.out = BFLOAT16;
    if (does == COPY && phantom_begins(text, "float16")) f.out = HALF;
    if (does == CLAMP) place_scalar(&f, phantom_operating_type(f.in[0]), true);
    bool only_moves = does == COPY || does == WHERE || does == MASKED_FILL;
    if (only_moves ? phantom_element_bytes(f.out) > 0 : phantom_is_number(f.in[0])) f.does = does;
    return f;
}

functor phantom_read_functor(part text) {
    if (phantom_begins(text, "FillFunctor<")) return read_named(text, FILL, FROM_TENSORS, 0);
    if (phantom_begins(text, "BinaryFunctor<")) return read_wrapped(text, FROM_TENSORS);
    if (phantom_begins(text, "AUnaryFunctor<")) return read_wrapped(text, FIRST_IS_SCALAR);
    if (phantom_begins(text, "BUnaryFunctor<")) return read_wrapped(text, SECOND_IS_SCALAR);
    if (phantom_begins(text, "CUDAFunctor_add<")) return read_named(text, ADD, FROM_TENSORS, 2);
    if (phantom_begins(text, "CUDAFunctorOnOther_add<")) return read_named(text, ADD, FIRST_IS_SCALAR, 1);
    if (phantom_begins(text, "CUDAFunctorOnSelf_add<")) return read_named(text, ADD, SECOND_IS_SCALAR, 1);
    if (phantom_begins(text, "AbsFunctor<")) return read_named(text, ABSOLUTE, FROM_TENSORS, 1);
    if (phantom_begins(text, "CompareFunctor<")) return read_named(text, COMPARE, FROM_TENSORS, 2);
    if (phantom_begins(text, "compare_scalar_kernel<")) return read_compared_scalar(text);
    return read_lambda(text);
}

/* ---- computing ---- */

static number real(double value) { return (number){.real = value, .is_real = true}; }
static number whole(int64_t value) { return (number){.whole = value}; }

static int field_int(const char *fields) {
    int value;
    memcpy(&value, fields, sizeof value);
    return value;
}

static bool is_true(number value) { return value.is_real ? value.real != 0 : value.whole != 0; }
static bool is_nan(number value) { return value.is_real && isnan(value.real); }
static bool is_less(number a, number b) {
    return a.is_real || b.is_real ? phantom_as_real(a) < phantom_as_real(b) : a.whole < b.whole;
}
static bool is_equal(number a, number b) {
    return a.is_real || b.is_real ? phantom_as_real(a) == phantom_as_real(b) : a.whole == b.whole;
}

/* at::native::OpType in CompareKernels.cu */
static bool compare(int type, number a, number b) {
    if (is_nan(a) || is_nan(b)) return false;
    switch (type) {
    case 0: return !is_less(a, b); /* >= */
    case 1: return is_less(b, a);
    case 2: return !is_less(b, a);
    default: return is_less(a, b);
    }
}

/* Division by zero has no defined result on the device; the host would be stopped. */
static number divide_whole(int64_t a, int64_t b) {
    return whole(b == -1 ? (int64_t)-(uint64_t)a : b ? a / b : 0);
}

static number floor_divide(number a, number b) {
    if (a.is_real) return real(floor(a.real / b.real));
    if (!b.whole || b.whole == -1) return divide_whole(a.whole, b.whole);
    int64_t quotient = a.whole / b.whole;
    return whole(quotient - (a.whole % b.whole && (a.whole < 0) != (b.whole < 0)));
}

static number remainder_of(number a, number b) {
    if (a.is_real) {
        double rest = fmod(a.real, b.real);
        return real(rest != 0 && (rest < 0) != (b.real < 0) ? rest + b.real : rest);
    }
    if (!b.whole || b.whole == -1) return whole(0);
    int64_t rest = a.whole % b.whole;
    return whole(rest && (rest < 0) != (b.whole < 0) ? rest + b.whole : rest);
}

static number binary(operation does, int type, number a, number b) {
    bool reals = a.is_real || b.is_real;
    switch (does) {
    case MULTIPLY: return reals ? real(phantom_as_real(a) * phantom_as_real(b))
                                : whole((int64_t)((uint64_t)a.whole * (uint64_t)b.whole));
    case DIVIDE: return reals ? real(phantom_as_real(a) / phantom_as_real(b)) : divide_whole(a.whole, b.whole);
    case FLOOR_DIVIDE: return floor_divide(a, b);
    case TRUNCATING_DIVIDE: return reals ? real(trunc(a.real / b.real)) : divide_whole(a.whole, b.whole);
    case REMAINDER: return remainder_of(a, b);
    case MINIMUM: return is_nan(a) ? a : is_nan(b) || is_less(b, a) ? b : a;
    case MAXIMUM: return is_nan(a) ? a : is_nan(b) || is_less(a, b) ? b : a;
    case EQUAL: return whole(type ? !is_equal(a, b) : is_equal(a, b));
    case COMPARE: return whole(compare(type, a, b));
    case BIT_AND: return whole(a.whole & b.whole);
    case BIT_OR: return whole(a.whole | b.whole);
    case BIT_XOR: return whole(a.whole ^ b.whole);
    case LOGICAL_AND: return whole(is_true(a) && is_true(b));
    default: return whole(is_true(a) || is_true(b));
    }
}

static number unary(operation does, element type, number a) {
    switch (does) {
    case NEGATE: return a.is_real ? real(-a.real) : whole((int64_t)-(uint64_t)a.whole);
    case ABSOLUTE: return a.is_real ? real(fabs(a.real)) : a.whole < 0 ? whole((int64_t)-(uint64_t)a.whole) : a;
    case RECIPROCAL: return real(1 / phantom_as_real(a));
    case SQUARE_ROOT: return real(sqrt(phantom_as_real(a)));
    case BIT_NOT: return whole(type == BOOL ? !a.whole : ~a.whole);
    case LOGICAL_NOT: return whole(!is_true(a));
    default: return a;
    }
}

/* at::native::detail::ClampLimits: 0 minimum, 1 maximum, 2 both; then the two limits. */
static number clamp(const functor *f, const char *fields, number a) {
    const char *limits = fields + f->scalar_at;
    number least = phantom_load(f->scalar, limits);
    number most = phantom_load(f->scalar, limits + phantom_element_bytes(f->scalar));
    int which = field_int(fields);
    if (is_nan(a)) return a;
    if (which != 1 && is_less(a, least)) a = least;
    return which != 0 && is_less(most, a) ? most : a;
}

static number add(number a, number alpha, number b) {
    b = binary(MULTIPLY, 0, alpha, b);
    return a.is_real ? real(a.real + b.real) : whole((int64_t)((uint64_t)a.whole + (uint64_t)b.whole));
}

static void apply_binary(const functor *f, const char *fields, const char *const *inputs, char *out) {
    number scalar = {0}, a, b;
    const char *field = fields + f->scalar_at;
    if (f->source != FROM_TENSORS || f->does == ADD) scalar = phantom_load(f->scalar, field);
    if (f->source == FIRST_IS_SCALAR) a = scalar, b = phantom_load(f->in[0], inputs[0]);
    else a = phantom_load(f->in[0], inputs[0]), b = f->source == FROM_TENSORS ? phantom_load(f->in[1], inputs[1]) : scalar;
    if (f->does == ADD && f->source != FROM_TENSORS) scalar = phantom_load(f->scalar, field + phantom_element_bytes(f->scalar));
    int type = f->does == EQUAL || f->does == COMPARE ? field_int(fields) : 0;
    phantom_store(f->out, out, f->does == ADD ? add(a, scalar, b) : binary(f->does, type, a, b));
}

void phantom_apply(const functor *f, const char *fields, const char *const *inputs, char *out) {
    size_t bytes = phantom_element_bytes(f->out);
    switch (f->does) {
    case FILL: memcpy(out, fields, bytes); return;
    case WHERE: memcpy(out, inputs[*inputs[0] ? 1 : 2], bytes); return;
    case MASKED_FILL: memcpy(out, *inputs[1] ? fields : inputs[0], bytes); return;
    case COPY:
        if (f->in[0] == f->out) memcpy(out, inputs[0], bytes);
        else phantom_store(f->out, out, phantom_load(f->in[0], inputs[0]));
        return;
    case CLAMP: phantom_store(f->out, out, clamp(f, fields, phantom_load(f->in[0], inputs[0]))); return;
    case BIT_NOT:
    case LOGICAL_NOT:
    case NEGATE:
    case ABSOLUTE:
    case RECIPROCAL:
    case SQUARE_ROOT: phantom_store(f->out, out, unary(f->does, f->in[0], phantom_load(f->in[0], inputs[0]))); return;
    default: apply_binary(f, fields, inputs, out);
    }
}
