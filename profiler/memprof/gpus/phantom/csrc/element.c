/* Elements of PyTorch's tensors. Conversions round as C++ does on the device: to nearest, ties to even. */
#include "element.h"

#include <string.h>

typedef struct {
    const char *name;
    element type;
} named;

static const named NAMES[] = {
    {"bool", BOOL},
    {"unsigned char", UINT8},
    {"signed char", INT8},
    {"short", INT16},
    {"int", INT32},
    {"long", INT64},
    {"c10::Half", HALF},
    {"float", FLOAT},
    {"double", DOUBLE},
    {"c10::BFloat16", BFLOAT16},
    {"c10::complex<c10::Half>", COMPLEX_HALF},
    {"c10::complex<float>", COMPLEX_FLOAT},
    {"c10::complex<double>", COMPLEX_DOUBLE},
    {"unsigned short", OPAQUE2},
    {"unsigned int", OPAQUE4},
    {"unsigned long", OPAQUE8},
    {"OpaqueType<1u>", OPAQUE1},
    {"OpaqueType<2u>", OPAQUE2},
    {"OpaqueType<4u>", OPAQUE4},
    {"OpaqueType<8u>", OPAQUE8},
    {"OpaqueType<16u>", OPAQUE16},
};

element phantom_element_of(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strlen(NAMES[i].name) == length && !strncmp(NAMES[i].name, name, length)) return NAMES[i].type;
    return NO_ELEMENT;
}

size_t phantom_element_bytes(element type) {
    switch (type) {
    case UINT8:
    case INT8:
    case BOOL:
    case OPAQUE1: return 1;
    case INT16:
    case HALF:
    case BFLOAT16:
    case OPAQUE2: return 2;
    case INT32:
    case FLOAT:
    case COMPLEX_HALF:
    case OPAQUE4: return 4;
    case INT64:
    case DOUBLE:
    case COMPLEX_FLOAT:
    case OPAQUE8: return 8;
    case COMPLEX_DOUBLE:
    case OPAQUE16: return 16;
    default: return 0;
    }
}

bool phantom_is_number(element type) { return type <= DOUBLE || type == BOOL || type == BFLOAT16; }

element phantom_operating_type(element type) { return type == HALF || type == BFLOAT16 ? FLOAT : type; }

double phantom_as_real(number value) { return value.is_real ? value.real : (double)value.whole; }

/* ---- half and bfloat16 ---- */

static double from_half(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 31 ? (fraction ? __builtin_nan("") : __builtin_inf())
                  : exponent     ? __builtin_ldexp(1024 + fraction, exponent - 25)
                                 : __builtin_ldexp(fraction, -24);
    return bits >> 15 ? -size : size;
}

static uint16_t to_half(double value) {
    uint16_t sign = __builtin_signbit(value) ? 0x8000 : 0;
    double size = __builtin_fabs(value);
    if (size != size) return sign | 0x7e00;
    if (size >= 65520) return sign | 0x7c00; /* rounds to more than the largest half, 65504 */
    int exponent = -14;
    if (size >= __builtin_ldexp(1, -14)) exponent = __builtin_ilogb(size);
    /* In units of the last place; a carry into the exponent gives the next half. */
    double units = __builtin_rint(__builtin_ldexp(size, 10 - exponent));
    return sign | (uint16_t)((exponent + 14) * 1024 + (int)units);
}

static float from_bfloat16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static uint16_t to_bfloat16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* ---- loading and storing ---- */

#define LOAD(c_type, field, real_one)                                                                                  \
    {                                                                                                                  \
        c_type value;                                                                                                  \
        memcpy(&value, from, sizeof value);                                                                            \
        return (number){.field = value, .is_real = real_one};                                                          \
    }

number phantom_load(element type, const char *from) {
    uint16_t bits;
    switch (type) {
    case UINT8: LOAD(uint8_t, whole, false)
    case INT8: LOAD(int8_t, whole, false)
    case INT16: LOAD(int16_t, whole, false)
    case INT32: LOAD(int32_t, whole, false)
    case INT64: LOAD(int64_t, whole, false)
    case FLOAT: LOAD(float, real, true)
    case DOUBLE: LOAD(double, real, true)
    case BOOL: return (number){.whole = *from != 0};
    default: break;
    }
    memcpy(&bits, from, sizeof bits);
    return (number){.real = type == HALF ? from_half(bits) : from_bfloat16(bits), .is_real = true};
}

#define STORE(c_type, from)                                                                                            \
    {                                                                                                                  \
        c_type stored = (c_type)(from);                                                                                \
        memcpy(to, &stored, sizeof stored);                                                                            \
        return;                                                                                                        \
    }

/* A float outside the range of an integer has no value in C; the device saturates. */
static int64_t to_whole(number value) {
    if (!value.is_real) return value.whole;
    if (value.real != value.real) return 0;
    if (value.real >= 9223372036854775808.0) return INT64_MAX;
    return value.real <= -9223372036854775808.0 ? INT64_MIN : (int64_t)value.real;
}

void phantom_store(element type, char *to, number value) {
    switch (type) {
    case UINT8: STORE(uint8_t, to_whole(value))
    case INT8: STORE(int8_t, to_whole(value))
    case INT16: STORE(int16_t, to_whole(value))
    case INT32: STORE(int32_t, to_whole(value))
    case INT64: STORE(int64_t, to_whole(value))
    case FLOAT: STORE(float, phantom_as_real(value))
    case DOUBLE: STORE(double, phantom_as_real(value))
    case BOOL: *to = value.is_real ? value.real != 0 : value.whole != 0; return;
    case HALF: STORE(uint16_t, to_half((float)phantom_as_real(value)))
    case BFLOAT16: STORE(uint16_t, to_bfloat16((float)phantom_as_real(value)))
    default: return;
    }
}
