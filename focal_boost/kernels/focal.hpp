// The formulas of the focal losses, one row or one class of a row at a time, for C++17, nvcc and NVRTC.
//
// numpy.py in this folder is the readable specification: what is computed here is what is written there, rearranged so
// that a row costs few divisions, and with tables (tables.py) where numpy.py goes on by Newton's method. There are no
// branches, only selects. R is what a number is: double or float on a GPU, `Lanes` on a processor, several rows at a time
// in a vector of doubles. NaN margins give NaN.
//
// Notation: z, f margin, p probability, q = 1 - p, a = -log p, b = -log q, w class weight (alpha).
//
// Nothing here may be compiled with flags that allow reassociation or assume that there is no NaN (-ffast-math).
// Contraction of a * b + c into one operation is welcome.

#pragma once

// The same header is compiled for several instruction sets into one library. Each gets its own namespace: otherwise the
// linker could keep one copy of a function for all of them, and an old machine could meet a new instruction.
#ifndef FOCAL_NAMESPACE
#define FOCAL_NAMESPACE focal
#endif

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define FOCAL_ON_DEVICE  // or by who compiles that side of this file for a processor
#define FOCAL_INLINE __device__ __forceinline__
#define FOCAL_UNROLL _Pragma("unroll")
#elif defined(_MSC_VER) && !defined(__clang__)
#define FOCAL_INLINE __forceinline
#else
#define FOCAL_INLINE inline __attribute__((always_inline))
#endif

#ifndef FOCAL_UNROLL
#define FOCAL_UNROLL
#endif

#if defined(FOCAL_LANES) && (defined(__AVX512F__) || defined(__AVX2__))
#include <immintrin.h>
#endif

namespace FOCAL_NAMESPACE {

// ---------------------------------------------------------------------------------------------------------------------
// Elementary functions

#if defined(FOCAL_ON_DEVICE)

// The library's own: exact to a unit or two in the last place, whichever the type.
FOCAL_INLINE float absolute(float x) { return fabsf(x); }
FOCAL_INLINE double absolute(double x) { return fabs(x); }
FOCAL_INLINE double product_error(double a, double b, double product) { return fma(a, b, -product); }
FOCAL_INLINE float exponential(float x) { return expf(x); }
FOCAL_INLINE double exponential(double x) { return exp(x); }
FOCAL_INLINE float logarithm(float x) { return logf(x); }
FOCAL_INLINE double logarithm(double x) { return log(x); }
FOCAL_INLINE float log1p_of(float y) { return log1pf(y); }
FOCAL_INLINE double log1p_of(double y) { return log1p(y); }
template <class R>
FOCAL_INLINE R log_complement(R p) { return log1p_of(-p); }
template <class R>
FOCAL_INLINE R log1p_ratio(R e) { return e > R(1e-30) ? log1p_of(e) / e : R(1); }
FOCAL_INLINE float root(float x) { return sqrtf(x); }
FOCAL_INLINE double root(double x) { return sqrt(x); }
FOCAL_INLINE float rounded(float x) { return rintf(x); }
FOCAL_INLINE double rounded(double x) { return rint(x); }

template <class R>
struct Traits {
    using Scalar = R;
    using Wide = double;
};
template <class R>
FOCAL_INLINE R select(bool condition, R a, R b) { return condition ? a : b; }
/// Not so large that products with it would overflow. NaN stays.
template <class R>
FOCAL_INLINE R narrow(double x) {
    if constexpr (sizeof(R) == 8) return x;
    const R value = static_cast<R>(x), far = R(1e30), low = value > far ? far : value;
    return low < -far ? -far : low;
}

/// The coefficients of a cell of a table, read in words of 16 bytes.
template <class R>
struct alignas(16) Cell {
    R terms[sizeof(R) == 8 ? 6 : 4];

