// The healthy twins of the planted errors, each of which changes one line.
#include "kernels.h"

// A sum of a row through shared memory: written, a barrier, read, a barrier, written again.
extern "C" __global__ void rows(const float* x, float* out, int m, int n) {
  __shared__ float tile[128];
  const int t = threadIdx.x;
  float s = 0.f;
  for (int r = 0; r < m; ++r) {
    tile[t] = t < n ? x[r * n + t] : 0.f;
    __syncthreads();
    s += tile[127 - t];
    __syncthreads();
  }
  out[blockIdx.x * 128 + t] = s;
}

// The smallest and largest of a block.
extern "C" __global__ void range(const float* x, float* out, int n) {
  __shared__ float low[4], high[4];
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5, i = blockIdx.x * 128 + t;
  const float v = i < n ? x[i] : 0.f;
  const float a = warp_min(v), b = warp_max(v);
  if (lane == 0) { low[warp] = a; high[warp] = b; }
  __syncthreads();
  if (t == 0) {
    out[2 * blockIdx.x] = fminf(fminf(low[0], low[1]), fminf(low[2], low[3]));
    out[2 * blockIdx.x + 1] = fmaxf(fmaxf(high[0], high[1]), fmaxf(high[2], high[3]));
  }
}

// Sums of columns over blocks of rows.
extern "C" __global__ void columns(const float* x, float* out, int m, int n) {
  const int c = threadIdx.x, r0 = blockIdx.x * 8;
  if (c >= n) return;
  float s = 0.f;
  for (int r = r0; r < min(m, r0 + 8); ++r) s += x[r * n + c];
  atomicAdd(&out[c], s);
}

// Rounding to a grid.
extern "C" __global__ void round_to(const float* x, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = rintf(x[i] * 4.f) * 0.25f;
}

// Lanes hand values on through shared memory, inside one warp.
extern "C" __global__ void neighbours(const float* x, float* out) {
  __shared__ float tile[32];
  const int t = threadIdx.x;
  tile[t] = x[t];
  __syncwarp();
  out[t] = tile[(t + 1) & 31];
}

// Four values at once.
extern "C" __global__ void quads(const float4* x, float4* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = x[i];
}
