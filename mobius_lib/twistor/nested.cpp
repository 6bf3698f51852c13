// What a level of TwistorNestedLearning does after its products, forward and backward, in float32: add the network's
// output to the row, and move the sum until |omega . pi| is as asked. `nested_native.py` calls these; `nested.py` and
// `math.hold_pairing` say it in torch.
//
// Rows are independent, each 4n long: Re omega, Im omega, Re pi, Im pi.

#include <cmath>
#include <cstdint>
#include <limits>

namespace {

// How a row is moved: z + (u + iv) (conj pi, conj omega).
struct Move {
    float real, imag, norm, size, gap, mean, root, mu, u, v;  // mean: norm + root, the divisor of mu
    bool flat, bounded, rootless;                             // no phase; a divisor, or what is under the root, at its bound
};

// a + w s for the two parts of a row, whose networks put out s.
inline float sum_at(const float* z, const float* step, float weight, int64_t k) { return z[k] + weight * step[k]; }

Move find(int64_t n, const float* z, const float* step, const float* weight, float modulus) {
    float real = 0, imag = 0, norm = 0;
#pragma omp simd reduction(+ : real, imag, norm)
    for (int64_t k = 0; k < n; ++k) {
        const float a = sum_at(z, step, weight[0], k), b = sum_at(z, step, weight[0], n + k);
        const float c = sum_at(z, step, weight[1], 2 * n + k), d = sum_at(z, step, weight[1], 3 * n + k);
        real += a * c - b * d;
        imag += a * d + b * c;
        norm += a * a + b * b + c * c + d * d;
    }
    Move m;
    m.real = real, m.imag = imag, m.norm = norm;
    const float square = real * real + imag * imag;
    m.flat = square <= std::numeric_limits<float>::min();
    m.size = m.flat ? 0.0f : std::sqrt(square);
    m.gap = modulus - m.size;
    const float under = norm * norm + 4 * m.size * m.gap;
    m.rootless = under < 1e-24f;
    m.root = std::sqrt(m.rootless ? 1e-24f : under);
    m.bounded = norm + m.root < 1e-12f;
    m.mean = m.bounded ? 1e-12f : norm + m.root;
    m.mu = 2 * m.gap / m.mean;
    m.u = m.flat ? m.mu : m.mu * real / m.size;
    m.v = m.flat ? 0.0f : m.mu * imag / m.size;
    return m;
}

}  // namespace

extern "C" {

// step: what the networks put out, to which their biases (4n) are added. held: the rows after the level. size: |omega .
// pi| of the sums, before they are moved.
void level_forward(int64_t rows, int64_t n, int threads, const float* z, float* step, const float* bias,
                   const float* weight, float modulus, float* held, float* size) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float* x = z + row * 4 * n;
        float* s = step + row * 4 * n;
#pragma omp simd
        for (int64_t k = 0; k < 4 * n; ++k) s[k] += bias[k];
        float* __restrict y = held + row * 4 * n;
        const Move m = find(n, x, s, weight, modulus);
        size[row] = m.size;
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) {
            const float a = sum_at(x, s, weight[0], k), b = sum_at(x, s, weight[0], n + k);
            const float c = sum_at(x, s, weight[1], 2 * n + k), d = sum_at(x, s, weight[1], 3 * n + k);
            y[k] = a + m.u * c + m.v * d;
            y[n + k] = b + m.v * c - m.u * d;
            y[2 * n + k] = c + m.u * a + m.v * b;
            y[3 * n + k] = d + m.v * a - m.u * b;
        }
    }
}

// From the gradients of held and size: d_sum, that of the sums, and d_weight (rows, 2), what each row adds to that of
// the two weights.
void level_backward(int64_t rows, int64_t n, int threads, const float* z, const float* step, const float* weight,
                    float modulus, const float* d_held, const float* d_size, float* d_sum, float* d_weight) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float *x = z + row * 4 * n, *s = step + row * 4 * n, *g = d_held + row * 4 * n;
        float* __restrict out = d_sum + row * 4 * n;
        const Move m = find(n, x, s, weight, modulus);
        float d_u = 0, d_v = 0;
#pragma omp simd reduction(+ : d_u, d_v)
        for (int64_t k = 0; k < n; ++k) {
            const float a = sum_at(x, s, weight[0], k), b = sum_at(x, s, weight[0], n + k);
            const float c = sum_at(x, s, weight[1], 2 * n + k), d = sum_at(x, s, weight[1], 3 * n + k);
            d_u += g[k] * c - g[n + k] * d + g[2 * n + k] * a - g[3 * n + k] * b;
            d_v += g[k] * d + g[n + k] * c + g[2 * n + k] * b + g[3 * n + k] * a;
        }
        // back through mu = 2 gap / (norm + root), root^2 = norm^2 + 4 size gap, gap = modulus - size
        const float d_mu = m.flat ? d_u : (d_u * m.real + d_v * m.imag) / m.size;
        const float d_mean = m.bounded ? 0.0f : -d_mu * m.mu / m.mean;
        const float d_under = m.rootless ? 0.0f : d_mean / (2 * m.root);
        const float d_gap = 2 * d_mu / m.mean + 4 * m.size * d_under;
        const float d_norm = d_mean + 2 * m.norm * d_under;
        float d_real = 0, d_imag = 0;
        if (!m.flat) {
            const float d_length = d_size[row] + 4 * m.gap * d_under - d_gap - (d_u * m.u + d_v * m.v) / m.size;
            d_real = (d_u * m.mu + d_length * m.real) / m.size;
            d_imag = (d_v * m.mu + d_length * m.imag) / m.size;
        }
        float first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
        for (int64_t k = 0; k < n; ++k) {
            const float a = sum_at(x, s, weight[0], k), b = sum_at(x, s, weight[0], n + k);
            const float c = sum_at(x, s, weight[1], 2 * n + k), d = sum_at(x, s, weight[1], 3 * n + k);
            const float p = g[k], q = g[n + k], r = g[2 * n + k], t = g[3 * n + k];
            const float da = p + m.u * r + m.v * t + d_real * c + d_imag * d + 2 * d_norm * a;
            const float db = q + m.v * r - m.u * t - d_real * d + d_imag * c + 2 * d_norm * b;
            const float dc = r + m.u * p + m.v * q + d_real * a + d_imag * b + 2 * d_norm * c;
            const float dd = t + m.v * p - m.u * q - d_real * b + d_imag * a + 2 * d_norm * d;
            out[k] = da, out[n + k] = db, out[2 * n + k] = dc, out[3 * n + k] = dd;
            first += da * s[k] + db * s[n + k];
            second += dc * s[2 * n + k] + dd * s[3 * n + k];
        }
        d_weight[2 * row] = first;
        d_weight[2 * row + 1] = second;
    }
}

}  // extern "C"
