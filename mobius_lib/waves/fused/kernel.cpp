// The lens between its twists on a CPU: one sweep over the rows forward and one backward (function.py derives both).
//
// A row is one position with its C channels. Everything that a row needs stays in the first-level cache; nothing of the
// size of the input is written but the result. Rows are shared out by torch's own threads. Sums over rows are kept in
// the working precision for BLOCK rows at most and then added up in double, one set of totals per thread.

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace {

constexpr int PAIRS = 6;    // 3 paths x 2 scales, in the order l0 l1 m0 m1 r0 r1
constexpr int SUMS = 20;    // function.py: SUMS
constexpr int64_t BLOCK = 32;

// Constants of one call, laid out as function.py's `constants` returns them.
template <typename T>
struct Constants {
  T rate[2], half, mix[3], each, both, shift[PAIRS], phase[PAIRS];
};

// Sine and cosine of one angle together, for less than the price of either. Float only, and for angles up to LARGEST:
// a = n pi + r with r in [-pi/2, pi/2], pi in two parts so that r keeps all its digits, then the odd and the even
// polynomial of least greatest error there (5e-9 and 4e-10, below half a rounding unit of 1), and the sign of (-1)^n.
constexpr float LARGEST = 8192;

template <typename V>
inline void sincos_small(V a, V& sine, V& cosine) {
  using at::vec::fmadd;
  const V n = (a * V(0.31830988618f)).round(), half = n * V(0.5f), odd = half - half.trunc();  // odd: 0 or +-1/2
  const V sign = fmadd(odd * odd, V(-8), V(1));
  const V r = fmadd(n, V(8.742278e-8f), fmadd(n, V(-3.14159274f), a)), s = r * r;
  V p = fmadd(s, V(2.600024345e-6f), V(-1.9806601631e-4f));
  p = fmadd(s, fmadd(s, p, V(8.3330171183e-3f)), V(-1.6666656733e-1f));
  sine = fmadd(p * s, r, r) * sign;
  V q = fmadd(s, V(-2.6193549729e-7f), V(2.4769291485e-5f));
  q = fmadd(s, fmadd(s, q, V(-1.3888569083e-3f)), V(4.1666656733e-2f));
  cosine = fmadd(s * s, q, fmadd(s, V(-0.5f), V(1))) * sign;
}

// exp by 2^n exp(r), |r| <= ln 2 / 2. AVX-512 scales by 2^n in one instruction, with overflow, underflow and NaN done
// right, so there this costs less than half of a call; the polynomial is the one of least greatest relative error (3e-9).
inline at::vec::Vectorized<double> exponential(at::vec::Vectorized<double> v) { return v.exp(); }

inline at::vec::Vectorized<float> exponential(at::vec::Vectorized<float> v) {
#ifdef CPU_CAPABILITY_AVX512
  using V = at::vec::Vectorized<float>;
  using at::vec::fmadd;
  // in this order of arguments a NaN stays one
  const V x = _mm512_max_ps(_mm512_set1_ps(-150), _mm512_min_ps(_mm512_set1_ps(100), v));
  const V n = (x * V(1.44269504f)).round();
  const V r = fmadd(n, V(1.43241613e-06f), fmadd(n, V(-0.693148613f), x));
  V p = fmadd(r, V(0.00138636678f), V(0.00836760923f));
  p = fmadd(r, fmadd(r, fmadd(r, p, V(0.0416672416f)), V(0.166665331f)), V(0.5f));
  return _mm512_scalef_ps(fmadd(p * r, r, r + V(1)), n);
#else
  return v.exp();
#endif
}

template <typename T>
struct Row {
  using V = at::vec::Vectorized<T>;
  static constexpr int64_t N = V::size();
  enum { U, Z, SIN0, COS0, SIN1, COS1, LEFT, MIDDLE, RIGHT, FALL_L, FALL_M, FALL_R, KEPT, SLOPE, BUFFERS };

  const Constants<T>& k;
  const int64_t channels, width;  // width: channels rounded up to whole vectors
  std::vector<T> store;
  T t, mean, scale;
  bool small;
  T cosine[PAIRS + N], sine[PAIRS + N];

  Row(const Constants<T>& k, int64_t channels)
      : k(k), channels(channels), width((channels + N - 1) / N * N), store(BUFFERS * width) {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)  // they have the fused multiply-add it rests on
    small = std::is_same_v<T, float> && std::abs(k.rate[0]) <= LARGEST && std::abs(k.rate[1]) <= LARGEST;
#else
    small = false;
#endif
  }

  void sincos(V a, V& sine, V& cosine) const {
    if constexpr (std::is_same_v<T, float>) {
      if (small) return sincos_small(a, sine, cosine);
    }
    sine = a.sin(), cosine = a.cos();
  }

  T* at(int buffer, int64_t i) { return store.data() + buffer * width + i; }
  V load(int buffer, int64_t i) { return V::loadu(at(buffer, i)); }
  void save(int buffer, int64_t i, V v) { v.store(at(buffer, i)); }
  int64_t count(int64_t i) const { return std::min(N, channels - i); }
  V real(V v, int64_t i) const { return channels - i >= N ? v : V::set(V(0), v, channels - i); }  // 0 beyond C
  V read(const T* p, int64_t i) const { return channels - i >= N ? V::loadu(p + i) : V::loadu(p + i, channels - i); }
  static T sum(V v) {
    return at::vec::vec_reduce_all<T>([](V& a, V& b) { return a + b; }, v);
  }

  // Waves, pattern z, and its mean and 1 / deviation. `keep`: also what backward needs.
  template <bool keep>
  void waves(const T* x, T eps) {
    const V one(1), two(2);
    V total(0);
    for (int64_t i = 0; i < width; i += N) {
      const V given = read(x, i), e = exponential(given.abs() * V(-2));
      const V size = (one - e) / (one + e);
      // not a comparison with 0: a NaN has to come out as one
      save(U, i, V::blendv(size, size.neg(), given < V(0)));
      total = total + size;
    }
    t = sum(total) / channels;
    T angles[PAIRS + N] = {};
    for (int j = 0; j < PAIRS; ++j) angles[j] = k.shift[j] * t + k.phase[j];
    for (int j = 0; j < PAIRS; j += N) {
      V::loadu(angles + j).cos().store(cosine + j);
      V::loadu(angles + j).sin().store(sine + j);
    }
    total = V(0);
    for (int64_t i = 0; i < width; i += N) {
      const V u = load(U, i), a0 = u * V(k.rate[0]), a1 = u * V(k.rate[1]);
      V c0, s0, c1, s1;
      sincos(a0, s0, c0), sincos(a1, s1, c1);
      V path[3], fall[3];
      for (int p = 0; p < 3; ++p) {
        V f = at::vec::fmadd(c0, V(cosine[2 * p]), V(-2));
        f = at::vec::fmadd(s0, V(-sine[2 * p]), f);
        f = at::vec::fmadd(c1, V(cosine[2 * p + 1]), f);
        fall[p] = at::vec::fmadd(s1, V(-sine[2 * p + 1]), f);
        path[p] = exponential(V(k.half) * fall[p]);
      }
      V mixed, damped;
      mix(path[0], path[1], path[2], mixed, damped);
      const V z = real(mixed * damped, i);
      save(Z, i, z);
      total = total + z;
      if (keep) {
        save(COS0, i, c0), save(SIN0, i, s0), save(COS1, i, c1), save(SIN1, i, s1);
        for (int p = 0; p < 3; ++p) save(LEFT + p, i, path[p]), save(FALL_L + p, i, fall[p]);
      }
    }
    mean = sum(total) / channels;
    total = V(0);
    for (int64_t i = 0; i < width; i += N) {
      const V d = real(load(Z, i) - V(mean), i);
      total = at::vec::fmadd(d, d, total);
    }
    scale = 1 / std::sqrt(sum(total) / channels + eps);
  }

  void mix(V left, V middle, V right, V& mixed, V& damped) const {
    mixed = at::vec::fmadd(left, V(k.mix[0]), at::vec::fmadd(middle, V(k.mix[1]), right * V(k.mix[2])));
    damped = at::vec::fmadd(left + right, V(k.each), at::vec::fmadd(left * right, V(k.both), V(T(0.5))));
  }

  static V sigmoid(V v) { return V(1) / (V(1) + exponential(v.neg())); }
};

