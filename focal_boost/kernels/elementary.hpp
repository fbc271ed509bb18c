// Elementary functions of a number, and tables, for C++17, nvcc and NVRTC. R is what a number is: double or float on a
// GPU, `Lanes` on a processor, several rows at a time in a vector of doubles. There are no branches, only selects.
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
/// The index of a class.
template <class W>
using ClassIndex = int;
template <class W>
FOCAL_INLINE int class_index(int k) { return k; }
template <class R>
FOCAL_INLINE R select(bool condition, R a, R b) { return condition ? a : b; }
template <class R>
FOCAL_INLINE R larger(R a, R b) { return a > b ? a : b; }
template <class R>
FOCAL_INLINE R smaller(R a, R b) { return a < b ? a : b; }
/// Not so large that products with it would overflow. NaN stays.
template <class R>
FOCAL_INLINE R narrow(double x) {
    if constexpr (sizeof(R) == 8) return x;
    return larger(R(-1e30), smaller(R(1e30), static_cast<R>(x)));
}

/// The coefficients of a cell of a table, read in words of 16 bytes.
template <class R>
struct alignas(16) Cell {
    R terms[sizeof(R) == 8 ? 6 : 4];

    /// The cell that `place`, in widths of a cell, is nearest to, whose number is rounded to `nearest`.
    FOCAL_INLINE static Cell of(const R* coefficients, R first, R place, R& nearest) {
        nearest = rounded(place);
        return reinterpret_cast<const Cell*>(coefficients)[static_cast<int>(nearest - first)];
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
/// The index of a class.
template <class W>
using ClassIndex = Lanes;
template <class W>
FOCAL_INLINE Lanes class_index(int k) { return Lanes{} + static_cast<double>(k); }
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

/// The larger of two, b if one of them is NaN.
FOCAL_INLINE Lanes larger(Lanes a, Lanes b) {
#if defined(FOCAL_LANES) && FOCAL_LANES == 8 && defined(__AVX512F__)
    return reinterpret_cast<Lanes>(_mm512_mask_max_pd(__m512d{}, 0xff, reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b)));
#elif defined(FOCAL_LANES) && FOCAL_LANES == 4 && defined(__AVX2__)
    return reinterpret_cast<Lanes>(_mm256_max_pd(reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b)));
#else
    return a > b ? a : b;
#endif
}
FOCAL_INLINE Lanes smaller(Lanes a, Lanes b) {
#if defined(FOCAL_LANES) && FOCAL_LANES == 8 && defined(__AVX512F__)
    return reinterpret_cast<Lanes>(_mm512_mask_min_pd(__m512d{}, 0xff, reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b)));
#elif defined(FOCAL_LANES) && FOCAL_LANES == 4 && defined(__AVX2__)
    return reinterpret_cast<Lanes>(_mm256_min_pd(reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b)));
#else
    return a < b ? a : b;
#endif
}

/// The coefficients of a cell of a table.
template <class R>
struct Cell {
    const double* coefficients;
    Bits index;

    /// The cell that `place`, in widths of a cell, is nearest to, whose number is rounded to `nearest`.
    FOCAL_INLINE static Cell of(const double* coefficients, double first, Lanes place, Lanes& nearest) {
        // See `rounded`: the integer is in the lowest bits of the sum.
        const Lanes shifted = place + 0x1.8p52;
        nearest = shifted - 0x1.8p52;
        return {coefficients, (to_bits(shifted) - to_bits(Lanes{} + (first + 0x1.8p52))) * 6};
    }

    FOCAL_INLINE Lanes operator[](int i) const {
        const double* terms = coefficients + i;
#if defined(FOCAL_LANES) && FOCAL_LANES == 8 && defined(__AVX512F__)
        return reinterpret_cast<Lanes>(
            _mm512_mask_i64gather_pd(__m512d{}, 0xff, reinterpret_cast<__m512i>(index), terms, 8));
#elif defined(FOCAL_LANES) && FOCAL_LANES == 4 && defined(__AVX2__)
        return reinterpret_cast<Lanes>(_mm256_i64gather_pd(terms, reinterpret_cast<__m256i>(index), 8));
#elif defined(FOCAL_LANES)
        Lanes values;
        for (int lane = 0; lane < kLanes; ++lane) values[lane] = terms[index[lane]];
        return values;
#else
        return terms[index];
#endif
    }
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
    x = larger(Lanes{} - 840.0, x);
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
    return larger(W{} - 1e200, smaller(W{} + 1e200, z));
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

/// A value and derivatives.
template <class R>
struct Jet {
    R value, first, second;
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

    /// The first N terms of the polynomial at x; outside the table what it is at its end, of NaN too.
    template <int N = kTerms>
    FOCAL_INLINE Jet<R> at(Wide<R> x) const { return at_place<N>(inside(narrow<R>(x) * inverse_width)); }

    /// The same, but a straight line outside the table. NaN stays.
    template <int N = kTerms>
    FOCAL_INLINE Jet<R> and_beyond(Wide<R> x) const {
        const R place = narrow<R>(x) * inverse_width, within = inside(place), beyond = place - within;
        Jet<R> jet = at_place<N>(within);
        jet.value = jet.value + beyond * select(beyond < S(0), R{} + slope_left, R{} + slope_right);
        return jet;
    }

    /// Of a table of polynomials in x and u: u (a + u (b + u c)), a, b and c being straight lines in each cell.
    FOCAL_INLINE R surface(R x, R u) const {
        const R place = inside(x * inverse_width);
        R nearest;
        const Cell<S> terms = Cell<S>::of(coefficients, first, place, nearest);
        const R y = place - nearest;
        return u * ((terms[0] + terms[1] * y) + u * ((terms[2] + terms[3] * y) + u * (terms[4] + terms[5] * y)));
    }

    FOCAL_INLINE R inside(R place) const { return smaller(larger(place, R{} + first), R{} + last); }

    template <int N>
    FOCAL_INLINE Jet<R> at_place(R place) const {
        // Cells lie around multiples of their width, a power of two: neither the product nor its distance to the middle
        // of the cell is rounded.
        R nearest;
        const Cell<S> terms = Cell<S>::of(coefficients, first, place, nearest);
        const R y = place - nearest;
        Jet<R> jet{terms[N - 1], R{}, R{}};
        FOCAL_UNROLL for (int i = N - 2; i >= 0; --i) {
            jet.second = jet.second * y + jet.first;
            jet.first = jet.first * y + jet.value;
            jet.value = jet.value * y + terms[i];
        }
        jet.first = jet.first * inverse_width;
        jet.second = jet.second * (S(2) * inverse_width * inverse_width);
        return jet;
    }
};

}  // namespace FOCAL_NAMESPACE
