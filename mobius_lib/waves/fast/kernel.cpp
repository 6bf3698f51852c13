// The lens between its twists on a CPU: one sweep over the rows forward and one backward (function.py derives both).
//
// A row is one position with its C channels. Rows are taken in groups that fit the first-level cache, each stage for the
// whole group before the next: a stage of one row waits for the sum that ends the stage before, and the other rows fill
// that wait. Nothing of the size of the input is written but the result. Rows are shared out by torch's own threads.
// Sums over rows are kept in the working precision for BLOCK rows at most and then added up in double, one set of
// totals per thread.
//
// The exponent of a path, h F, is made in units of log 2: H = h / log 2 goes into the cosines and sines of the row
// once, and 2^(H F) then takes no further product. What backward sums from them is H times too large until the end.

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
constexpr int64_t MOST = 8;       // rows of a group at most
constexpr int64_t NUMBERS = 512;  // channels times rows of a group, where more than one row: 15 buffers of it are 30 kB

constexpr double LOG2E = 1.4426950408889634, LN2 = 0.6931471805599453;

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
#ifdef CPU_CAPABILITY_AVX512
  // 1.5 2^23 pushes the fraction out: n stands in the last bits, the very last says whether it is odd
  const V magic(12582912.0f), pushed = fmadd(a, V(0.31830988618f), magic), n = pushed - magic;
  const __m512i sign = _mm512_slli_epi32(_mm512_castps_si512(pushed), 31);
  const auto signed_as = [sign](V v) -> V {
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), sign));
  };
#else
  const V n = (a * V(0.31830988618f)).round(), half = n * V(0.5f), odd = half - half.trunc();  // odd: 0 or +-1/2
  const V sign = fmadd(odd * odd, V(-8), V(1));
  const auto signed_as = [sign](V v) -> V { return v * sign; };
#endif
  const V r = fmadd(n, V(8.742278e-8f), fmadd(n, V(-3.14159274f), a)), s = r * r;
  V p = fmadd(s, V(2.600024345e-6f), V(-1.9806601631e-4f));
  p = fmadd(s, fmadd(s, p, V(8.3330171183e-3f)), V(-1.6666656733e-1f));
  sine = signed_as(fmadd(p * s, r, r));
  V q = fmadd(s, V(-2.6193549729e-7f), V(2.4769291485e-5f));
  q = fmadd(s, fmadd(s, q, V(-1.3888569083e-3f)), V(4.1666656733e-2f));
  cosine = signed_as(fmadd(s * s, q, fmadd(s, V(-0.5f), V(1))));
}

// 2^v as 2^n 2^r, |r| <= 1/2. AVX-512 scales by 2^n in one instruction, with overflow, underflow and NaN done right, so
// there this costs less than half of a call; the polynomial is the one of least greatest relative error (3e-9).
inline at::vec::Vectorized<double> exp2_of(at::vec::Vectorized<double> v) { return v.exp2(); }

inline at::vec::Vectorized<float> exp2_of(at::vec::Vectorized<float> v) {
#ifdef CPU_CAPABILITY_AVX512
  using V = at::vec::Vectorized<float>;
  using at::vec::fmadd;
  const V n = _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = v - n;
  V p = fmadd(r, V(0.00015353362f), V(0.00133988739f));
  p = fmadd(r, fmadd(r, fmadd(r, fmadd(r, p, V(0.00961843692f)), V(0.0555033237f)), V(0.240226477f)), V(0.693147182f));
  return _mm512_scalef_ps(fmadd(p, r, V(1)), n);
#else
  return v.exp2();
#endif
}

// 1 / v for v from 1 to 2^120: an estimate of 14 bits and one step of Newton's, where there is such an estimate.
inline at::vec::Vectorized<double> reciprocal(at::vec::Vectorized<double> v) {
  return at::vec::Vectorized<double>(1) / v;
}

