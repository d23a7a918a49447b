/* Elements of PyTorch's tensors: their types, and their values as numbers of the host. */
#ifndef MEMPROF_ELEMENT_H
#define MEMPROF_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* c10::ScalarType has these numbers, up to BFloat16. */
typedef enum {
    UINT8,
    INT8,
    INT16,
    INT32,
    INT64,
    HALF,
    FLOAT,
    DOUBLE,
    COMPLEX_HALF,
    COMPLEX_FLOAT,
    COMPLEX_DOUBLE,
    BOOL,
    BFLOAT16 = 15,
    OPAQUE1, /* elements that are only moved, by their size */
    OPAQUE2,
    OPAQUE4,
    OPAQUE8,
    OPAQUE16,
    NO_ELEMENT,
} element;

/* A float as `real`, an integer or a bool as `whole`. */
typedef struct {
    double real;
    int64_t whole;
    bool is_real;
} number;

element phantom_element_of(const char *name, size_t length); /* of a name in C++; NO_ELEMENT if it is none of these */
size_t phantom_element_bytes(element type);                  /* 0 for NO_ELEMENT and unknown ones */
bool phantom_is_number(element type);                        /* whether the three functions below know it */
element phantom_operating_type(element type);                /* at::opmath_type: float for half and bfloat16 */
number phantom_load(element type, const char *from);
void phantom_store(element type, char *to, number value);
double phantom_as_real(number value);

#endif