    FOCAL_INLINE static Cell of(const R* coefficients, R index) {
        return reinterpret_cast<const Cell*>(coefficients)[static_cast<int>(index)];
    }
    FOCAL_INLINE R operator[](int i) const { return terms[i]; }
};

#else

#if defined(FOCAL_LANES)
using Lanes = double __attribute__((vector_size(8 * FOCAL_LANES)));
using Bits = unsigned long long __attribute__((vector_size(8 * FOCAL_LANES)));
constexpr int kLanes = FOCAL_LANES;
FOCAL_INLINE Lanes from_bits(Bits x) { return reinterpret_cast<Lanes>(x); }
FOCAL_INLINE Bits to_bits(Lanes x) { return reinterpret_cast<Bits>(x); }
#else
using Lanes = double;
using Bits = unsigned long long;
constexpr int kLanes = 1;
FOCAL_INLINE Lanes from_bits(Bits x) { return __builtin_bit_cast(double, x); }
FOCAL_INLINE Bits to_bits(Lanes x) { return __builtin_bit_cast(Bits, x); }
#endif

template <class R>
struct Traits {
    using Scalar = double;
    using Wide = Lanes;
};
template <class Mask>
FOCAL_INLINE Lanes select(Mask condition, Lanes a, Lanes b) { return condition ? a : b; }
template <class R>
FOCAL_INLINE R narrow(Lanes x) { return x; }

FOCAL_INLINE Lanes absolute(Lanes x) { return from_bits(to_bits(x) & 0x7fffffffffffffffULL); }

/// Square root, roughly.
FOCAL_INLINE Lanes root(Lanes x) {
    // Half the exponent, then a step of Newton's method.
    const Lanes y = from_bits((to_bits(x) >> 1) + 0x1ff8000000000000ULL);
    return 0.5 * (y + x / y);
}

/// To the nearest integer.
FOCAL_INLINE Lanes rounded(Lanes x) { return (x + 0x1.8p52) - 0x1.8p52; }

/// Coefficient of a cell of a table.
FOCAL_INLINE Lanes entry(const double* coefficients, Lanes cell, int terms) {
    const Bits index = to_bits(cell * static_cast<double>(terms) + 0x1p52) & 0xffffffffULL;
#if defined(FOCAL_LANES) && FOCAL_LANES == 8 && defined(__AVX512F__)
    return reinterpret_cast<Lanes>(_mm512_mask_i64gather_pd(Lanes{}, 0xff, reinterpret_cast<__m512i>(index), coefficients, 8));
#elif defined(FOCAL_LANES) && FOCAL_LANES == 4 && defined(__AVX2__)
    return reinterpret_cast<Lanes>(_mm256_i64gather_pd(coefficients, reinterpret_cast<__m256i>(index), 8));
#elif defined(FOCAL_LANES)
    Lanes values;
    for (int i = 0; i < kLanes; ++i) values[i] = coefficients[index[i]];
    return values;
#else
    return coefficients[index];
#endif
}

/// The coefficients of a cell of a table.
template <class R>
struct Cell {
    const double* coefficients;
    Lanes index;