inline at::vec::Vectorized<float> reciprocal(at::vec::Vectorized<float> v) {
  using V = at::vec::Vectorized<float>;
#ifdef CPU_CAPABILITY_AVX512
  const V guess = _mm512_rcp14_ps(v);
  return guess * V(_mm512_fnmadd_ps(v, guess, V(2)));
#else
  return V(1) / v;
#endif
}

// 1 / (1 + exp -v). Beyond 2^-100 it is as good as 0; in this order of arguments a NaN stays one.
inline at::vec::Vectorized<double> sigmoid(at::vec::Vectorized<double> v) {
  using V = at::vec::Vectorized<double>;
  return V(1) / (V(1) + v.neg().exp());
}

inline at::vec::Vectorized<float> sigmoid(at::vec::Vectorized<float> v) {
  using V = at::vec::Vectorized<float>;
#ifdef CPU_CAPABILITY_AVX512
  const V power = _mm512_min_ps(V(100), v * V(float(-LOG2E)));
  return reciprocal(V(1) + exp2_of(power));
#else
  return V(1) / (V(1) + v.neg().exp());
#endif
}

template <typename T>
struct Group {
  using V = at::vec::Vectorized<T>;
  static constexpr int64_t N = V::size();
  enum { U, Z, SIN0, COS0, SIN1, COS1, LEFT, MIDDLE, RIGHT, FALL_L, FALL_M, FALL_R, KEPT, SLOPE, BUFFERS };

  const Constants<T>& k;
  const int64_t channels, width, most;  // width: channels rounded up to whole vectors; most: rows of a group
  const T strength;                     // H
  std::vector<T> store;
  T t[MOST] = {}, mean[MOST], scale[MOST];
  // of pair j and row r at j MOST + r: H cos B, H sin B, and the latter's negative
  T cosine[PAIRS * MOST + N], sine[PAIRS * MOST + N], minus[PAIRS * MOST + N];
  bool small, small_angles;

