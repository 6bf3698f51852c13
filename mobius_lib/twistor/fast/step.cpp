// What stands between the matrix products of one step of a TwistorTitansCell, forward and backward, in float32.
// `step.py` calls these; `unroll.py` says the same in torch. Rows are independent: one thread takes several.
//
// Names as there: gates (rows, 4 width) i, f, o, g; z the state before, z1 after the gates, z2 after the evolution, z3
// after the turn. A pointer may be null where the cell lacks the part.

#include "turn.h"
#include "vector.h"

extern "C" {

// logits: the state's part of those of the gates, drive: the input's part. Fills gates (the activations), z1 and, where
// the cell evolves, squash (rows).
void gate_forward(int64_t rows, int64_t width, int threads, const float* logits, const float* drive, float* gates,
                  const float* z, float* z1, const float* surprise, float rate, float root, float* squash) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        float *__restrict i = gates + row * 4 * width, *__restrict f = i + width, *__restrict o = f + width,
              *__restrict g = o + width;
        const float* __restrict before = z + row * width;
        float* __restrict after = z1 + row * width;
        const float *__restrict x = drive + row * 4 * width, *__restrict y = logits + row * 4 * width;
        for (int64_t k = 0; k < 3 * width; ++k) i[k] = sigmoid(x[k] + y[k]);  // i, f and o
        for (int64_t k = 0; k < width; ++k) g[k] = tangent(x[3 * width + k] + y[3 * width + k]);
        for (int64_t k = 0; k < width; ++k) after[k] = f[k] * before[k] + i[k] * g[k];
        if (squash) {
            float sum = 0;
            if (surprise) {
#pragma omp simd reduction(+ : sum)
                for (int64_t k = 0; k < width; ++k) sum += std::fabs(g[k] - before[k]) * surprise[k];
            }
            squash[row] = sigmoid(sum / root + rate);
        }
    }
}

// logits: those of the fast network; base: what the held directions of the others give. Fills fast (the network's
// output), direction, z2 (which may be z1 where nothing evolves), z3 (which may be z2 where nothing turns) and hidden.
void turn_forward(int64_t rows, int64_t width, int threads, const float* gates, const float* z1, const float* logits,
                  float* fast, float mix, const float* base, const float* squash, float least, float span,
                  float* direction, float* z2, const float* matrix, float* z3, float* hidden) {
    const int64_t n = width / 4;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float* __restrict one = z1 + row * width;
        float* two = z2 + row * width;
        float* three = z3 + row * width;
        if (direction) {
            float* __restrict d = direction + row * width;
            const float r = least + span * squash[row];
            if (fast) {
                float* __restrict q = fast + row * width;
                const float* __restrict x = logits + row * width;
                for (int64_t k = 0; k < width; ++k) q[k] = tangent(x[k]);
                for (int64_t k = 0; k < width; ++k) d[k] = mix * q[k];
            } else {
                for (int64_t k = 0; k < width; ++k) d[k] = 0;
            }
            if (base)
                for (int64_t k = 0; k < width; ++k) d[k] += base[row * width + k];
            for (int64_t k = 0; k < width; ++k) two[k] = one[k] + r * d[k];
        }
        if (matrix) {
            const float *__restrict a = two, *__restrict b = a + n, *__restrict c = b + n, *__restrict e = c + n;
            float *__restrict p = three, *__restrict q = p + n, *__restrict r = q + n, *__restrict s = r + n;
            const float* __restrict m = matrix;
#pragma omp simd
            for (int64_t k = 0; k < n; ++k) {
                const Turned t = turn(m + k, n, a[k], b[k], c[k], e[k]);
                p[k] = t.w0 * t.stretch, q[k] = t.w1 * t.stretch, r[k] = t.w2 * t.stretch, s[k] = t.w3 * t.stretch;
            }
        }
        const float* __restrict o = gates + row * 4 * width + 2 * width;
        float* __restrict h = hidden + row * width;
        for (int64_t k = 0; k < width; ++k) h[k] = o[k] * tangent(three[k]);
    }
}

