// Values into one, or with numbers, element by element; casts; and rows moved about.
//
// The arithmetic is that of kernels/src/cpu/combine.rs and act.rs, operation by operation: results are the same bits.

#include "common.cuh"

extern "C" __global__ void add(float *x, const float *y, u64 n) {
    EACH(i, n) x[i] = x[i] + y[i];
}

extern "C" __global__ void multiply(float *x, const float *y, u64 n) {
    EACH(i, n) x[i] = x[i] * y[i];
}

extern "C" __global__ void multiply_rows(float *x, const float *by, u64 n, u32 width) {
    EACH(i, n) x[i] = x[i] * by[i / width] + 0.0f;
}

extern "C" __global__ void multiply_columns(float *x, const float *by, u64 n, u32 width) {
    EACH(i, n) x[i] = x[i] * by[i % width];
}

extern "C" __global__ void add_columns(float *x, const float *by, u64 n, u32 width) {
    EACH(i, n) x[i] = x[i] + by[i % width];
}

extern "C" __global__ void affine(float *x, u64 n, float scale, float shift) {
    EACH(i, n) x[i] = x[i] * scale + shift;
}

extern "C" __global__ void clamp(float *x, u64 n, float low, float high) {
    EACH(i, n) {
        float v = x[i];
        v = v < low ? low : v;
        x[i] = v > high ? high : v;
    }
}

extern "C" __global__ void softcap(float *x, u64 n, float cap) {
    EACH(i, n) x[i] = capped(x[i], cap);
}

// 1 - erf(z), z >= 0.
__device__ __forceinline__ float complement(float z) {
    float t = 1.0f / (1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.4885159f;
    p = p * t - 1.135204f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.0000237f;
    p = p * t - 1.2655122f;
    return t * exponential(p - z * z);
}

// 0 silu, 1 gelu, 2 gelu by tanh, 3 quick gelu, 4 relu, 5 sigmoid.
extern "C" __global__ void activate(float *x, u64 n, u32 kind) {
    EACH(i, n) {
        float v = x[i], y;
        if (kind == 0) {
            y = v / (1.0f + exponential(-v));
        } else if (kind == 1) {
            float tail = 0.5f * v * complement(fabsf(v) * 0.70710678118654752440f);
            y = v < 0.0f ? tail : v - tail;
        } else if (kind == 2) {
            float u = 1.5957692f * (v + 0.044715f * v * v * v);
            y = v / (1.0f + exponential(-u));
        } else if (kind == 3) {
            y = v / (1.0f + exponential(-1.702f * v));
        } else if (kind == 4) {
            y = v < 0.0f ? 0.0f : v;
        } else {
            y = 1.0f / (1.0f + exponential(-v));
        }
        x[i] = y;
    }
}

extern "C" __global__ void slice(const float *x, float *out, u64 n, u32 per, u32 from, u32 take) {
    EACH(i, n) out[i] = x[i / take * per + from + i % take];
}

// Pieces of a and b in turn. One piece of b serves `share` of a.
extern "C" __global__ void join(const float *a, const float *b, float *out, u64 n, u32 wide, u32 narrow, u32 share) {
    EACH(i, n) {
        u64 piece = i / (wide + narrow);
        u32 at = (u32)(i % (wide + narrow));
        out[i] = at < wide ? a[piece * wide + at] : b[piece / share * narrow + at - wide];
    }
}

extern "C" __global__ void gather(const float *x, const u32 *rows, float *out, u64 n, u32 width) {
    EACH(i, n) out[i] = x[(u64)rows[i / width] * width + i % width];
}

extern "C" __global__ void scatter(const float *x, const u32 *rows, float *out, u64 n, u32 width) {
    EACH(i, n) out[(u64)rows[i / width] * width + i % width] = x[i];
}

extern "C" __global__ void gather_bf16(const u16 *x, const u32 *rows, float *out, u64 n, u32 width) {
    EACH(i, n) out[i] = from_bf16(x[(u64)rows[i / width] * width + i % width]);
}

extern "C" __global__ void widen(const u16 *x, float *out, u64 n) {
    EACH(i, n) out[i] = from_bf16(x[i]);
}

extern "C" __global__ void narrow(const float *x, u16 *out, u64 n) {
    EACH(i, n) out[i] = to_bf16(x[i]);
}