  Group(const Constants<T>& k, int64_t channels)
      : k(k),
        channels(channels),
        width((channels + N - 1) / N * N),
        most(std::clamp<int64_t>(NUMBERS / width, 1, MOST)),
        strength(k.half * T(LOG2E)),
        store(BUFFERS * most * width) {
    small = small_angles = false;
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)  // they have the fused multiply-add it rests on
    if (std::is_same_v<T, float>) {
      small = std::abs(k.rate[0]) <= LARGEST && std::abs(k.rate[1]) <= LARGEST;
      small_angles = true;  // |t| <= 1
      for (int j = 0; j < PAIRS; ++j) {
        small_angles = small_angles && std::abs(k.shift[j]) + std::abs(k.phase[j]) <= LARGEST;
      }
    }
#endif
  }

  void sincos(V a, V& sine, V& cosine, bool small) const {
    if constexpr (std::is_same_v<T, float>) {
      if (small) return sincos_small(a, sine, cosine);
    }
    sine = a.sin(), cosine = a.cos();
  }

  T* at(int buffer, int64_t r, int64_t i) { return store.data() + (buffer * most + r) * width + i; }
  V load(int buffer, int64_t r, int64_t i) { return V::loadu(at(buffer, r, i)); }
  void save(int buffer, int64_t r, int64_t i, V v) { v.store(at(buffer, r, i)); }
  int64_t count(int64_t i) const { return std::min(N, channels - i); }
  V real(V v, int64_t i) const { return channels - i >= N ? v : V::set(V(0), v, channels - i); }  // 0 beyond C
  V read(const T* p, int64_t i) const { return channels - i >= N ? V::loadu(p + i) : V::loadu(p + i, channels - i); }
  static T sum(V v) {
    return at::vec::vec_reduce_all<T>([](V& a, V& b) { return a + b; }, v);
  }

  // Waves, pattern z, and its mean and 1 / deviation, of `rows` rows. `keep`: also what backward needs.
  template <bool keep>
  void waves(const T* x, int64_t rows, T eps) {
    for (int64_t r = 0; r < rows; ++r) squash(x + r * channels, r);
    turn();
    for (int64_t r = 0; r < rows; ++r) pattern<keep>(r);
    for (int64_t r = 0; r < rows; ++r) {
      V total(0);
      for (int64_t i = 0; i < width; i += N) {
        const V d = real(load(Z, r, i) - V(mean[r]), i);
        total = at::vec::fmadd(d, d, total);
      }
      scale[r] = 1 / std::sqrt(sum(total) / channels + eps);
    }
  }

  // u = tanh x and t
  void squash(const T* x, int64_t r) {
    const V one(1);
    V total(0);
    for (int64_t i = 0; i < width; i += N) {
      const V given = read(x, i), e = exp2_of(given.abs() * V(T(-2 * LOG2E)));
      const V size = (one - e) * reciprocal(one + e);
      // not a comparison with 0: a NaN has to come out as one
      save(U, r, i, V::blendv(size, size.neg(), given < V(0)));
      total = total + size;
    }
    t[r] = sum(total) / channels;
  }

  // cosine and sine of every B = shift t + phase, times H
  void turn() {
    T angles[PAIRS * MOST + N] = {};
    for (int j = 0; j < PAIRS; ++j) {
      for (int64_t r = 0; r < most; ++r) angles[j * MOST + r] = k.shift[j] * t[r] + k.phase[j];
    }
    for (int64_t a = 0; a < PAIRS * MOST; a += N) {
      if (a % MOST >= most) continue;  // no row in this vector
      V s, c;
      sincos(V::loadu(angles + a), s, c, small_angles);
      (c * V(strength)).store(cosine + a);
      (s * V(strength)).store(sine + a);
      (s * V(-strength)).store(minus + a);
    }
  }

  template <bool keep>
  void pattern(int64_t r) {
    const T *c = cosine + r, *m = minus + r;
    V total(0);
    for (int64_t i = 0; i < width; i += N) {
      const V u = load(U, r, i);
      V c0, s0, c1, s1;
      sincos(u * V(k.rate[0]), s0, c0, small), sincos(u * V(k.rate[1]), s1, c1, small);
      V path[3], fall[3];  // fall: H F
      for (int p = 0; p < 3; ++p) {
        const int j = 2 * p * MOST;
        V f = at::vec::fmadd(c0, V(c[j]), V(-2 * strength));
        f = at::vec::fmadd(s0, V(m[j]), f);
        f = at::vec::fmadd(c1, V(c[j + MOST]), f);
        fall[p] = at::vec::fmadd(s1, V(m[j + MOST]), f);
        path[p] = exp2_of(fall[p]);
      }
      V mixed, damped;
      mix(path[0], path[1], path[2], mixed, damped);
      const V z = real(mixed * damped, i);
      save(Z, r, i, z);
      total = total + z;
      if (keep) {
        save(COS0, r, i, c0), save(SIN0, r, i, s0), save(COS1, r, i, c1), save(SIN1, r, i, s1);
        for (int p = 0; p < 3; ++p) save(LEFT + p, r, i, path[p]), save(FALL_L + p, r, i, fall[p]);
      }
    }
    mean[r] = sum(total) / channels;
  }

  void mix(V left, V middle, V right, V& mixed, V& damped) const {
    mixed = at::vec::fmadd(left, V(k.mix[0]), at::vec::fmadd(middle, V(k.mix[1]), right * V(k.mix[2])));
    damped = at::vec::fmadd(left + right, V(k.each), at::vec::fmadd(left * right, V(k.both), V(T(0.5))));
  }
};

