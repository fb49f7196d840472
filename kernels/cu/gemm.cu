// Products where cuBLAS is not there: tiles of 64 x 64 by 256 threads, 16 elements of the depth at a time in shared memory.
//
// A thread sums 4 x 4 elements by fmaf in the order of the depth: an element depends on its row and its column alone, not on
// how many are multiplied at once.

#include "common.cuh"

__device__ __forceinline__ float element(const float *w, u64 at) { return w[at]; }
__device__ __forceinline__ float element(const u16 *w, u64 at) { return from_bf16(w[at]); }

// out[m, n] = x[m, k] w[n, k]^T + bias[n].
template <class T>
__device__ __forceinline__ void multiply_tile(const float *x, const T *w, const float *bias, float *out, u32 m, u32 n, u32 k) {
    __shared__ float a[16][65], b[16][65];
    u32 row = blockIdx.y * 64, column = blockIdx.x * 64, tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
    float sum[4][4] = {};
    for (u32 from = 0; from < k; from += 16) {
        for (u32 i = ty; i < 64; i += 16) {
            u32 d = from + tx;
            a[tx][i] = row + i < m && d < k ? x[(u64)(row + i) * k + d] : 0.0f;
            b[tx][i] = column + i < n && d < k ? element(w, (u64)(column + i) * k + d) : 0.0f;
        }
        __syncthreads();
        #pragma unroll
        for (u32 d = 0; d < 16; d++) {
            float l[4], r[4];
            #pragma unroll
            for (u32 i = 0; i < 4; i++) l[i] = a[d][ty * 4 + i], r[i] = b[d][tx + 16 * i];
            #pragma unroll
            for (u32 i = 0; i < 4; i++)
                #pragma unroll
                for (u32 j = 0; j < 4; j++) sum[i][j] = fmaf(l[i], r[j], sum[i][j]);
        }
        __syncthreads();
    }
    #pragma unroll
    for (u32 i = 0; i < 4; i++)
        #pragma unroll
        for (u32 j = 0; j < 4; j++) {
            u32 r = row + ty * 4 + i, c = column + tx + 16 * j;
            if (r < m && c < n) out[(u64)r * n + c] = bias ? sum[i][j] + bias[c] : sum[i][j];
        }
}

extern "C" __global__ void __launch_bounds__(256) gemm_f32(const float *x, const float *w, const float *bias, float *out,
                                                           u32 m, u32 n, u32 k) {
    multiply_tile(x, w, bias, out, m, n, k);
}

extern "C" __global__ void __launch_bounds__(256) gemm_bf16(const float *x, const u16 *w, const float *bias, float *out,
                                                            u32 m, u32 n, u32 k) {
    multiply_tile(x, w, bias, out, m, n, k);
}

// h[n, n] += x[tokens, n]^T x, on and below the diagonal. Tokens are summed from 0, and the sum is added to what is there.
extern "C" __global__ void __launch_bounds__(256) syrk(const float *x, float *h, u32 tokens, u32 n) {
    __shared__ float a[16][65], b[16][65];
    u32 row = blockIdx.y * 64, column = blockIdx.x * 64, tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
    if (column > row) return;
    float sum[4][4] = {};
    for (u32 from = 0; from < tokens; from += 16) {
        for (u32 i = threadIdx.x & 63, d = threadIdx.x >> 6; d < 16; d += 4) {
            int there = from + d < tokens;
            a[d][i] = there && row + i < n ? x[(u64)(from + d) * n + row + i] : 0.0f;
            b[d][i] = there && column + i < n ? x[(u64)(from + d) * n + column + i] : 0.0f;
        }
        __syncthreads();
        #pragma unroll
        for (u32 d = 0; d < 16; d++) {
            float l[4], r[4];
            #pragma unroll
            for (u32 i = 0; i < 4; i++) l[i] = a[d][ty * 4 + i], r[i] = b[d][tx + 16 * i];
            #pragma unroll
            for (u32 i = 0; i < 4; i++)
                #pragma unroll
                for (u32 j = 0; j < 4; j++) sum[i][j] = fmaf(l[i], r[j], sum[i][j]);
        }
        __syncthreads();
    }
    #pragma unroll
    for (u32 i = 0; i < 4; i++)
        #pragma unroll
        for (u32 j = 0; j < 4; j++) {
            u32 r = row + ty * 4 + i, c = column + tx + 16 * j;
            if (r < n && c <= r) h[(u64)r * n + c] = h[(u64)r * n + c] + sum[i][j];
        }
}
