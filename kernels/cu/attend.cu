// Attention over whole sequences: a block of 8 warps takes 8 queries of one head, a warp each, and goes over the keys 32
// at a time with a running softmax (Milakov and Gimelshein 2018, arXiv 1805.02867).
//
// Keys are staged in shared memory 32 elements at a time, for all 8 queries. A score is a sum of products by fmaf in the
// order of the elements; scores are then scaled, capped, lowered by distance and biased as on the processor. The maximum
// and the sum over 32 keys are butterflies of shuffles. When a tile raises the maximum, what was summed is multiplied by
// e^(old - new).

#include "common.cuh"


extern "C" __global__ void attend(const float *q, const float *k, const float *v, float *out, const float *slopes,
                                  const float *sinks, const float *bias, const u32 *lengths, u32 queries, u32 keys,
                                  u32 heads, u32 kv_heads, u32 dim, u32 value_dim, u32 causal, u32 window, float scale,
                                  float cap) {
    extern __shared__ float room[];
    __shared__ float tile[32][33];
    u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u32 first = blockIdx.x * 8, head = blockIdx.y, sequence = blockIdx.z, kv = head / (heads / kv_heads);
    u32 t = first + warp;
    int mine = t < queries;
    float *query = room + warp * dim, *sum = room + 8 * dim + warp * value_dim;
    for (u32 d = lane; d < dim; d += 32)
        query[d] = mine ? q[((u64)(sequence * queries + t) * heads + head) * dim + d] : 0.0f;
    for (u32 d = lane; d < value_dim; d += 32) sum[d] = 0.0f;
    __syncwarp();
    u32 seen = lengths ? lengths[sequence] : keys;
    u32 end = causal && first + 8 < seen ? first + 8 : seen;
    u32 start = window && first + 1 > window ? (first + 1 - window) / 32 * 32 : 0;
    float slope = slopes ? slopes[head] : 0.0f, sink = sinks ? sinks[head] : -INFINITE;
    float most = sink, total = sinks ? 1.0f : 0.0f;
    u64 key_base = (u64)sequence * keys;
    for (u32 from = start; from < end; from += 32) {
        u32 u = from + lane;
        float score = 0.0f;
        for (u32 d = 0; d < dim; d += 32) {
            __syncthreads();
            for (u32 row = warp; row < 32; row += 8) {
                int there = from + row < end && d + lane < dim;
                tile[row][lane] = there ? k[((key_base + from + row) * kv_heads + kv) * dim + d + lane] : 0.0f;
            }
            __syncthreads();
            u32 depth = dim - d < 32 ? dim - d : 32;
            for (u32 e = 0; e < depth; e++) score = fmaf(query[d + e], tile[lane][e], score);
        }
        int visible = mine && u < end && (!causal || u <= t) && (!window || u + window > t);
        score = score * scale;
        if (cap > 0.0f) score = capped(score, cap);
        if (slopes) score = score - slope * (float)(int)(t - u);
        if (bias && visible) score = score + bias[(u64)head * (queries + keys - 1) + u + queries - 1 - t];
        score = visible ? score : -INFINITE;
        float peak = score;
        for (u32 step = 16; step > 0; step >>= 1) peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, step));
        float next = fmaxf(most, peak);
        // Nothing seen yet: everything stays 0.
        float keep = most == -INFINITE ? 0.0f : exponential(most - next);
        float p = visible ? exponential(score - next) : 0.0f;
        float part = p;
        for (u32 step = 16; step > 0; step >>= 1) part = part + __shfl_xor_sync(0xffffffffu, part, step);
        total = total * keep + part;
        most = next;
        u32 count = end - from < 32 ? end - from : 32;
        for (u32 d = lane; d - lane < value_dim; d += 32) {
            float a = d < value_dim ? sum[d] * keep : 0.0f;
            for (u32 j = 0; j < count; j++) {
                float weight = __shfl_sync(0xffffffffu, p, j);
                if (d < value_dim) a = fmaf(weight, v[((key_base + from + j) * kv_heads + kv) * value_dim + d], a);
            }
            if (d < value_dim) sum[d] = a;
        }
    }
    if (!mine) return;
    float *to = out + ((u64)(sequence * queries + t) * heads + head) * value_dim;
    for (u32 d = lane; d < value_dim; d += 32) to[d] = sum[d] / total;
}