    FOCAL_INLINE static Cell of(const double* coefficients, Lanes index) { return {coefficients, index}; }
    FOCAL_INLINE Lanes operator[](int i) const { return entry(coefficients + i, index, 6); }
};

/// Rounding error of `product`, the rounded a * b.
FOCAL_INLINE Lanes product_error(Lanes a, Lanes b, Lanes product) {
#if defined(FOCAL_LANES) && FOCAL_LANES == 8 && defined(__AVX512F__)
    return reinterpret_cast<Lanes>(_mm512_fmsub_pd(a, b, product));
#elif defined(FOCAL_LANES) && FOCAL_LANES == 4 && defined(__FMA__)
    return reinterpret_cast<Lanes>(_mm256_fmsub_pd(a, b, product));
#elif defined(FOCAL_LANES) && defined(__aarch64__)
    for (int i = 0; i < kLanes; ++i) product[i] = __builtin_fma(a[i], b[i], -product[i]);
    return product;
#else
    // Halves of 26 bits, whose products are exact (Dekker).
    const Lanes a_shifted = a * 134217729.0, b_shifted = b * 134217729.0;
    const Lanes a_high = a_shifted - (a_shifted - a), b_high = b_shifted - (b_shifted - b);
    const Lanes a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
}

/// Relative error below 2.5e-16, gradual underflow, for arguments up to 500; 0 below -840.
///
/// Cody & Waite: x = n log 2 + r, |r| <= log(2)/2, with log 2 in two parts, the first short enough that its product
/// with n is exact. Polynomial through (exp(r) - 1 - r) / r^2 at Chebyshev nodes, error of exp(r) 2e-17.
FOCAL_INLINE Lanes exponential(Lanes x) {
    // Adding 1.5 * 2^52 rounds to an integer and leaves it in the lowest bits; the rest of the constant is the bias of
    // the exponent, plus 200 to stay clear of subnormal numbers until the last multiplication.
    constexpr double kShift = 0x1.8p52 + 1023.0 + 200.0;
    x = select(x < -840.0, Lanes{} - 840.0, x);
    const Lanes shifted = x * 0x1.71547652b82fep0 + kShift;
    const Lanes n = shifted - kShift;
    Lanes r = x - n * 0x1.62e42fee00000p-1;
    r = r - n * 0x1.a39ef35793c76p-33;
    const Lanes scale = from_bits(to_bits(shifted) << 52);
    const Lanes r2 = r * r;
    const Lanes r4 = r2 * r2;
    const Lanes c01 = 0.5 + 0.16666666666666669 * r;
    const Lanes c23 = 0.04166666666662324 + 0.008333333333329994 * r;
    const Lanes c45 = 0.0013888888917654016 + 0.00019841269863392214 * r;
    const Lanes c67 = 2.4801520613566223e-05 + 2.7557267935231926e-06 * r;
    const Lanes c89 = 2.762041219449885e-07 + 2.5100634461878497e-08 * r;
    const Lanes poly = (c01 + c23 * r2) + r4 * ((c45 + c67 * r2) + r4 * c89);
    // Only the second product can round, and only where the result is subnormal.
    return ((1.0 + (r + r2 * poly)) * scale) * 0x1p-200;
}

/// (atanh(s) / s - 1) / s^2 as a function of s^2 in [0, 1/9], interpolated at Chebyshev nodes. Error of 1 + s^2 times
/// it: 2e-16.
FOCAL_INLINE Lanes atanh_wide(Lanes z) {
    const Lanes z2 = z * z;
    const Lanes z4 = z2 * z2;
    const Lanes c01 = 0.33333333333333487 + 0.19999999999780063 * z;
    const Lanes c23 = 0.14285714338330496 + 0.11111106278964855 * z;
    const Lanes c45 = 0.09091130554209893 + 0.07686637438178667 * z;
    const Lanes c67 = 0.06751171235881791 + 0.05161334635232842 * z;
    return (c01 + c23 * z2) + z4 * ((c45 + c67 * z2) + z4 * 0.08435350330584022);
}

/// As atanh_wide for s^2 in [0, 0.02944], the range that log1p needs. Error 5e-18.
FOCAL_INLINE Lanes atanh_narrow(Lanes z) {
    const Lanes z2 = z * z;
    const Lanes c01 = 0.3333333333333335 + 0.19999999999949725 * z;
    const Lanes c23 = 0.14285714313000714 + 0.11111105565280362 * z;
    const Lanes c45 = 0.09091444716878838 + 0.07665855673334322 * z;
    return (c01 + c23 * z2) + (z2 * z2) * (c45 + 0.07308288210844943 * z2);
}

/// log(u + lost) for a normal u and a `lost` of the size of its rounding error.
///
/// u = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and log(1 + f) = 2 atanh(f / (2 + f)) (fdlibm's e_log.c).
FOCAL_INLINE Lanes logarithm(Lanes u, Lanes lost) {
    constexpr unsigned long long kSqrtHalf = 0x3fe6a09e667f3bcdULL;
    // Biased exponent, in unsigned arithmetic because vector units lack the 64-bit arithmetic shift; turned into a
    // double through the mantissa of 2^52 because they lack that conversion too.
    const Bits exponent = (to_bits(u) + (0x3ff0000000000000ULL - kSqrtHalf)) >> 52;
    const Lanes k = from_bits(exponent | 0x4330000000000000ULL) - (0x1p52 + 1023.0);
    const Lanes down = from_bits((2046 - exponent) << 52);
    const Lanes f = (u * down - 1.0) + lost * down;
    const Lanes s = f / (2.0 + f);
    const Lanes z = s * s;
    const Lanes s2 = s + s;
    return k * 0x1.62e42fefa39efp-1 + (s2 + (s2 * z) * atanh_narrow(z));
}
FOCAL_INLINE Lanes logarithm(Lanes u) { return logarithm(u, Lanes{}); }

/// log(1 + y) for y >= -1/2 and below 2^52. Relative error below 1e-15.
FOCAL_INLINE Lanes log1p_of(Lanes y) {
    const Lanes u = 1.0 + y;
    // Small y: error of the sum is y - (u - 1). Large y: 1 - (u - y).
    const Lanes value = logarithm(u, select(y < 1.0, y - (u - 1.0), 1.0 - (u - y)));
    // Below, the series ends after y, and halving a subnormal number would lose bits.
    return select(absolute(y) < 0x1p-54, y, value);
}

/// log(1 - p) for p in [0, 1/2], without the reduction of log1p_of. Relative error below 1e-15.
FOCAL_INLINE Lanes log_complement(Lanes p) {
    const Lanes s = p / (2.0 - p);
    const Lanes z = s * s;
    const Lanes twice = -(s + s);
    return twice + (twice * z) * atanh_wide(z);
}

/// log(1 + e) / e for e in [0, 1], where e underflows too.
FOCAL_INLINE Lanes log1p_ratio(Lanes e) {
    const Lanes inverse = 1.0 / (2.0 + e);
    const Lanes s = e * inverse;
    const Lanes z = s * s;
    const Lanes twice = inverse + inverse;
    return twice + (twice * z) * atanh_wide(z);
}


#endif

template <class R>
using Scalar = typename Traits<R>::Scalar;
template <class R>
using Wide = typename Traits<R>::Wide;

/// exp(x) of an argument in double precision, whatever the type of the result: of 300 +- 1e-5, single precision would
/// leave five digits.
template <class R>
FOCAL_INLINE R exponential_of(Wide<R> x) {
    if constexpr (sizeof(R) >= 8) {
        return exponential(x);
    } else {
        x = x < -1000.0 ? -1000.0 : x;
        const R high = narrow<R>(x);
        const R value = exponential(high);
        return value + value * narrow<R>(x - static_cast<double>(high));
    }
}

/// Infinite margins become this one: every exponential has underflowed, and no product below overflows.
template <class W>
FOCAL_INLINE W finite_margin(W z) {
    const W far = W{} + 1e200;
    z = select(z > far, far, z);
    return select(z < -far, -far, z);
}

/// x - y as a rounded difference and its rounding error (Knuth's two-sum): at a difference of 700 the rounding alone
/// would cost a factor of 1 +- 6e-14 in its exponential.
template <class W>
struct Difference {
    W value, low;

