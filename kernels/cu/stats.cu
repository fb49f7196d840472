// What calibration keeps of a value: sums by channel over the tokens of a sequence, in f64.
//
// One thread a channel and sequence adds its tokens in order. A square of f32 is exact in f64, so these are the bits that
// the processor gets; what is added over sequences is added there, exactly.

#include "common.cuh"

// out[sequences, width] of x[sequences * rows, width].
extern "C" __global__ void sum_squares(const float *x, double *out, u64 n, u32 width, u32 rows) {
    EACH(i, n) {
        const float *at = x + i / width * rows * width + i % width;
        double sum = 0.0;
        for (u32 row = 0; row < rows; row++) {
            double v = (double)at[(u64)row * width];
            sum = sum + v * v;
        }
        out[i] = sum;
    }
}

extern "C" __global__ void sum_magnitudes(const float *x, double *out, u64 n, u32 width, u32 rows) {
    EACH(i, n) {
        const float *at = x + i / width * rows * width + i % width;
        double sum = 0.0;
        for (u32 row = 0; row < rows; row++) sum = sum + (double)fabsf(at[(u64)row * width]);
        out[i] = sum;
    }
}
