/* What an elementwise kernel of PyTorch computes for one element. */
#ifndef MEMPROF_FUNCTOR_H
#define MEMPROF_FUNCTOR_H

#include "element.h"
#include "kernel_name.h"

enum { FUNCTOR_INPUTS = 3 };

typedef enum {
    UNKNOWN_OPERATION,
    FILL,
    COPY,
    ADD, /* a + alpha * b */
    MULTIPLY,
    DIVIDE,
    FLOOR_DIVIDE,
    TRUNCATING_DIVIDE,
    REMAINDER,
    MINIMUM,
    MAXIMUM,
    EQUAL,   /* or not equal: the functor says which */
    COMPARE, /* >=, >, <=, <: likewise */
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    BIT_NOT,
    LOGICAL_AND,
    LOGICAL_OR,
    LOGICAL_NOT,
    NEGATE,
    ABSOLUTE,
    RECIPROCAL,
    SQUARE_ROOT,
    CLAMP,
    WHERE,
    MASKED_FILL,
} operation;

/* Which operands come from tensors, in the order of the operation. */
typedef enum { FROM_TENSORS, FIRST_IS_SCALAR, SECOND_IS_SCALAR } operand_source;

typedef struct {
    operation does;
    operand_source source;
    int inputs;                 /* tensors that it reads */
    element in[FUNCTOR_INPUTS]; /* of their elements */
    element out;
    element scalar;   /* of an operand that is a field, or of the factor of ADD */
    size_t scalar_at; /* where the first of these fields is */
} functor;

functor phantom_read_functor(part text); /* `does` is UNKNOWN_OPERATION if it is none of these */
/* `fields` is the functor itself, `inputs` are its operands from tensors, and `out` gets one element. */
void phantom_apply(const functor *f, const char *fields, const char *const *inputs, char *out);

#endif
