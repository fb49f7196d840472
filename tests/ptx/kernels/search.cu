// Searches with much shuffling and recurrences through shared memory.
#include "kernels.h"

// Scale and minimum of blocks of 32 weights, the best of 22 grids by weighted error; a warp a block.
extern "C" __global__ void q4k_search(const float* __restrict__ x, const float* __restrict__ w,
                                      float* __restrict__ scale, float* __restrict__ mins,
                                      unsigned char* __restrict__ q, int blocks) {
  const int b = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, lane = threadIdx.x & 31;
  if (b >= blocks) return;
  const float v = x[b * 32 + lane], wt = w[b * 32 + lane];
  const float mn = fminf(warp_min(v), 0.f), mx = warp_max(v);
  const float sw = warp_sum(wt), sx = warp_sum(wt * v);
  float best = 3.4e38f, bs = 0.f, bm = mn;
  if (mx > mn) for (int is = -1; is <= 20; ++is) {
    const float isc = (is < 0 ? 15.f : (-0.9f + 0.1f * is + 15.f)) / (mx - mn);
    const float l = fminf(fmaxf(rintf(isc * (v - mn)), 0.f), 15.f);
    const float sl = warp_sum(wt * l), sl2 = warp_sum(wt * l * l), sxl = warp_sum(wt * l * v);
    const float det = sw * sl2 - sl * sl;
    if (det <= 0.f) continue;
    float s = (sw * sxl - sx * sl) / det, m = (sl2 * sx - sl * sxl) / det;
    if (m > 0.f) { m = 0.f; s = sxl / sl2; }
    const float e = s * l + m - v, err = warp_sum(wt * e * e);
    if (err < best) { best = err; bs = s; bm = m; }
  }
  q[b * 32 + lane] = (unsigned char)fminf(fmaxf(bs > 0.f ? rintf((v - bm) / bs) : 0.f, 0.f), 15.f);
  if (lane == 0) { scale[b] = bs; mins[b] = -bm; }
}

// Columns c0..c0+nb of GPTQ: round one, spread its error over the rest; a thread a row.
extern "C" __global__ void gptq_block(float* __restrict__ w, const float* __restrict__ u,
                                      const float* __restrict__ sc, float* __restrict__ err, int rows, int n, int c0,
                                      int nb) {
  extern __shared__ float su[];
  for (int i = threadIdx.x; i < nb * nb; i += blockDim.x) su[i] = u[(size_t)(c0 + i / nb) * n + c0 + i % nb];
  __syncthreads();
  const int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  float* wr = w + (size_t)r * n + c0;
  const float s = sc[r];
  for (int i = 0; i < nb; ++i) {
    const float q = s * fminf(fmaxf(rintf(wr[i] / s), -8.f), 7.f), e = (wr[i] - q) / su[i * nb + i];
    for (int j = i + 1; j < nb; ++j) wr[j] = fmaf(-e, su[i * nb + j], wr[j]);
    wr[i] = q;
    err[(size_t)r * nb + i] = e;
  }
}