template <typename T>
void forward(const T* x, const T* constants, const T* weight, const T* bias, double eps, int64_t rows,
             int64_t channels, T* y) {
  const auto& k = *reinterpret_cast<const Constants<T>*>(constants);
  at::parallel_for(0, rows, BLOCK, [&](int64_t first, int64_t last) {
    Group<T> group(k, channels);
    using V = typename Group<T>::V;
    for (int64_t begin = first; begin < last; begin += group.most) {
      const int64_t here = std::min(group.most, last - begin);
      group.template waves<false>(x + begin * channels, here, T(eps));
      for (int64_t r = 0; r < here; ++r) {
        const T* in = x + (begin + r) * channels;
        T* out = y + (begin + r) * channels;
        for (int64_t i = 0; i < group.width; i += group.N) {
          const V normal = (group.load(group.Z, r, i) - V(group.mean[r])) * V(group.scale[r]);
          const V gate = sigmoid(at::vec::fmadd(normal, group.read(weight, i), group.read(bias, i)));
          (group.read(in, i) * gate).store(out + i, group.count(i));
        }
      }
    }
  });
}

// The totals of one thread, and the part of the backward pass that makes them.
template <typename T>
struct Backward : Group<T> {
  using G = Group<T>;
  using V = typename G::V;
  using G::channels, G::k, G::load, G::mean, G::N, G::read, G::save, G::scale, G::sum, G::t, G::width;

  std::vector<T> norm;  // of the layer norm's weight, then of its bias
  V sums[SUMS];
  T level[MOST], slope[MOST], drift[MOST];

  Backward(const Constants<T>& k, int64_t channels) : G(k, channels), norm(2 * width) { clear(); }

  void clear() {
    for (auto& s : sums) s = V(0);
    std::fill(norm.begin(), norm.end(), T(0));
  }

  // From dy to e, the derivative by the normalised pattern times the norm's weight, and its two means.
  void gate(const T* dy, const T* x, const T* weight, const T* bias, int64_t r) {
    V level(0), slope(0);
    for (int64_t i = 0; i < width; i += N) {
      const V given = read(dy, i), n = (load(G::Z, r, i) - V(mean[r])) * V(scale[r]);
      const V w = read(weight, i), g = sigmoid(at::vec::fmadd(n, w, read(bias, i)));
      const V passed = given * g, dn = passed * read(x, i) * (V(1) - g), dw = dn * n, d = dn * w;
      save(G::KEPT, r, i, passed), save(G::SLOPE, r, i, d), save(G::Z, r, i, n);
      (V::loadu(norm.data() + i) + dw).store(norm.data() + i);
      (V::loadu(norm.data() + width + i) + dn).store(norm.data() + width + i);
      level = level + d;
      slope = at::vec::fmadd(d, n, slope);
    }
    this->level[r] = -sum(level) / channels, this->slope[r] = -sum(slope) / channels;
  }

