// What the kernels share. No CUDA header is used: the compiler alone is enough.
//
// Everything is compiled without contraction (--fmad=false): a * b + c is two roundings, as on the processor, and fmaf
// is one, where it is written. Sums run in an order that the shape decides; no atomics.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define INFINITE __int_as_float(0x7f800000)

// e^x as the processor has it (kernels/src/cpu/exp.rs): the same operations in the same order, so the same bits.
__device__ __forceinline__ float exponential(float x) {
    const float round = 12582912.0f;
    x = x > 89.0f ? 89.0f : x;
    x = x < -105.0f ? -105.0f : x;
    float shifted = x * 1.44269504088896340736f + round;
    float n = shifted - round;
    float r = x - n * 0.6933594f + n * 2.1219444e-4f;
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 0.5f;
    float y = p * (r * r) + r + 1.0f;
    int power = __float_as_int(shifted) - __float_as_int(round);
    int half = power >> 1;
    return y * __int_as_float((half + 127) << 23) * __int_as_float((power - half + 127) << 23);
}

// e^x in f64 for x <= 0, the same way.
__device__ __forceinline__ double exponential_down(double x) {
    const double round = 6755399441055744.0;
    x = x < -708.0 ? -708.0 : x;
    double shifted = x * 1.4426950408889634 + round;
    double n = shifted - round;
    double r = x - n * 6.931471803691238e-1 - n * 1.9082149292705877e-10;
    double p = 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    double y = p * (r * r) + r + 1.0;
    long long power = __double_as_longlong(shifted) - __double_as_longlong(round);
    return y * __longlong_as_double((power + 1023) << 52);
}

// cap * tanh(x / cap).
__device__ __forceinline__ float capped(float x, float cap) {
    return cap - 2.0f * cap / (1.0f + exponential(2.0f * x / cap));
}

__device__ __forceinline__ float from_bf16(u16 bits) {
    return __int_as_float((int)bits << 16);
}

// To nearest, ties to even. NaN does not come here: weights are checked when they are read.
__device__ __forceinline__ u16 to_bf16(float x) {
    u32 bits = (u32)__float_as_int(x);
    return (u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

__device__ __forceinline__ float from_f16(u16 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

__device__ __forceinline__ u16 to_f16(float x) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Every element once, whatever the grid.
#define EACH(i, n) \
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (u64)gridDim.x * blockDim.x)
