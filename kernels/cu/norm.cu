// Normalisation of pieces of rows: one block of 256 threads a piece.
//
// Sums are in f64: each thread adds every 256th element, then the 256 partial sums are added as a tree.

#include "common.cuh"

__device__ double total(double part, double *parts) {
    parts[threadIdx.x] = part;
    __syncthreads();
    for (u32 step = 128; step > 0; step >>= 1) {
        if (threadIdx.x < step) parts[threadIdx.x] = parts[threadIdx.x] + parts[threadIdx.x + step];
        __syncthreads();
    }
    double sum = parts[0];
    __syncthreads();
    return sum;
}

// With `centred`, the mean is taken off. `weight` and `bias` are one row, or null.
extern "C" __global__ void norm(const float *x, const float *weight, const float *bias, float *out, u32 width, float eps,
                                u32 centred) {
    __shared__ double parts[256];
    const float *row = x + (u64)blockIdx.x * width;
    float *to = out + (u64)blockIdx.x * width;
    double mean = 0.0, sum = 0.0;
    if (centred) {
        for (u32 i = threadIdx.x; i < width; i += 256) sum = sum + (double)row[i];
        mean = total(sum, parts) / (double)width;
        sum = 0.0;
    }
    for (u32 i = threadIdx.x; i < width; i += 256) {
        double v = (double)row[i] - mean;
        sum = sum + v * v;
    }
    double scale = 1.0 / sqrt(total(sum, parts) / (double)width + (double)eps);
    for (u32 i = threadIdx.x; i < width; i += 256) {
        float y = centred ? (float)(((double)row[i] - mean) * scale) : row[i] * (float)scale;
        if (weight) y = y * weight[i];
        if (bias) y = y + bias[i];
        to[i] = y;
    }
}
