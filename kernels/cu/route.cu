// Which experts a token goes to, and the weighted sum of what they say: one thread a token.
//
// The order of all sums and comparisons is that of kernels/src/cpu/route.rs, so the same experts are chosen.

#include "common.cuh"

// The first of the largest; NaN counts as less than all.
__device__ u32 best_of(const float *x, u32 n) {
    u32 best = 0;
    for (u32 i = 1; i < n; i++)
        if (!(x[best] == x[best]) || x[i] > x[best]) best = i;
    return best;
}

// `room` has 2 experts + groups numbers for each row.
extern "C" __global__ void route(const float *logits, const float *bias, float *room, float *out, u32 rows, u32 experts,
                                 u32 top, u32 sigmoid, u32 groups, u32 top_groups, u32 group_best, u32 normalise,
                                 float scale) {
    const float taken = __int_as_float(0x7fc00000);
    EACH(row, rows) {
        const float *x = logits + row * experts;
        float *scores = room + row * (2 * experts + groups), *chosen = scores + experts, *best = chosen + experts;
        if (sigmoid) {
            for (u32 i = 0; i < experts; i++) scores[i] = 1.0f / (1.0f + exponential(-x[i]));
        } else {
            float most = -INFINITE, sum = 0.0f;
            for (u32 i = 0; i < experts; i++) most = x[i] > most ? x[i] : most;
            for (u32 i = 0; i < experts; i++) {
                scores[i] = exponential(x[i] - most);
                sum = sum + scores[i];
            }
            for (u32 i = 0; i < experts; i++) scores[i] = scores[i] / sum;
        }
        for (u32 i = 0; i < experts; i++) chosen[i] = bias ? scores[i] + bias[i] : scores[i];
        if (top_groups < groups) {
            u32 of = experts / groups;
            for (u32 g = 0; g < groups; g++) {
                float *group = chosen + g * of;
                u32 a = best_of(group, of);
                float sum = group[a];
                if (group_best > 1) {
                    float first = group[a];
                    group[a] = taken;
                    sum = sum + group[best_of(group, of)];
                    group[a] = first;
                }
                best[g] = sum;
            }
            // A group that is kept is marked by NaN; the others are closed.
            for (u32 i = 0; i < top_groups; i++) best[best_of(best, groups)] = taken;
            for (u32 g = 0; g < groups; g++)
                if (best[g] == best[g])
                    for (u32 i = 0; i < of; i++) chosen[g * of + i] = -INFINITE;
        }
        float *numbers = out + row * 2 * top, *weights = numbers + top;
        float sum = 0.0f;
        for (u32 j = 0; j < top; j++) {
            u32 expert = best_of(chosen, experts);
            chosen[expert] = taken;
            numbers[j] = (float)expert;
            weights[j] = scores[expert];
            sum = sum + scores[expert];
        }
        float divisor = normalise ? sum + 1e-20f : 1.0f;
        for (u32 j = 0; j < top; j++) weights[j] = weights[j] / divisor * scale;
    }
}

// out[rows, width]: the slots of each row of x[rows, top * width], each times its weight, in order.
extern "C" __global__ void mix(const float *x, const float *route, float *out, u64 n, u32 top, u32 width) {
    EACH(i, n) {
        u64 row = i / width, column = i % width;
        float sum = 0.0f;
        for (u32 j = 0; j < top; j++) sum = sum + x[(row * top + j) * width + column] * route[row * 2 * top + top + j];
        out[i] = sum;
    }
}
