// What a level of TwistorNestedLearning does after its products, forward and backward, in float32: add the network's
// output to the row, and move the sum until |omega . pi| is as asked. `nested.py` calls these; `../nested.py` and
// `math.hold_pairing` say it in torch.
//
// Rows are independent. z, held and their gradients are two matrices one after the other, omega and pi, each of (rows,
// 2n): real parts and imaginary parts. What the networks put out are two matrices, too, wherever they lie.

#include <cmath>
#include <cstdint>
#include <limits>

namespace {

// How a row is moved: z + (u + iv) (conj pi, conj omega).
struct Move {
    float real, imag, norm, size, gap, mean, root, mu, u, v;  // mean: norm + root, the divisor of mu
    bool flat, bounded, rootless;  // no phase; the divisor, or what is under the root, at its bound
};

// A row of omega and of pi.
template <typename Number>
struct Row {
    Number *omega, *pi;
    Row(Number* both, int64_t rows, int64_t n, int64_t row) : omega(both + row * 2 * n), pi(omega + rows * 2 * n) {}
    Row(Number* first, Number* second, int64_t at) : omega(first + at), pi(second + at) {}
};

// z + weight step: what a level makes of a row before it is moved.
struct Sum {
    Row<const float> z, step;
    float omega_weight, pi_weight;
    float omega(int64_t k) const { return z.omega[k] + omega_weight * step.omega[k]; }
    float pi(int64_t k) const { return z.pi[k] + pi_weight * step.pi[k]; }
};

Move find(int64_t n, const Sum& sum, float modulus) {
    float real = 0, imag = 0, norm = 0;
#pragma omp simd reduction(+ : real, imag, norm)
    for (int64_t k = 0; k < n; ++k) {
        const float a = sum.omega(k), b = sum.omega(n + k), c = sum.pi(k), d = sum.pi(n + k);
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

// held: the rows after the level. size: |omega . pi| of the sums, before they are moved.
void level_forward(int64_t rows, int64_t n, int threads, const float* z, const float* step_omega,
                   const float* step_pi, const float* weight, float modulus, float* held, float* size) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const Sum sum{{z, rows, n, row}, {step_omega, step_pi, row * 2 * n}, weight[0], weight[1]};
        const Row<float> y(held, rows, n, row);
        const Move m = find(n, sum, modulus);
        size[row] = m.size;
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) {
            const float a = sum.omega(k), b = sum.omega(n + k), c = sum.pi(k), d = sum.pi(n + k);
            y.omega[k] = a + m.u * c + m.v * d;
            y.omega[n + k] = b + m.v * c - m.u * d;
            y.pi[k] = c + m.u * a + m.v * b;
            y.pi[n + k] = d + m.v * a - m.u * b;
        }
    }
}

// From the gradients of held and size: d_sum, that of the sums, and d_weight (rows, 2), what each row adds to that of
// the two weights.
void level_backward(int64_t rows, int64_t n, int threads, const float* z, const float* step_omega,
                    const float* step_pi, const float* weight, float modulus, const float* d_held, const float* d_size,
                    float* d_sum, float* d_weight) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const Sum sum{{z, rows, n, row}, {step_omega, step_pi, row * 2 * n}, weight[0], weight[1]};
        const Row<const float> g(d_held, rows, n, row);
        const Row<float> out(d_sum, rows, n, row);
        const Move m = find(n, sum, modulus);
        float d_u = 0, d_v = 0;
#pragma omp simd reduction(+ : d_u, d_v)
        for (int64_t k = 0; k < n; ++k) {
            const float a = sum.omega(k), b = sum.omega(n + k), c = sum.pi(k), d = sum.pi(n + k);
            const float p = g.omega[k], q = g.omega[n + k], r = g.pi[k], t = g.pi[n + k];
            d_u += p * c - q * d + r * a - t * b;
            d_v += p * d + q * c + r * b + t * a;
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
            const float a = sum.omega(k), b = sum.omega(n + k), c = sum.pi(k), d = sum.pi(n + k);
            const float p = g.omega[k], q = g.omega[n + k], r = g.pi[k], t = g.pi[n + k];
            const float da = p + m.u * r + m.v * t + d_real * c + d_imag * d + 2 * d_norm * a;
            const float db = q + m.v * r - m.u * t - d_real * d + d_imag * c + 2 * d_norm * b;
            const float dc = r + m.u * p + m.v * q + d_real * a + d_imag * b + 2 * d_norm * c;
            const float dd = t + m.v * p - m.u * q - d_real * b + d_imag * a + 2 * d_norm * d;
            out.omega[k] = da, out.omega[n + k] = db, out.pi[k] = dc, out.pi[n + k] = dd;
            first += da * sum.step.omega[k] + db * sum.step.omega[n + k];
            second += dc * sum.step.pi[k] + dd * sum.step.pi[n + k];
        }
        d_weight[2 * row] = first;
        d_weight[2 * row + 1] = second;
    }
}

}  // extern "C"
