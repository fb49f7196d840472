// Kernels of the kinds that planish runs, as test material for the interpreter.
#include "kernels.h"

// H[n,n] += alpha X^T X, X[m,n] bf16 row by row. A tile of 32x32, 16x16 threads, 2x2 values a thread.
extern "C" __global__ void __launch_bounds__(256)
xtx_bf16(const u16* __restrict__ x, float* __restrict__ h, int m, int n, float alpha) {
  if (blockIdx.y > blockIdx.x) return;
  __shared__ float sa[16][33];
  __shared__ float sb[16][33];
  const int tx = threadIdx.x, ty = threadIdx.y, t = ty * 16 + tx;
  const int r0 = blockIdx.y * 32, c0 = blockIdx.x * 32;
  float acc[2][2] = {{0.f, 0.f}, {0.f, 0.f}};
  for (int k0 = 0; k0 < m; k0 += 16) {
    for (int i = t; i < 16 * 32; i += 256) {
      const int kk = i >> 5, j = i & 31, k = k0 + kk;
      sa[kk][j] = (k < m && r0 + j < n) ? from_bf16(x[(size_t)k * n + r0 + j]) : 0.f;
      sb[kk][j] = (k < m && c0 + j < n) ? from_bf16(x[(size_t)k * n + c0 + j]) : 0.f;
    }
    __syncthreads();
#pragma unroll
    for (int kk = 0; kk < 16; ++kk) {
      const float a0 = sa[kk][ty], a1 = sa[kk][ty + 16];
      const float b0 = sb[kk][tx], b1 = sb[kk][tx + 16];
      acc[0][0] = fmaf(a0, b0, acc[0][0]); acc[0][1] = fmaf(a0, b1, acc[0][1]);
      acc[1][0] = fmaf(a1, b0, acc[1][0]); acc[1][1] = fmaf(a1, b1, acc[1][1]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int r = r0 + ty + 16 * i, c = c0 + tx + 16 * j;
      if (r < n && c < n) {
        const float v = alpha * acc[i][j];
        h[(size_t)r * n + c] += v;
        if (blockIdx.y != blockIdx.x) h[(size_t)c * n + r] += v;
      }
    }
}

// out[c] = inv_m sum_r |x[r,c]|, a warp a channel.
extern "C" __global__ void absmean_f16(const u16* __restrict__ x, float* __restrict__ out, int m, int n, float inv_m) {
  const int warp = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, lane = threadIdx.x & 31;
  if (warp >= n) return;
  float s = 0.f;
  for (int r = lane; r < m; r += 32) s += fabsf(from_f16(x[(size_t)r * n + warp]));
  s = warp_sum(s);
  if (lane == 0) out[warp] = s * inv_m;
}

// out[c] += sum_r x[r,c]^2, with atomics over blocks of rows.
extern "C" __global__ void
sumsq_bf16(const u16* __restrict__ x, float* __restrict__ out, int m, int n, int rows_per_block) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  const int r0 = blockIdx.y * rows_per_block, r1 = min(m, r0 + rows_per_block);
  if (c >= n) return;
  float s = 0.f;
  for (int r = r0; r < r1; ++r) { const float v = from_bf16(x[(size_t)r * n + c]); s = fmaf(v, v, s); }
  atomicAdd(&out[c], s);
}

// Groups of 128: asymmetric 4 bits there and back, and the weighted error of a row.
extern "C" __global__ void qdq_error_bf16(const u16* __restrict__ w, const float* __restrict__ s,
                                          const float* __restrict__ xsq, float* __restrict__ err,
                                          u16* __restrict__ wq, int n) {
  __shared__ float smin[4], smax[4], serr[4];
  const int g = blockIdx.x, row = blockIdx.y, t = threadIdx.x, lane = t & 31, wid = t >> 5;
  const int c = g * 128 + t;
  const float sc = s[c];
  const float v0 = from_bf16(w[(size_t)row * n + c]);
  const float v = v0 * sc;
  float mn = warp_min(v), mx = warp_max(v);
  if (lane == 0) { smin[wid] = mn; smax[wid] = mx; }
  __syncthreads();
  mn = fminf(fminf(smin[0], smin[1]), fminf(smin[2], smin[3]));
  mx = fmaxf(fmaxf(smax[0], smax[1]), fmaxf(smax[2], smax[3]));
  const float d = fmaxf(mx - mn, 1e-5f) / 15.f;
  const float z = fminf(fmaxf(-rintf(mn / d), 0.f), 15.f);
  const float q = fminf(fmaxf(rintf(v / d) + z, 0.f), 15.f);
  const float dq = (q - z) * d / sc;
  wq[(size_t)row * n + c] = to_bf16(dq);
  const float e = dq - v0;
  const float es = warp_sum(e * e * xsq[c]);
  if (lane == 0) serr[wid] = es;
  __syncthreads();
  if (t == 0) atomicAdd(&err[row], serr[0] + serr[1] + serr[2] + serr[3]);
}

// KL(softmax p || softmax q) of each row of logits.
extern "C" __global__ void
kld_rows(const float* __restrict__ p, const float* __restrict__ q, float* __restrict__ out, int v) {
  extern __shared__ float sh[];
  const int t = threadIdx.x, lane = t & 31, wid = t >> 5, nw = blockDim.x >> 5;
  const float* pr = p + (size_t)blockIdx.x * v;
  const float* qr = q + (size_t)blockIdx.x * v;
  float mp = -INF, mq = -INF;
  for (int i = t; i < v; i += blockDim.x) { mp = fmaxf(mp, pr[i]); mq = fmaxf(mq, qr[i]); }
  mp = warp_max(mp); mq = warp_max(mq);
  if (lane == 0) { sh[wid] = mp; sh[nw + wid] = mq; }
  __syncthreads();
  for (int i = 0; i < nw; ++i) { mp = fmaxf(mp, sh[i]); mq = fmaxf(mq, sh[nw + i]); }
  __syncthreads();
  float sp = 0.f, sq = 0.f, dot = 0.f;
  for (int i = t; i < v; i += blockDim.x) {
    const float e = expf(pr[i] - mp);
    sp += e; sq += expf(qr[i] - mq); dot += e * (pr[i] - qr[i]);
  }
  sp = warp_sum(sp); sq = warp_sum(sq); dot = warp_sum(dot);
  if (lane == 0) { sh[wid] = sp; sh[nw + wid] = sq; sh[2 * nw + wid] = dot; }
  __syncthreads();
  if (t == 0) {
    sp = sq = dot = 0.f;
    for (int i = 0; i < nw; ++i) { sp += sh[i]; sq += sh[nw + i]; dot += sh[2 * nw + i]; }
    out[blockIdx.x] = dot / sp - (mp + logf(sp)) + (mq + logf(sq));
  }
}