    FOCAL_INLINE Difference(W x, W y) {
        value = x - y;
        const W away = x - value;
        const W error = (x - (value + away)) + (away - y);
        // Of margins of 1e20 the error alone would overflow an exponential, and 0 times infinity is NaN.
        low = select(absolute(value) > 1e9, W{}, error);
    }

    template <class R>
    FOCAL_INLINE R power() const {
        const R e = exponential_of<R>(value);
        return e + e * narrow<R>(low);
    }
};

/// exp(gamma x) for x <= 0: the rounding of the product, half a unit of a number up to 745, would be magnified.
template <class R>
FOCAL_INLINE R power_of_exponential(Wide<R> gamma, Wide<R> x, Wide<R> low) {
    const Wide<R> product = gamma * x;
    const R power = exponential_of<R>(product);
    return power + power * narrow<R>(product_error(gamma, x, product) + low);
}

// ---------------------------------------------------------------------------------------------------------------------
// Tables

template <class R>
struct Jet {
    R value, first, second;  ///< and derivatives
};

/// A piecewise polynomial of tables.py.
template <class R>
struct Table {
    using S = Scalar<R>;
    static constexpr int kTerms = sizeof(S) == 8 ? 6 : 4;
    S first, last, inverse_width, slope_left, slope_right;
    const S* coefficients;

    Table() = default;

    FOCAL_INLINE explicit Table(const S* start)
        : first(start[0]), last(start[0] + start[2] - S(1)), inverse_width(start[1]), slope_left(start[3]),
          slope_right(start[4]), coefficients(start + 8) {}

    /// The table whose cells follow those of this one, at the same places.
    FOCAL_INLINE Table behind() const {
        Table next = *this;
        next.coefficients += static_cast<int>(last - first + S(1)) * kTerms;
        return next;
    }