template <typename T>
void forward(const T* x, const T* constants, const T* weight, const T* bias, double eps, int64_t rows,
             int64_t channels, T* y) {
  const auto& k = *reinterpret_cast<const Constants<T>*>(constants);
  at::parallel_for(0, rows, BLOCK, [&](int64_t first, int64_t last) {
    Row<T> row(k, channels);
    using V = typename Row<T>::V;
    for (int64_t r = first; r < last; ++r) {
      const T* in = x + r * channels;
      row.template waves<false>(in, T(eps));
      for (int64_t i = 0; i < row.width; i += row.N) {
        const V normal = (row.load(row.Z, i) - V(row.mean)) * V(row.scale);
        const V gate = row.sigmoid(at::vec::fmadd(normal, row.read(weight, i), row.read(bias, i)));
        (row.read(in, i) * gate).store(y + r * channels + i, row.count(i));
      }
    }
  });
}

template <typename T>
void backward(const T* dy, const T* x, const T* constants, const T* weight, const T* bias, double eps, int64_t rows,
              int64_t channels, T* dx, double* totals) {  // totals: (threads, SUMS + 2 channels), zero at the start
  const auto& k = *reinterpret_cast<const Constants<T>*>(constants);
  at::parallel_for(0, rows, BLOCK, [&](int64_t first, int64_t last) {
    Row<T> row(k, channels);
    using V = typename Row<T>::V;
    using R = Row<T>;
    constexpr int64_t N = R::N;
    double* mine = totals + at::get_thread_num() * (SUMS + 2 * channels);
    std::vector<T> norm(2 * row.width);  // of the layer norm's weight, then of its bias
    for (int64_t begin = first; begin < last; begin += BLOCK) {
      V sums[SUMS];
      for (auto& s : sums) s = V(0);
      std::fill(norm.begin(), norm.end(), T(0));
      for (int64_t r = begin; r < std::min(begin + BLOCK, last); ++r) {
        const T *in = x + r * channels, *out = dy + r * channels;
        row.template waves<true>(in, T(eps));
        V level(0), slope(0);
        for (int64_t i = 0; i < row.width; i += N) {
          const V given = row.read(out, i), n = (row.load(R::Z, i) - V(row.mean)) * V(row.scale);
          const V w = row.read(weight, i), g = R::sigmoid(at::vec::fmadd(n, w, row.read(bias, i)));
          const V passed = given * g, dn = passed * row.read(in, i) * (V(1) - g), dw = dn * n, d = dn * w;
          row.save(R::KEPT, i, passed), row.save(R::SLOPE, i, d), row.save(R::Z, i, n);
          (V::loadu(norm.data() + i) + dw).store(norm.data() + i);
          (V::loadu(norm.data() + row.width + i) + dn).store(norm.data() + row.width + i);
          level = level + d;
          slope = at::vec::fmadd(d, n, slope);
        }
        const V a(-R::sum(level) / channels), b(-R::sum(slope) / channels), t(row.t);
        V drift(0);
        for (int64_t i = 0; i < row.width; i += N) {
          const V d = at::vec::fmadd(row.load(R::Z, i), b, row.load(R::SLOPE, i) + a);
          const V dz = row.real(d * V(row.scale), i);
          const V left = row.load(R::LEFT, i), middle = row.load(R::MIDDLE, i), right = row.load(R::RIGHT, i);
          V mixed, damped;
          row.mix(left, middle, right, mixed, damped);
          const V dq = dz * damped, dm = dz * mixed, each(k.each), both(k.both);
          const V ql = dq * left, qm = dq * middle, qr = dq * right, agree = dm * left * right;
          const V push[3] = {
              at::vec::fmadd(ql, V(k.mix[0]), at::vec::fmadd(dm * left, each, agree * both)),
              qm * V(k.mix[1]),
              at::vec::fmadd(qr, V(k.mix[2]), at::vec::fmadd(dm * right, each, agree * both)),
          };
          const V c0 = row.load(R::COS0, i), s0 = row.load(R::SIN0, i);
          const V c1 = row.load(R::COS1, i), s1 = row.load(R::SIN1, i), u = row.load(R::U, i);
          V turn0(0), turn1(0);
          for (int p = 0; p < 3; ++p) {
            const int j = 2 * p;
            const V g0 = push[p] * at::vec::fmadd(s0, V(row.cosine[j]), c0 * V(row.sine[j]));
            const V g1 = push[p] * at::vec::fmadd(s1, V(row.cosine[j + 1]), c1 * V(row.sine[j + 1]));
            sums[j] = sums[j] + g0, sums[j + 1] = sums[j + 1] + g1;
            sums[PAIRS + j] = at::vec::fmadd(g0, t, sums[PAIRS + j]);
            sums[PAIRS + j + 1] = at::vec::fmadd(g1, t, sums[PAIRS + j + 1]);
            sums[17] = at::vec::fmadd(push[p], row.load(R::FALL_L + p, i), sums[17]);
            turn0 = turn0 + g0, turn1 = turn1 + g1;
            drift = at::vec::fmadd(g0, V(k.shift[j]), at::vec::fmadd(g1, V(k.shift[j + 1]), drift));
          }
          sums[12] = sums[12] + ql, sums[13] = sums[13] + qm, sums[14] = sums[14] + qr;
          sums[15] = at::vec::fmadd(dm, left + right, sums[15]), sums[16] = sums[16] + agree;
          sums[18] = at::vec::fmadd(turn0, u, sums[18]), sums[19] = at::vec::fmadd(turn1, u, sums[19]);
          row.save(R::SLOPE, i, at::vec::fmadd(turn0, V(-k.half * k.rate[0]), turn1 * V(-k.half * k.rate[1])));
        }
        const V pull(-k.half * R::sum(drift) / channels);
        for (int64_t i = 0; i < row.width; i += N) {
          const V u = row.load(R::U, i), flat = V(1) - u * u;
          const V along = V::blendv(V::blendv(V(0), pull, u > V(0)), pull.neg(), u < V(0));
          const V d = at::vec::fmadd(row.load(R::SLOPE, i) + along, flat, row.load(R::KEPT, i));
          d.store(dx + r * channels + i, row.count(i));
        }
      }
      for (int s = 0; s < SUMS; ++s) mine[s] += R::sum(sums[s]);
      for (int64_t c = 0; c < channels; ++c) {
        mine[SUMS + c] += norm[c];
        mine[SUMS + channels + c] += norm[row.width + c];
      }
    }
  });
}

}  // namespace

#define EXPORT(NAME, T)                                                                                              \
  extern "C" void forward_##NAME(const T* x, const T* k, const T* weight, const T* bias, double eps, int64_t rows,   \
                                 int64_t channels, T* y) {                                                           \
    forward<T>(x, k, weight, bias, eps, rows, channels, y);                                                          \
  }                                                                                                                  \
  extern "C" void backward_##NAME(const T* dy, const T* x, const T* k, const T* weight, const T* bias, double eps,   \
                                  int64_t rows, int64_t channels, T* dx, double* totals) {                           \
    backward<T>(dy, x, k, weight, bias, eps, rows, channels, dx, totals);                                            \
  }

EXPORT(float32, float)
EXPORT(float64, double)