// d_h: on entry the gradient from the next step, on return with this step's output in it. d_z: on entry of z3, on
// return of z1, but for what the networks pass back. Fills d_turned, d_fast (of the fast network's logits), d_logit (of
// the rate), adds to pending (of the held directions) and, row by row, to d_mix.
void turn_backward(int64_t rows, int64_t width, int threads, const float* d_hidden, float* d_h, float* d_z,
                   const float* gates, const float* z2, const float* z3, const float* matrix, float* d_turned,
                   const float* direction, const float* squash, float least, float span, float* d_logit, float* pending,
                   const float* fast, float mix, float* d_fast, float* d_mix) {
    const int64_t n = width / 4;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float* __restrict o = gates + row * 4 * width + 2 * width;
        const float* __restrict three = z3 + row * width;
        const float* __restrict given = d_hidden + row * width;
        float *__restrict dh = d_h + row * width, *__restrict dz = d_z + row * width;
#pragma omp simd
        for (int64_t k = 0; k < width; ++k) {
            dh[k] += given[k];
            const float t = tangent(three[k]);
            dz[k] += dh[k] * o[k] * (1 - t * t);
        }
        if (matrix) {
            const float* two = z2 + row * width;
            const float *__restrict a = two, *__restrict b = a + n, *__restrict c = b + n, *__restrict e = c + n;
            float *__restrict g0 = dz, *__restrict g1 = g0 + n, *__restrict g2 = g1 + n, *__restrict g3 = g2 + n;
            float* __restrict t0 = d_turned + row * width;
            float *__restrict t1 = t0 + n, *__restrict t2 = t1 + n, *__restrict t3 = t2 + n;
            const float* __restrict m = matrix;
#pragma omp simd
            for (int64_t k = 0; k < n; ++k) {
                const Turned t = turn(m + k, n, a[k], b[k], c[k], e[k]);
                const TurnedBack u = turn_back(t, g0[k], g1[k], g2[k], g3[k]);
                t0[k] = u.u0, t1[k] = u.u1, t2[k] = u.u2, t3[k] = u.u3;
                g0[k] = dot(m + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * a[k];
                g1[k] = dot(m + n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * b[k];
                g2[k] = dot(m + 2 * n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * c[k];
                g3[k] = dot(m + 3 * n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * e[k];
            }
        }
        if (direction) {
            const float* __restrict d = direction + row * width;
            const float s = squash[row], r = least + span * s;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < width; ++k) sum += dz[k] * d[k];
            d_logit[row] = sum * span * s * (1 - s);
            if (pending) {
                float* __restrict p = pending + row * width;
                for (int64_t k = 0; k < width; ++k) p[k] += r * dz[k];
            }
            if (fast) {
                const float* __restrict q = fast + row * width;
                float* __restrict df = d_fast + row * width;
                float total = 0;
#pragma omp simd reduction(+ : total)
                for (int64_t k = 0; k < width; ++k) total += dz[k] * q[k];
                d_mix[row] += r * total;
                for (int64_t k = 0; k < width; ++k) df[k] = mix * r * dz[k] * (1 - q[k] * q[k]);
            }
        }
    }
}

// d_z: on entry of z1, on return of the state before. Fills d_gates, of the logits.
void gate_backward(int64_t rows, int64_t width, int threads, const float* gates, const float* z, const float* z3,
                   const float* d_h, float* d_z, const float* d_logit, const float* surprise, float root,
                   float* d_gates) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float *__restrict i = gates + row * 4 * width, *__restrict f = i + width, *__restrict o = f + width,
                    *__restrict g = o + width;
        const float *__restrict before = z + row * width, *__restrict three = z3 + row * width;
        const float* __restrict dh = d_h + row * width;
        float* __restrict dz = d_z + row * width;
        float *__restrict di = d_gates + row * 4 * width, *__restrict df = di + width, *__restrict d_o = df + width,
              *__restrict dg = d_o + width;
        const float slope = surprise ? d_logit[row] / root : 0.0f;
#pragma omp simd
        for (int64_t k = 0; k < width; ++k) {
            di[k] = dz[k] * g[k] * i[k] * (1 - i[k]);
            df[k] = dz[k] * before[k] * f[k] * (1 - f[k]);
            d_o[k] = dh[k] * tangent(three[k]) * o[k] * (1 - o[k]);
        }
        if (surprise) {
#pragma omp simd
            for (int64_t k = 0; k < width; ++k) {
                const float gap = g[k] - before[k];
                const float d_gap = slope * surprise[k] * (gap > 0 ? 1.0f : (gap < 0 ? -1.0f : 0.0f));
                dg[k] = (dz[k] * i[k] + d_gap) * (1 - g[k] * g[k]);
                dz[k] = dz[k] * f[k] - d_gap;
            }
        } else {
#pragma omp simd
            for (int64_t k = 0; k < width; ++k) {
                dg[k] = dz[k] * i[k] * (1 - g[k] * g[k]);
                dz[k] *= f[k];
            }
        }
    }
}

}  // extern "C"