    /// The first N terms of the polynomial at x.
    template <int N = kTerms>
    FOCAL_INLINE Jet<R> at(Wide<R> x) const {
        // Cells lie around multiples of their width, a power of two: neither the product nor its distance to the middle
        // of the cell is rounded. NaN is in the first cell.
        const R place = narrow<R>(x) * inverse_width, low = R{} + first, high = R{} + last, half = R{} + S(0.5);
        const R above = select(place > low, place, low);
        const R cell = rounded(select(above > high, high, above)), y = place - cell;
        R inside = select(y > half, half, y);
        inside = select(inside < -half, -half, inside);
        const Cell<S> terms = Cell<S>::of(coefficients, cell - low);
        Jet<R> jet{terms[N - 1], R{}, R{}};
        FOCAL_UNROLL for (int i = N - 2; i >= 0; --i) {
            jet.second = jet.second * inside + jet.first;
            jet.first = jet.first * inside + jet.value;
            jet.value = jet.value * inside + terms[i];
        }
        const R beyond = y - inside;  // 0, or outside the table, where the function is linear; NaN stays
        jet.value = jet.value + beyond * select(beyond < S(0), R{} + slope_left, R{} + slope_right);
        jet.first = jet.first * inverse_width;
        jet.second = jet.second * (S(2) * inverse_width * inverse_width);
        return jet;
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// What all losses share

template <class R>
struct Derivatives {
    R gradient, hessian;
};

/// What happens to gradient and curvature at the end.
///
/// Step bound: with h >= |g| / max_step in every row, no Newton step sum(g) / sum(h) exceeds max_step, the cure that
/// LogitBoost applied to its working response (Friedman, Hastie & Tibshirani 2000).
template <class R>
struct Finish {
    Scalar<R> inverse_step;  ///< 1 / max_step
    Scalar<R> least;         ///< -inf without a bound, else 0
    Scalar<R> scale;         ///< the factor of the library on the bounded curvature

    FOCAL_INLINE Derivatives<R> operator()(R g, R h, R weight) const {
        R floor = absolute(g) * inverse_step;
        floor = least < Scalar<R>(0) ? R{} + least : floor;
        return {g * weight, select(floor > h, floor, h) * scale * weight};  // a NaN stays
    }
};

/// Probability of one class, complement and -log p, free of cancellation, and what follows of them.
template <class R>
struct Class {
    using S = Scalar<R>;
    R gamma, p, q, a;
    R odds_a;   ///< a p / q, in (0, 1]
    R bracket;  ///< 1 + gamma a p / q

    Class() = default;

    FOCAL_INLINE Class(R gamma_, R p_, R q_, R a_, R odds_a_)
        : gamma(gamma_), p(p_), q(q_), a(a_), odds_a(odds_a_), bracket(S(1) + gamma_ * odds_a_) {}

    /// A class whose q does not underflow.
    FOCAL_INLINE static Class improbable(R gamma, R p, R a) {
        const R q = S(1) - p;
        return {gamma, p, q, a, a * p / q};
    }

    /// d theta / dt with theta = -log(-L'(p)), L(p) = -q^gamma log p, and t = log(p / q): the logit link's slope.
    FOCAL_INLINE R slope() const { return bracketed_slope() / bracket; }
    FOCAL_INLINE R bracketed_slope() const { return gamma * p * bracket + (q + gamma * p * (S(1) - odds_a)); }

    /// r'/r and D'/D of the logit link, r = dp / d theta and D = r exp(-theta); the second is the first less 1.
    FOCAL_INLINE void bends(R& of_r, R& of_d) const {
        const auto focuses = gamma > S(0);  // else the slope is q, which may underflow
        const R one = R{} + S(1), inverse = one / bracket;
        const R excess = gamma * (odds_a - p) * inverse;
        const R s = select(focuses, slope(), one);
        const R of_slope = ((gamma - S(1)) * p * q + gamma * p * q * inverse - (S(1) + gamma * p) * excess * inverse) / s;
        of_r = select(focuses, (q - p - of_slope) / s, one);
        // For improbable classes the slope is nearly 1: what it differs by, without it.
        of_d = select(focuses, ((S(1) - gamma) * p + excess - S(2) * p - of_slope) / s, R{});
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Two classes

template <class R>
FOCAL_INLINE auto is_binary_label(R t) { return (t >= Scalar<R>(0)) & (t <= Scalar<R>(1)); }

/// The two classes at a logit z of class 1, by x = |z|: "right" is the class that it speaks for, "wrong" the other.
template <class R>
struct Sides {
    using S = Scalar<R>;
    using W = Wide<R>;
    R x, big, right_power, wrong_power;  ///< powers: q^gamma of either class
    Class<R> right, wrong;

    FOCAL_INLINE Sides(W z, double gamma0, double gamma1) {
        const W distance = absolute(z);
        const W one = W{} + gamma1, zero = W{} + gamma0;
        const W g_right = select(z >= 0.0, one, zero), g_wrong = select(z >= 0.0, zero, one);
        x = narrow<R>(distance);
        const R e = exponential_of<R>(-distance);
        big = S(1) / (S(1) + e);
        const R lambda = log1p_ratio(e);  // nothing is 0/0 where e underflows
        const R cost = e * lambda;
        right = Class<R>(narrow<R>(g_right), big, e * big, cost, lambda);
        wrong = Class<R>(narrow<R>(g_wrong), e * big, big, x + cost, e * (x + cost));
        wrong_power = exponential(-wrong.gamma * cost);
        right_power = power_of_exponential<R>(g_right, -distance, W{}) * exponential(-right.gamma * cost);
    }
};

/// The binary loss. A label t may lie between 0 and 1.
template <class R>
struct Binary {
    using S = Scalar<R>;
    using W = Wide<R>;
    double gamma0, gamma1;
    S w0, w1;
    double shift;  ///< log(w1 / w0)
    Finish<R> finish;
    Table<R> row_weight, logit;  ///< of the logit link

    /// Of margins f of the logit link, the logit z at which the loss is taken.
    FOCAL_INLINE W to_logit(W f) const {
        const auto z = logit.at(f + shift).value;
        return W{} + z;
    }

    /// Focal loss at the logit z of p: w1 q^gamma a for t = 1, w0 p^gamma b for t = 0.
    FOCAL_INLINE R loss(W z, R t) const {
        const Sides<R> s(z, gamma0, gamma1);
        const R right = s.right_power * s.right.a, wrong = s.wrong_power * s.wrong.a;
        const auto positive = z >= 0.0;
        return t * (w1 * select(positive, right, wrong)) + (S(1) - t) * (w0 * select(positive, wrong, right));
    }

    /// Gradient and curvature with respect to z of the focal link.
    ///
    /// Expected: the exact second derivative averaged over y ~ Bernoulli(eta), eta = u0 / (u0 + u1) being the posterior
    /// that the margin stands for. It is u0 u1 / (u0 + u1) * M, M = d logit(eta) / dz, always positive.
    FOCAL_INLINE Derivatives<R> of_focal(W z, R t, R weight, bool expected) const {
        const Sides<R> s(z, gamma0, gamma1);
        const auto positive = z >= 0.0;
        const R one = R{} + w1, zero = R{} + w0;
        const R w_right = select(positive, one, zero), w_wrong = select(positive, zero, one);
        const R t_right = select(positive, t, S(1) - t), t_wrong = select(positive, S(1) - t, t);
        const R right = w_right * s.right_power * s.right.q, wrong = w_wrong * s.wrong_power * s.wrong.q;
        const R u_right = right * s.right.bracket, u_wrong = wrong * s.wrong.bracket;
        const R away = t_wrong * u_wrong - t_right * u_right;  // along |z|
        R h;
        if (expected) {
            // The brackets of the slopes cancel over their common denominator. The smaller factor last, so that no
            // partial product is smaller than the result.
            const Class<R>&c = s.right, &d = s.wrong;
            const R m = c.bracketed_slope() * d.bracket + d.bracketed_slope() * c.bracket;
            h = wrong * m / (u_right + u_wrong) * right;
        } else {
            // p times a cost of 700 and more: p alone would be subnormal where the product is not, hence two halves.
            const R root = exponential_of<R>(-0.5 * absolute(z));
            const R bent_wrong = root * (root * ((s.big * s.big) * bracket(s.wrong)));
            const R bent_right = (s.right.p * s.right.q) * bracket(s.right);
            h = t_wrong * (w_wrong * s.wrong_power) * bent_wrong + t_right * (w_right * s.right_power) * bent_right;
        }
        return finish(select(positive, away, -away), h, weight);
    }

    /// The second derivative but for w q^gamma and p q.
    FOCAL_INLINE static R bracket(const Class<R>& c) {
        return (S(1) + S(2) * c.gamma) - c.gamma * c.a + (c.gamma * c.gamma) * c.odds_a;
    }

    /// Log-odds of the probability of class 1 that margins of the focal link stand for: log u0 - log u1.
    FOCAL_INLINE R log_odds(W z) const {
        const Sides<R> s(z, gamma0, gamma1);
        const R odd = (s.right.gamma + S(1)) * s.x + (s.right.gamma - s.wrong.gamma) * s.right.a +
                      (log1p_of(s.wrong.gamma * s.wrong.odds_a) - log1p_of(s.right.gamma * s.right.odds_a));
        return select(z < 0.0, -odd, odd) - S(shift);
    }

    /// Gradient and curvature with respect to margins f of the logit link: those of the log loss, (eta - t) and
    /// eta (1 - eta), with a row weight that does not depend on the label, v = w0 w1 S / (w1 eta + w0 (1 - eta)).
    FOCAL_INLINE Derivatives<R> of_logit(W f, R t, R weight, bool expected) const {
        const Jet<R> s = row_weight.at(f + shift);
        const auto positive = f >= 0.0;
        const R e = exponential_of<R>(-absolute(f));
        const R mean = select(positive, w1 + w0 * e, w0 + w1 * e), one = S(1) + e;
        const R inverse = S(1) / (one * mean);
        const R u = (w0 * w1) * s.value * (inverse * one);  // v / (1 + e)
        const R big = inverse * mean;
        const R t_right = select(positive, t, S(1) - t), t_wrong = select(positive, S(1) - t, t);
        const R away = (t_wrong - t_right * e) * u;
        const R g = select(positive, away, -away);
        R h = (e * u) * big;
        if (!expected) {
            // v' / v = S' / S - (w1 - w0) eta (1 - eta) / (w1 eta + w0 (1 - eta))
            h = h + g * (s.first / s.value - (w1 - w0) * (e * big) * (inverse * one));
        }
        return finish(g, h, weight);
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Several classes
//
// "top" is the only class of a row whose complement can be small. All others are taken relative to the second, so that
// the share of each in top's complement survives where that complement underflows. A row is gone through class by class
// several times. Everything computed for a class that is not top is right for top as well in the sense that its
// exponential is set to 0 and so it adds nothing to any sum; selects put top's own values in its place at the end.

template <class W>
FOCAL_INLINE auto is_class_label(W t, double n_classes) { return (t >= 0.0) & (t < n_classes) & (rounded(t) == t); }

/// The two largest of what classes are ordered by, and the class of the largest (the first of equal ones).
template <class W>
struct Leaders {
    W highest = W{} - 1.7e308, second = W{} - 1.7e308, top = W{} - 1.0;

    FOCAL_INLINE void visit(W z, double k) {
        const auto higher = z > highest;
        const W low = select(z > second, z, second);
        second = select(higher, highest, low);
        top = select(higher, W{} + k, top);
        highest = select(higher, z, highest);
    }
};

// Margins of the focal link: p = softmax(z), classes ordered by z.

/// What is common to the classes of a row, and its top class.
template <class R>
struct SoftmaxRow {
    using S = Scalar<R>;
    using W = Wide<R>;
    W highest, log_total, log_q_top;
    R scale, inverse_others, top_power;
    Class<R> top;

    SoftmaxRow() = default;

    /// `others`: sum of exp(z - second) but for top, in [1, K - 1].
    FOCAL_INLINE SoftmaxRow(W highest_, W second, R others, W gamma) : highest(highest_) {
        const Difference<W> d(second, highest);
        const R t = d.template power<R>();
        const R rest = t * others;  // all classes but top, top being 1
        const R p = S(1) / (S(1) + rest), q = rest * p, cost = log1p_of(rest);
        scale = t * p;
        inverse_others = S(1) / others;
        log_total = W{} + cost;
        top = Class<R>(narrow<R>(gamma), p, q, cost, select(q > S(0), cost * p / q, p));
        const W log_rest = W{} + (logarithm(others) - cost);
        log_q_top = d.value + log_rest;
        top_power = power_of_exponential<R>(gamma, d.value, gamma * d.low) * exponential_of<R>(gamma * log_rest);
    }

    /// A class that is not top; its margin is z and its exponential e.
    FOCAL_INLINE Class<R> other(W z, R e, S gamma) const {
        return Class<R>::improbable(R{} + gamma, e * scale, narrow<R>((highest - z) + log_total));
    }
    FOCAL_INLINE static R power(const Class<R>& c) { return exponential(c.gamma * log_complement(c.p)); }
    /// p / q of top, exact where both underflow.
    FOCAL_INLINE R share(R e) const { return e * inverse_others; }
};

/// R_k = V_k q_k / -A_k over p_k, V_k = p_k dA_k/dp_k: free of weights and of q^gamma, so it never underflows.
template <class R>
FOCAL_INLINE R focal_bend(const Class<R>& c) {
    using S = Scalar<R>;
    return c.gamma * (S(2) - c.a + (c.gamma - S(1)) * c.odds_a) / c.bracket;
}

/// What a class that is not top adds to the expected diagonal, the exact one averaged over t ~ eta, eta_t = c p_t / -A_t:
///
///   h_k = c p_k [ q_k (1 + R_k) + p_k sum_{t != k} p_t R_t / q_t ],   1/c = sum_t p_t / -A_t.
template <class R>
struct FocalTerms {
    R slope;    ///< -A_k = w q^gamma (1 + gamma p a / q)
    R inverse;  ///< p_k / -A_k
    R term;     ///< p_k R_k / q_k
    R own;      ///< q_k (1 + R_k) less p_k times term

    FOCAL_INLINE FocalTerms(const Class<R>& c, R w_power) {
        slope = w_power * c.bracket;
        inverse = c.p / slope;
        const R r = c.p * focal_bend(c), over_q = r / c.q;
        term = c.p * over_q;
        own = c.q + over_q * (c.q - c.p);
    }
};

/// log(p_k / -A_k): logarithm of the class probability that margins stand for, up to a constant a row.
template <class R>
FOCAL_INLINE R focal_log_posterior(const Class<R>& c, Wide<R> log_q, R log_w) {
    return narrow<R>(-c.gamma * log_q - c.a) - log1p_of(c.gamma * c.odds_a) - log_w;
}

// Margins of the logit link: softmax(f) are the class probabilities. With d_k = f_k + log w_k, theta_k = d_k + constant,
// and sum_k P(theta_k) = 1 (numpy.py, Logit). Classes are ordered by d_k - theta(1/2): then none but top is above 1/2.
// `shrinkage` is the table of Q = P(theta) exp(-theta): P = exp(theta) Q and r = dP / d theta = exp(theta) (Q + Q').
// theta of top is found in the coordinate x of the table `constant`; from it the others follow.

/// What x is if the others are improbable, moved towards what it is if there is but one (by a power that was found to
/// come close). `sum`, `squares`: of
/// e = exp(d - d_second) over the classes but top, and of its square; `gap`: d_second - d_top.
template <class R>
FOCAL_INLINE Wide<R> logit_start(const Table<R>& one_other, Wide<R> gap, R sum, R squares) {
    const Wide<R> x = -gap - logarithm(sum);
    const R one = squares / (sum * sum);
    return x + one_other.template at<3>(x).value * (one * root(one));
}

/// A step of Halley's method. `sum`, `first`, `second`: of e Q, e Q' and e Q'' over the classes but top.
template <class R>
FOCAL_INLINE Wide<R> logit_step(Wide<R> x, Wide<R> gap, const Jet<R>& theta, R sum, R first, R second) {
    using S = Scalar<R>;
    const R inverse = S(1) / sum, change = first * inverse;
    const R slope = S(1) + theta.first * change;
    const R bend = theta.second * change + theta.first * theta.first * (second * inverse - change * change);
    const R missing = narrow<R>(x + gap + logarithm(sum));
    const R square = slope * slope, bent = square - S(0.5) * missing * bend, least = S(0.5) * square;
    return x - missing * slope / select(bent > least, bent, least);
}

/// A row at its solution.
template <class R>
struct LogitRow {
    using S = Scalar<R>;
    using W = Wide<R>;
    W theta, theta_second;       ///< of top, and less the gap
    R step, scale;               ///< last correction of theta; exp(theta of the second) after it
    R inverse_total, top_share;  ///< r is scale times a share: that of top, and 1 over their sum
    R others;                    ///< sum of the shares of all but top
    R c_scale, top_slope;        ///< scale times c, with which c R (diag(rho) - rho rho^T) is expected; D of top
    Class<R> top;

    LogitRow() = default;

    /// `sum`, `first`, `second`: of e Q, e Q', e Q'' over the classes but top, at `start`; `inverse_weights`: of e / w.
    FOCAL_INLINE LogitRow(W start, W gap, R gamma, R w_top, R sum, R first, R second, R inverse_weights) {
        const R scale_start = exponential_of<R>(gap + start), q_start = scale_start * sum;
        const R most = R{} + (sizeof(S) == 8 ? S(1) - S(0x1p-50) : S(1) - S(0x1p-22));
        const Class<R> c = at_complement(gamma, select(q_start > most, most, q_start));
        // What theta is by top's own complement, without the table; from there a last step.
        const W missing = -gamma * (gap + start + logarithm(sum)) - (c.a + log1p_of(gamma * c.odds_a)) - start;
        const R width = c.p * sum * c.bracket;
        step = narrow<R>(missing) * width / (width + c.bracketed_slope() * (sum + first));
        theta = start + step;
        theta_second = gap + theta;
        scale = scale_start * (S(1) + step * (S(1) + step * (S(0.5) + step * S(1.0 / 6.0))));  // the step is small
        const R shares = sum + first * step, q = scale * shares, p = S(1) - q;
        // -log p follows in first order; what is left out is the square of the step.
        const R moved = c.a + (q - c.q) / c.p, a = select(moved > S(0), moved, R{});
        top = Class<R>(gamma, p, q, a, select(q > S(0), a * p / q, p));
        others = (sum + first) + (first + second) * step;
        const R slope = top.bracketed_slope(), over_slope = p * top.bracket / slope;
        const R share = shares * over_slope, largest = R{} + (sizeof(S) == 8 ? S(1.7e308) : S(3e38));
        top_share = select(share > largest, largest, share);
        inverse_total = S(1) / (others + top_share);
        // Without gamma the slope is q, and may be so small that its inverse is infinite.
        top_slope = select(slope > S(sizeof(S) == 8 ? 1e-300 : 1e-37), q * over_slope, p) * exponential_of<R>(-theta);
        const R beside = exponential_of<R>(gap) * w_top;
        c_scale = beside / (S(1) + beside * inverse_weights);
    }

    FOCAL_INLINE static Class<R> at_complement(R gamma, R q) {
        const R a = -log1p_of(-q), p = S(1) - q;
        return Class<R>(gamma, p, q, a, select(q > S(0), a * p / q, p));
    }
};

}  // namespace FOCAL_NAMESPACE