  // From e to the angles A (into SLOPE) and B (into `sums` and `drift`).
  void turns(int64_t r) {
    const V a(level[r]), b(slope[r]), t(this->t[r]), each(k.each), both(k.both);
    const T *cosine = this->cosine + r, *sine = this->sine + r;
    V drift(0);
    for (int64_t i = 0; i < width; i += N) {
      const V d = at::vec::fmadd(load(G::Z, r, i), b, load(G::SLOPE, r, i) + a);
      const V dz = this->real(d * V(scale[r]), i);
      const V left = load(G::LEFT, r, i), middle = load(G::MIDDLE, r, i), right = load(G::RIGHT, r, i);
      V mixed, damped;
      this->mix(left, middle, right, mixed, damped);
      const V dq = dz * damped, dm = dz * mixed;
      const V ql = dq * left, qm = dq * middle, qr = dq * right, agree = dm * left * right;
      const V push[3] = {
          at::vec::fmadd(ql, V(k.mix[0]), at::vec::fmadd(dm * left, each, agree * both)),
          qm * V(k.mix[1]),
          at::vec::fmadd(qr, V(k.mix[2]), at::vec::fmadd(dm * right, each, agree * both)),
      };
      const V c0 = load(G::COS0, r, i), s0 = load(G::SIN0, r, i);
      const V c1 = load(G::COS1, r, i), s1 = load(G::SIN1, r, i), u = load(G::U, r, i);
      V turn0(0), turn1(0);
      for (int p = 0; p < 3; ++p) {
        const int j = 2 * p, at = j * MOST;
        const V g0 = push[p] * at::vec::fmadd(s0, V(cosine[at]), c0 * V(sine[at]));
        const V g1 = push[p] * at::vec::fmadd(s1, V(cosine[at + MOST]), c1 * V(sine[at + MOST]));
        sums[j] = sums[j] + g0, sums[j + 1] = sums[j + 1] + g1;
        sums[PAIRS + j] = at::vec::fmadd(g0, t, sums[PAIRS + j]);
        sums[PAIRS + j + 1] = at::vec::fmadd(g1, t, sums[PAIRS + j + 1]);
        sums[17] = at::vec::fmadd(push[p], load(G::FALL_L + p, r, i), sums[17]);
        turn0 = turn0 + g0, turn1 = turn1 + g1;
        drift = at::vec::fmadd(g0, V(k.shift[j]), at::vec::fmadd(g1, V(k.shift[j + 1]), drift));
      }
      sums[12] = sums[12] + ql, sums[13] = sums[13] + qm, sums[14] = sums[14] + qr;
      sums[15] = at::vec::fmadd(dm, left + right, sums[15]), sums[16] = sums[16] + agree;
      sums[18] = at::vec::fmadd(turn0, u, sums[18]), sums[19] = at::vec::fmadd(turn1, u, sums[19]);
      // h turn = log 2 (H turn)
      save(G::SLOPE, r, i, at::vec::fmadd(turn0, V(T(-LN2) * k.rate[0]), turn1 * V(T(-LN2) * k.rate[1])));
    }
    this->drift[r] = T(-LN2) * sum(drift) / channels;
  }

  void angles(T* dx, int64_t r) {
    const V pull(drift[r]);
    for (int64_t i = 0; i < width; i += N) {
      const V u = load(G::U, r, i), flat = V(1) - u * u;
      const V along = V::blendv(V::blendv(V(0), pull, u > V(0)), pull.neg(), u < V(0));
      const V d = at::vec::fmadd(load(G::SLOPE, r, i) + along, flat, load(G::KEPT, r, i));
      d.store(dx + i, this->count(i));
    }
  }

  void add_to(double* totals) {
    for (int s = 0; s < SUMS; ++s) {
      const bool large = s < 2 * PAIRS || s >= 17;  // made from H cos, H sin or H F
      totals[s] += sum(sums[s]) / (large ? double(this->strength) : 1.0);
    }
    for (int64_t c = 0; c < channels; ++c) {
      totals[SUMS + c] += norm[c];
      totals[SUMS + channels + c] += norm[width + c];
    }
    clear();
  }
};

template <typename T>
void backward(const T* dy, const T* x, const T* constants, const T* weight, const T* bias, double eps, int64_t rows,
              int64_t channels, T* dx, double* totals) {  // totals: (threads, SUMS + 2 channels), zero at the start
  const auto& k = *reinterpret_cast<const Constants<T>*>(constants);
  at::parallel_for(0, rows, BLOCK, [&](int64_t first, int64_t last) {
    Backward<T> group(k, channels);
    double* mine = totals + at::get_thread_num() * (SUMS + 2 * channels);
    for (int64_t block = first; block < last; block += BLOCK) {
      const int64_t end = std::min(block + BLOCK, last);
      for (int64_t begin = block; begin < end; begin += group.most) {
        const int64_t here = std::min(group.most, end - begin);
        const auto from = [channels, begin](auto* p, int64_t r) { return p + (begin + r) * channels; };
        group.template waves<true>(x + begin * channels, here, T(eps));
        for (int64_t r = 0; r < here; ++r) group.gate(from(dy, r), from(x, r), weight, bias, r);
        for (int64_t r = 0; r < here; ++r) group.turns(r);
        for (int64_t r = 0; r < here; ++r) group.angles(from(dx, r), r);
      }
      group.add_to(mine);
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
