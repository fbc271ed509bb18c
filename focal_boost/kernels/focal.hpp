// The formulas of the focal losses, one row at a time, for C++17, nvcc and NVRTC.
//
// numpy.py in this folder is the readable specification: what is computed here is what is written there, rearranged so
// that a row costs few divisions. There are no branches, only selects, and no calls into a mathematical library, so a
// compiler vectorises any loop over these functions. All arithmetic is in double precision. NaN margins give NaN.
//
// With FOCAL_SINGLE the elementary functions stop at relative errors of 2^-31, a hundredth of what rounding the results
// to single precision costs: half of the work where double precision is slow, on a GPU.
//
// Notation: z margin, p probability, q = 1 - p, a = -log p, b = -log q, w class weight (alpha).
// Loss: Lin et al. 2017 (arXiv 1708.02002). Posterior: Charoenphakdee et al. 2021 (arXiv 2011.09172).
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
#define FOCAL_INLINE __host__ __device__ __forceinline__
#elif defined(_MSC_VER) && !defined(__clang__)
#define FOCAL_INLINE __forceinline
#else
#define FOCAL_INLINE inline __attribute__((always_inline))
#endif

namespace FOCAL_NAMESPACE {

using Bits = unsigned long long;

#ifdef FOCAL_SINGLE
constexpr bool kSingle = true;
#else
constexpr bool kSingle = false;
#endif

// ---------------------------------------------------------------------------------------------------------------------
// Elementary functions

FOCAL_INLINE double from_bits(Bits x) {
#if defined(__CUDA_ARCH__) || defined(__CUDACC_RTC__)
    return __longlong_as_double(static_cast<long long>(x));
#else
    return __builtin_bit_cast(double, x);
#endif
}

FOCAL_INLINE Bits to_bits(double x) {
#if defined(__CUDA_ARCH__) || defined(__CUDACC_RTC__)
    return static_cast<Bits>(__double_as_longlong(x));
#else
    return __builtin_bit_cast(Bits, x);
#endif
}

FOCAL_INLINE double absolute(double x) { return from_bits(to_bits(x) & 0x7fffffffffffffffULL); }

/// Rounding error of `product`, the rounded a * b; 0 where no fused operation makes it cheap.
FOCAL_INLINE double product_error(double a, double b, double product) {
#if defined(__CUDA_ARCH__) || defined(__CUDACC_RTC__)
    return fma(a, b, -product);
#elif defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
    return __builtin_fma(a, b, -product);
#else
    (void)a, (void)b, (void)product;
    return 0.0;
#endif
}

/// 1 / x by the instruction of the device, which looks at 20 bits of x, gives 20 bits, and takes subnormal numbers for 0.
FOCAL_INLINE double rough_reciprocal(double x) {
#if defined(__CUDA_ARCH__) || defined(__CUDACC_RTC__)
    double y;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
    return y;
#else
    constexpr Bits kHigh = 0xffffffff00000000ULL;
    const double y = from_bits(to_bits(1.0 / from_bits(to_bits(x) & kHigh)) & kHigh);
    return absolute(x) < 0x1p-1022 ? from_bits(0x7ff0000000000000ULL) : y;
#endif
}

/// 1 / x; with FOCAL_SINGLE for x between 1e-300 and 1e300 alone, NaN for 0 and infinity.
FOCAL_INLINE double reciprocal(double x) {
    if constexpr (!kSingle) return 1.0 / x;
    // A step of Newton's method squares the relative error, 2^-18 at the worst.
    const double y = rough_reciprocal(x);
    return y + y * (1.0 - x * y);
}

FOCAL_INLINE double quotient(double a, double b) { return kSingle ? a * reciprocal(b) : a / b; }

/// a / b where b may have underflowed: `otherwise` if it has. Results in single precision are far from noticing a b that
/// `reciprocal` does not take.
FOCAL_INLINE double quotient(double a, double b, double otherwise) {
    const double value = quotient(a, b);
    return (kSingle ? b < 1e-290 : b == 0.0) ? otherwise : value;
}

/// exp for arguments <= 0. Relative error below 2.5e-16, gradual underflow; with FOCAL_SINGLE below 2^-32, and nothing
/// below exp(-700), which is 0 in single precision.
///
/// Cody & Waite: x = n log 2 + r, |r| <= log(2)/2, with log 2 in two parts, the first short enough that its product
/// with n is exact.
struct Exponent {
    static constexpr double kLower = kSingle ? 1.0 : 0x1p-200;
    double shifted, n, r;

    FOCAL_INLINE explicit Exponent(double x) {
        // The exponential of the lowest argument is 0, and 2^200 times it a normal number.
        constexpr double kLowest = kSingle ? -700.0 : -840.0;
        // Adding 1.5 * 2^52 rounds to an integer and leaves it in the lowest bits; the rest of the constant is the bias
        // of the exponent, plus 200 to stay clear of subnormal numbers until the last multiplication.
        constexpr double kShift = 0x1.8p52 + 1023.0 + (kSingle ? 0.0 : 200.0);
        x = x < kLowest ? kLowest : x;
        shifted = x * 0x1.71547652b82fep0 + kShift;
        n = shifted - kShift;
        if constexpr (kSingle) {
            r = x - n * 0x1.62e42fefa39efp-1;
        } else {
            r = x - n * 0x1.62e42fee00000p-1;
            r = r - n * 0x1.a39ef35793c76p-33;
        }
    }

    /// 1 / kLower times the exponential. Polynomial through (exp(r) - 1 - r) / r^2 at Chebyshev nodes, error of exp(r)
    /// 2e-17. The coefficients of the short one fit into an instruction of the device, which has room for 32 bits.
    FOCAL_INLINE double lifted() const {
        const double scale = from_bits(to_bits(shifted) << 52);
        if constexpr (kSingle) {
            double poly = 0x1.96c90p-13;
            poly = poly * r + 0x1.6d42fp-10;
            poly = poly * r + 0x1.11189p-7;
            poly = poly * r + 0x1.5554fp-5;
            poly = poly * r + 0x1.55555p-3;
            poly = poly * r + 0.5;
            poly = poly * r + 1.0;
            return (poly * r + 1.0) * scale;
        }
        const double r2 = r * r;
        const double r4 = r2 * r2;
        const double c01 = 0.5 + 0.16666666666666669 * r;
        const double c23 = 0.04166666666662324 + 0.008333333333329994 * r;
        const double c45 = 0.0013888888917654016 + 0.00019841269863392214 * r;
        const double c67 = 2.4801520613566223e-05 + 2.7557267935231926e-06 * r;
        const double c89 = 2.762041219449885e-07 + 2.5100634461878497e-08 * r;
        const double poly = (c01 + c23 * r2) + r4 * ((c45 + c67 * r2) + r4 * c89);
        return (1.0 + (r + r2 * poly)) * scale;
    }

    /// Up by 2^200, then down again: only the second product can round, and only where the result is subnormal.
    FOCAL_INLINE double value() const { return lifted() * kLower; }
};

FOCAL_INLINE double exp_nonpositive(double x) { return Exponent(x).value(); }

/// exp(x + low), |low| being far below 1 wherever x is above -746.
FOCAL_INLINE double exp_nonpositive(double x, double low) {
    Exponent e(x);
    // Such a low is below 1e-13: nothing that single precision could see.
    if constexpr (!kSingle) e.r += x < -746.0 ? 0.0 : low;
    return e.value();
}

/// (atanh(s) / s - 1) / s^2 as a function of s^2 in [0, 1/9], interpolated at Chebyshev nodes. Error of 1 + s^2 times
/// it: 2e-16; with FOCAL_SINGLE 2^-31.
FOCAL_INLINE double atanh_wide(double z) {
    if constexpr (kSingle) {
        double poly = 0x1.ca3bcp-4;
        poly = poly * z + 0x1.c1d46p-4;
        poly = poly * z + 0x1.24812p-3;
        poly = poly * z + 0x1.999bfp-3;
        return poly * z + 0x1.55555p-2;
    }
    const double z2 = z * z;
    const double z4 = z2 * z2;
    const double c01 = 0.33333333333333487 + 0.19999999999780063 * z;
    const double c23 = 0.14285714338330496 + 0.11111106278964855 * z;
    const double c45 = 0.09091130554209893 + 0.07686637438178667 * z;
    const double c67 = 0.06751171235881791 + 0.05161334635232842 * z;
    return (c01 + c23 * z2) + z4 * ((c45 + c67 * z2) + z4 * 0.08435350330584022);
}

/// As atanh_wide for s^2 in [0, 0.02944], the range that log1p needs. Error 5e-18; with FOCAL_SINGLE 2^-33.
FOCAL_INLINE double atanh_narrow(double z) {
    if constexpr (kSingle) {
        double poly = 0x1.12f2p-3;
        poly = poly * z + 0x1.22575p-3;
        poly = poly * z + 0x1.99a2ap-3;
        return poly * z + 0x1.55555p-2;
    }
    const double z2 = z * z;
    const double c01 = 0.3333333333333335 + 0.19999999999949725 * z;
    const double c23 = 0.14285714313000714 + 0.11111105565280362 * z;
    const double c45 = 0.09091444716878838 + 0.07665855673334322 * z;
    return (c01 + c23 * z2) + (z2 * z2) * (c45 + 0.07308288210844943 * z2);
}

/// log(1 + y) for y >= -1/2 and below 2^52. Relative error below 1e-15.
///
/// 1 + y = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); what is lost in rounding 1 + y goes back into f. Then
/// log(1 + f) = 2 atanh(f / (2 + f)) (fdlibm's e_log.c).
FOCAL_INLINE double log1p(double y) {
    constexpr Bits kSqrtHalf = 0x3fe6a09e667f3bcdULL;
    const double u = 1.0 + y;
    // Small y: error of the sum is y - (u - 1). Large y: 1 - (u - y), which single precision does without.
    const double lost = kSingle || y < 1.0 ? y - (u - 1.0) : 1.0 - (u - y);
    // Biased exponent, in unsigned arithmetic because vector units lack the 64-bit arithmetic shift; turned into a
    // double through the mantissa of 2^52 because they lack that conversion too.
    const Bits exponent = (to_bits(u) + (0x3ff0000000000000ULL - kSqrtHalf)) >> 52;
    const double k = from_bits(exponent | 0x4330000000000000ULL) - (0x1p52 + 1023.0);
    const double down = from_bits((2046 - exponent) << 52);
    const double f = (u * down - 1.0) + lost * down;
    const double s = quotient(f, 2.0 + f);
    const double z = s * s;
    const double s2 = s + s;
    const double value = k * 0x1.62e42fefa39efp-1 + (s2 + (s2 * z) * atanh_narrow(z));
    if constexpr (kSingle) return value;
    // Below, the series ends after y, and halving a subnormal number would lose bits.
    return absolute(y) < 0x1p-54 ? y : value;
}

/// log(1 - p) for p in [0, 1/2], without the reduction of log1p. Relative error below 1e-15.
FOCAL_INLINE double log_complement(double p) {
    const double s = quotient(p, 2.0 - p);
    const double z = s * s;
    const double twice = -(s + s);
    return twice + (twice * z) * atanh_wide(z);
}

/// x^N by multiplication.
template <int N>
FOCAL_INLINE double integer_power(double x) {
    if constexpr (N == 0) {
        return 1.0;
    } else if constexpr (N == 1) {
        return x;
    } else {
        const double half = integer_power<N / 2>(x);
        return N % 2 == 0 ? half * half : half * half * x;
    }
}

/// Infinite margins become this one: every exponential has underflowed, and no product below overflows.
FOCAL_INLINE double finite_margin(double z) {
    constexpr double kFar = 1e200;
    z = z > kFar ? kFar : z;
    return z < -kFar ? -kFar : z;
}

// ---------------------------------------------------------------------------------------------------------------------
// What all losses share

/// gamma, known to the compiler where it is one of the small integers that people use: then powers are products. They
/// are as accurate, and where a base underflows its power is multiplied by a number that underflows too.
template <int N>
struct Gamma {
    static constexpr bool kInteger = N >= 0;
    double value;

    FOCAL_INLINE double get() const { return kInteger ? static_cast<double>(N) : value; }
};

/// What happens to gradient and curvature at the end.
///
/// Step bound: with h >= |g| / max_step in every row, no Newton step sum(g) / sum(h) exceeds max_step, the cure that
/// LogitBoost applied to its working response (Friedman, Hastie & Tibshirani 2000).
struct Finish {
    double inverse_step;  ///< 1 / max_step
    double least;         ///< -inf without a bound, else 0
    double scale;         ///< the factor of the library on the bounded curvature

    FOCAL_INLINE double curvature(double g, double h) const { return bounded(g, h) * scale; }

    /// The same without the factor.
    FOCAL_INLINE double bounded(double g, double h) const {
        double floor = absolute(g) * inverse_step;
        // The same twice: a select is faster on a processor, where it is hoisted out of loops, an addition on a GPU.
        floor = kSingle ? floor + least : least < 0.0 ? least : floor;
        return floor > h ? floor : h;  // a NaN stays
    }

    /// What is left for curvatures that have the factor already.
    FOCAL_INLINE Finish of_scaled() const { return {inverse_step * scale, least, 1.0}; }
};

// ---------------------------------------------------------------------------------------------------------------------
// Binary

/// Everything about x = |z|; the sign of z only exchanges the two classes. "Wrong" is the side of the class that the
/// margin speaks against, "right" the other.
///
/// big = sigma(x), small = sigma(-x), cost_big = -log(big), cost_small = -log(small), none of them by a difference.
/// lambda = log1p(e) / e comes out of the logarithm itself, so nothing is 0/0 where e = exp(-x) underflows.
///
/// The constructor takes three steps. A loop over rows does well to take each for many rows before the next: the chain
/// of dependent operations through all of them is longer than a processor looks ahead.
template <int N>
struct BinarySide {
    double gamma, x, lifted_e, e, big, lambda, big_gamma, small_gamma;

    BinarySide() = default;

    FOCAL_INLINE BinarySide(double margin, Gamma<N> g) : gamma(g.get()), x(absolute(margin)) {
        exponential();
        logarithm();
        powers();
    }

    FOCAL_INLINE void exponential() {
        lifted_e = Exponent(-x).lifted();
        if constexpr (!kSingle) lifted_e = x > 840.0 ? 0.0 : lifted_e;
        e = lifted_e * Exponent::kLower;
    }

    FOCAL_INLINE void logarithm() {
        // One division for 1 / (1 + e) and for s = e / (2 + e), log1p(e) = 2 atanh(s).
        const double one = 1.0 + e, two = 2.0 + e;
        const double inverse = reciprocal(one * two);
        big = inverse * two;
        const double inverse_two = inverse * one;
        const double s = e * inverse_two;
        const double z = s * s;
        const double twice = inverse_two + inverse_two;
        lambda = twice + (twice * z) * atanh_wide(z);
    }

    FOCAL_INLINE void powers() {
        if constexpr (Gamma<N>::kInteger) {
            big_gamma = integer_power<N>(big);
            small_gamma = integer_power<N>(small());
        } else {
            // exp(-gamma x) apart from the rest: the rounding of gamma * cost_small, half a unit of a number up to 745,
            // would be magnified by the exponential; that of gamma * x is known.
            big_gamma = exp_nonpositive(-gamma * cost_big());
            const double product = -gamma * x;
            small_gamma = exp_nonpositive(product, product_error(-gamma, x, product)) * big_gamma;
        }
    }

    FOCAL_INLINE double small() const { return e * big; }
    FOCAL_INLINE double cost_big() const { return e * lambda; }
    FOCAL_INLINE double cost_small() const { return x + cost_big(); }

    // Focal loss with w = 1.
    FOCAL_INLINE double loss_wrong() const { return big_gamma * cost_small(); }
    FOCAL_INLINE double loss_right() const { return small_gamma * cost_big(); }

    // 1 + gamma p a / q and its mirror image, with small cost_small / big = e cost_small and
    // big cost_big / small = lambda.
    FOCAL_INLINE double bracket_wrong() const { return 1.0 + gamma * (e * cost_small()); }
    FOCAL_INLINE double bracket_right() const { return 1.0 + gamma * lambda; }

    // |dFL/dz| with w = 1, but for the bracket.
    FOCAL_INLINE double power_wrong() const { return big_gamma * big; }
    FOCAL_INLINE double power_right() const { return small_gamma * small(); }

    // Signed second derivative with w = 1: p q (power) [1 + 2 gamma - gamma cost + gamma^2 (bracket's quotient)].
    FOCAL_INLINE double curvature_wrong() const {
        // small times a cost of 700 and more: small alone would be subnormal where the product is not.
        const double bracket = (1.0 + 2.0 * gamma) - gamma * cost_small() + (gamma * gamma) * (e * cost_small());
        return ((lifted_e * big) * big * big_gamma * bracket) * Exponent::kLower;
    }
    FOCAL_INLINE double curvature_right() const {
        return (small() * big) * small_gamma * ((1.0 + 2.0 * gamma) - gamma * cost_big() + (gamma * gamma) * lambda);
    }

    /// u0 u1 / (u0 + u1) * M, M = d logit(eta) / dz, given the weighted slopes without their brackets and their sum.
    ///
    /// M = gamma + small (1 + gamma - gamma cost_small) / W + big (1 + gamma - gamma cost_big) / R with the brackets W
    /// and R, which are factors of the slopes too: over the common denominator they cancel, and one division is left.
    /// The sum of the slopes is 0 only where the larger underflows (gamma beyond 1000).
    FOCAL_INLINE double expected_curvature(double power_wrong, double power_right, double total) const {
        const double wrong = bracket_wrong(), right = bracket_right();
        const double slope = gamma * wrong * right + small() * (1.0 + gamma - gamma * cost_small()) * right +
                             big * (1.0 + gamma - gamma * cost_big()) * wrong;
        // The smaller factor last, so that no partial product is smaller than the result.
        return quotient(power_wrong * slope, total, 0.0) * power_right;
    }

    /// log u0 - log u1 for z = x and equal class weights; odd in z.
    FOCAL_INLINE double posterior_logit() const {
        return (gamma + 1.0) * x + (log1p(gamma * (e * cost_small())) - log1p(gamma * lambda));
    }
};

struct Derivatives {
    double gradient, hessian;
};

struct BinaryWeights {
    double w0, w1;
};

FOCAL_INLINE bool is_binary_label(double t) { return (t >= 0.0) & (t <= 1.0); }

/// Focal loss of one row: w1 q^gamma a for t = 1, w0 p^gamma b for t = 0, their mixture for a label between.
template <int N>
FOCAL_INLINE double binary_loss(const BinarySide<N>& side, double t, double z, BinaryWeights w) {
    const double wrong = side.loss_wrong(), right = side.loss_right();
    const double loss1 = w.w1 * (z >= 0.0 ? right : wrong);
    const double loss0 = w.w0 * (z >= 0.0 ? wrong : right);
    return t * loss1 + (1.0 - t) * loss0;
}

/// Gradient and curvature of one row, step bound and library scale included.
///
/// Expected: the exact second derivative averaged over y ~ Bernoulli(eta), eta = u0 / (u0 + u1) being the posterior
/// that the margin stands for. It is (u0 + u1) d eta/dz = u0 u1 / (u0 + u1) * M, always positive.
template <bool kExpected, int N>
FOCAL_INLINE Derivatives binary_derivatives(const BinarySide<N>& side, double t, double z, BinaryWeights w,
                                            Finish finish) {
    const bool positive = z >= 0.0;
    const double power_wrong = (positive ? w.w0 : w.w1) * side.power_wrong();
    const double power_right = (positive ? w.w1 : w.w0) * side.power_right();
    const double wrong = power_wrong * side.bracket_wrong(), right = power_right * side.bracket_right();
    const double u0 = positive ? wrong : right;
    const double u1 = positive ? right : wrong;
    const double g = (1.0 - t) * u0 - t * u1;
    double h;
    if constexpr (kExpected) {
        h = side.expected_curvature(power_wrong, power_right, wrong + right);
    } else {
        const double c_wrong = side.curvature_wrong(), c_right = side.curvature_right();
        h = t * (w.w1 * (positive ? c_right : c_wrong)) + (1.0 - t) * (w.w0 * (positive ? c_wrong : c_right));
    }
    return {g, finish.curvature(g, h)};
}

/// Logit of the class probability that a margin stands for, strictly increasing in z; `shift` is log(w0 / w1).
FOCAL_INLINE double binary_posterior_logit(double z, double gamma, double shift) {
    z = finite_margin(z);
    // No power is needed: Gamma<0> leaves them out.
    BinarySide<0> side(z, Gamma<0>{0.0});
    side.gamma = gamma;
    const double odd = side.posterior_logit();
    return (z < 0.0 ? -odd : odd) + shift;
}

// ---------------------------------------------------------------------------------------------------------------------
// Multiclass
//
// The largest margin of a row ("top") is the only class whose complement can be small. All other classes are taken
// relative to the second largest margin, so that the share of each in top's complement survives where that complement
// underflows. A caller goes through the classes of a row several times:
//   Leaders::visit, Leaders::exponential, then SoftmaxRow, then what the loss or curvature needs.
// Everything computed for a class that is not top is right for top as well in the sense that its exponential is set to
// 0 and so it adds nothing to any sum; selects put top's own values in its place at the end.

/// x - y as a rounded difference and its rounding error (Knuth's two-sum): at a difference of 700 the rounding alone
/// would cost a factor of 1 +- 6e-14 in its exponential.
struct Difference {
    double value, low;

    FOCAL_INLINE Difference(double x, double y) {
        value = x - y;
        low = 0.0;
        if constexpr (kSingle) return;
        const double away = x - value;
        const double error = (x - (value + away)) + (away - y);
        // Of margins of 1e20 the error alone would overflow an exponential, and 0 times infinity is NaN.
        low = absolute(value) > 1e9 ? 0.0 : error;
    }
};

/// The two largest margins of a row and the class of the largest (the first of equal ones). `Class` is the type of a
/// class's number: vector units count in the type of the margins, a GPU in integers.
template <class Class, class Margin = double>
struct LeadersOf {
    Margin highest, second;
    Class top;

    /// Before the first margin.
    FOCAL_INLINE static LeadersOf none() {
        const Margin below = static_cast<Margin>(from_bits(0xfff0000000000000ULL));
        return {below, below, -1};
    }

    FOCAL_INLINE void visit(Margin z, Class k) {
        const bool higher = z > highest;
        const Margin low = z > second ? z : second;
        second = higher ? highest : low;
        top = higher ? k : top;
        highest = higher ? z : highest;
    }

    /// exp(z - second), 0 for top.
    FOCAL_INLINE double exponential(double z, Class k) const {
        // For top the difference is positive and what comes of it has no meaning.
        const Difference d(z, second);
        const double e = exp_nonpositive(d.value, d.low);
        return k == top ? 0.0 : e;
    }
};

using Leaders = LeadersOf<double>;

FOCAL_INLINE bool is_class_label(double t, double n_classes) {
    // Adding 2^52 rounds to an integer.
    return (t >= 0.0) & (t < n_classes) & ((t + 0x1p52) - 0x1p52 == t);
}

/// alpha of a class and 1 / alpha.
struct alignas(16) ClassWeight {
    double value, inverse;
};

/// Quantities of one class k of one row: p, q = 1 - p without cancellation, a = -log p, q^gamma.
struct SoftmaxClass {
    double p, q, a, q_gamma;
};

/// What is common to the classes of a row, and everything about its top class. Three steps, as in BinarySide.
template <int N>
struct SoftmaxRow {
    double gamma, highest, gap, gap_low, others;  ///< `others`: sum of exp(z - second) but for top, in [1, K - 1]
    double t, scale, inverse_others, log_total, p_top, q_top, rho_top, log_rest, q_top_gamma;

    SoftmaxRow() = default;

    template <class Class>
    FOCAL_INLINE SoftmaxRow(LeadersOf<Class> leaders, double sum, Gamma<N> g) {
        start(leaders, sum, g);
        exponential();
        logarithms();
        powers();
    }

    template <class Class>
    FOCAL_INLINE void start(LeadersOf<Class> leaders, double sum, Gamma<N> g) {
        const Difference d(leaders.second, leaders.highest);
        gamma = g.get();
        highest = leaders.highest;
        gap = d.value;
        gap_low = d.low;
        others = sum;
    }

    FOCAL_INLINE void exponential() { t = exp_nonpositive(gap, gap_low); }

    FOCAL_INLINE void logarithms() {
        const double rest = t * others;  // sum of all exponentials but top's, top's being 1
        p_top = reciprocal(1.0 + rest);
        q_top = rest * p_top;
        scale = t * p_top;
        inverse_others = reciprocal(others);
        log_total = log1p(rest);
        rho_top = quotient(log_total, q_top, 1.0);
        // log(q_top) but for the gap; others - 1 is exact.
        if constexpr (!Gamma<N>::kInteger) log_rest = log1p(others - 1.0) - log_total;
    }

    FOCAL_INLINE void powers() {
        if constexpr (Gamma<N>::kInteger) {
            q_top_gamma = integer_power<N>(q_top);
        } else {
            // gamma log(q_top), with the rounding errors of the large part: see BinarySide.
            const double product = gamma * gap;
            const Difference exponent(product, -gamma * (log_rest + gap_low));
            q_top_gamma = exp_nonpositive(exponent.value, exponent.low + product_error(gamma, gap, product));
        }
    }

    FOCAL_INLINE double log_q_top() const { return gap + log_rest; }
    FOCAL_INLINE double cost(double z) const { return (highest - z) + log_total; }
    FOCAL_INLINE double probability(double exponential) const { return exponential * scale; }
    /// p / q_top, exact where both underflow.
    FOCAL_INLINE double share(double exponential) const { return exponential * inverse_others; }

    FOCAL_INLINE SoftmaxClass top() const { return {p_top, q_top, log_total, q_top_gamma}; }

    // A class that is not top, in steps again. The logarithm of q is asked for only where powers need it.
    FOCAL_INLINE double log_q(double exponential) const {
        return Gamma<N>::kInteger ? 0.0 : log_complement(probability(exponential));
    }

    FOCAL_INLINE double power(double exponential, double log_q) const {
        if constexpr (Gamma<N>::kInteger) {
            return integer_power<N>(1.0 - probability(exponential));
        } else {
            return exp_nonpositive(gamma * log_q);
        }
    }

    FOCAL_INLINE SoftmaxClass other(double z, double exponential, double q_gamma) const {
        const double p = probability(exponential);
        return {p, 1.0 - p, cost(z), q_gamma};  // no cancellation: p <= 1/2
    }

    FOCAL_INLINE SoftmaxClass other(double z, double exponential) const {
        return other(z, exponential, power(exponential, log_q(exponential)));
    }

    /// p a / q of a class; 1 - p in the limit for top.
    FOCAL_INLINE double p_rho(SoftmaxClass c, bool is_top) const {
        const double rho = quotient(c.a, is_top ? 1.0 : c.q);
        return c.p * (is_top ? rho_top : rho);
    }

    /// -A_k = w q^gamma (1 + gamma p a / q): what the gradient of a row of class k is proportional to.
    FOCAL_INLINE double slope(double w, SoftmaxClass c, double p_rho) const {
        return w * c.q_gamma * (1.0 + gamma * p_rho);
    }

    /// R_k = V_k q_k / -A_k, V_k = p_k dA_k/dp_k: free of weights and of q^gamma, so it never underflows.
    FOCAL_INLINE double bend(SoftmaxClass c, double p_rho) const {
        return quotient(gamma * c.p * (2.0 - c.a + (gamma - 1.0) * p_rho), 1.0 + gamma * p_rho);
    }
};

/// Gradient of class k of one row, A_t (delta_tk - p_k), given -A_t.
FOCAL_INLINE double softmax_gradient(double slope_true, bool is_true, double p, double q) {
    return slope_true * (is_true ? -q : p);
}

/// The true class of a row: what loss, gradient and exact curvature take from it.
struct TrueClass {
    double slope, bend, inverse_q, q;

    TrueClass() = default;

    template <int N>
    FOCAL_INLINE TrueClass(const SoftmaxRow<N>& row, double z, double exponential, double w, bool is_top) {
        const SoftmaxClass a = row.top(), b = row.other(z, exponential);
        const SoftmaxClass c{is_top ? a.p : b.p, is_top ? a.q : b.q, is_top ? a.a : b.a,
                             is_top ? a.q_gamma : b.q_gamma};
        const double p_rho = row.p_rho(c, is_top);
        slope = row.slope(w, c, p_rho);
        bend = row.bend(c, p_rho);
        q = c.q;
        inverse_q = reciprocal(is_top ? 1.0 : c.q);
    }

    /// Exact diagonal V_t (delta_tk - p_k)^2 - A_t p_k q_k; p_k / q_t by the share where q_t is top's complement.
    FOCAL_INLINE double curvature(bool is_true, bool true_is_top, double p, double q, double share) const {
        const double ratio = true_is_top ? share : p * inverse_q;
        const double squared = is_true ? this->q : p * ratio;
        return slope * (bend * squared + p * q);
    }
};

/// Focal loss of one row, w_t q_t^gamma a_t.
template <int N>
FOCAL_INLINE double softmax_loss(const SoftmaxRow<N>& row, double z, double exponential, double w, bool is_top) {
    const SoftmaxClass top = row.top(), other = row.other(z, exponential);
    return w * (is_top ? top.q_gamma : other.q_gamma) * (is_top ? top.a : other.a);
}

/// Expected diagonal: the exact one averaged over t ~ eta, eta_t = c p_t / -A_t. With q_k^2 - p_k^2 = q_k - p_k
///
///   h_k = c p_k [ (q_k - p_k) B_k + p_k sum_t p_t B_t ],   1/c = sum_t p_t / -A_t,
///   B = 1 + R / q = (q^2 + gamma p (2 q + (gamma - 1) p a)) / (q D),   D = q + gamma p a,   -A = w q^(gamma - 1) D,
///
/// O(K) a row, and only positive numbers are added. This struct holds what comes of a class that is not top. One division,
/// by q D, serves it all where gamma is an integer; else a second one divides by q^gamma.
struct ExpectedTerms {
    double slope;    ///< -A_k
    double term;     ///< p_k B_k
    double inverse;  ///< p_k / -A_k
    double own;      ///< (q_k - p_k) B_k

    template <int N>
    FOCAL_INLINE ExpectedTerms(const SoftmaxRow<N>& row, SoftmaxClass c, ClassWeight w) {
        const double gamma = row.gamma;
        const double pa = c.p * c.a;
        const double d = c.q + gamma * pa;
        const double inverse_qd = reciprocal(c.q * d);
        const double b = (c.q * c.q + gamma * c.p * (2.0 * c.q + (gamma - 1.0) * pa)) * inverse_qd;
        term = c.p * b;
        own = (c.q - c.p) * b;
        if constexpr (N == 0) {
            slope = w.value;
            inverse = c.p * w.inverse;
        } else if constexpr (N > 0) {
            slope = w.value * integer_power<N - 1>(c.q) * d;
            inverse = c.p * w.inverse * inverse_qd;
            if constexpr (N < 2) inverse *= c.q;
            if constexpr (N > 2) inverse *= integer_power<N - 2>(d * inverse_qd);
        } else {
            const double weighted_power = w.value * c.q_gamma;
            slope = weighted_power * (d * d * inverse_qd);
            inverse = quotient(c.p * c.q, weighted_power * d);
        }
    }
};

/// The sums of ExpectedTerms over a row, completed by its top class.
template <int N>
struct ExpectedRow {
    double c, term_sum, slope_top, share_top, own_top;

    ExpectedRow() = default;

    FOCAL_INLINE ExpectedRow(const SoftmaxRow<N>& row, double w_top, double inverse_sum, double terms)
        : term_sum(terms) {
        const SoftmaxClass top = row.top();
        const double p_rho = top.p * row.rho_top;
        slope_top = row.slope(w_top, top, p_rho);
        // q B, which is finite where q has underflowed.
        const double qb = quotient(top.q + row.gamma * top.p * (2.0 + (row.gamma - 1.0) * p_rho), 1.0 + row.gamma * p_rho);
        share_top = row.inverse_others * (top.p * qb);
        own_top = top.q * qb;
        // 1 / (inverse_sum + p / -A) with the top class's term, and 0 where its slope underflows.
        c = quotient(slope_top, inverse_sum * slope_top + top.p);
    }

    FOCAL_INLINE double curvature(bool is_top, double p, double exponential, double own) const {
        // Top added nothing to term_sum. Of its own curvature q^2 B is left; to that of others it adds p B times p, which
        // is p q B times their share.
        const double rest = is_top ? own_top : own + exponential * share_top;
        return c * p * (rest + p * term_sum);
    }
};

/// log(p_k / -A_k): logarithm of the class probability that margins stand for, up to a constant a row.
///
/// A margin that ties with the highest is treated as top, so that it stays tied to the last bit.
template <int N>
FOCAL_INLINE double softmax_log_posterior(const SoftmaxRow<N>& row, double z, double exponential, double log_w) {
    const bool is_top = z == row.highest;
    const double p_other = row.probability(exponential);
    const double p = is_top ? row.p_top : p_other;
    const double q = is_top ? 1.0 : 1.0 - p_other;
    const double a = is_top ? row.log_total : row.cost(z);
    const double log_q = is_top ? row.log_q_top() : log_complement(p_other);
    const double rho = is_top ? row.rho_top : quotient(a, q);
    return -a - row.gamma * log_q - log1p(row.gamma * p * rho) - log_w;
}

}  // namespace FOCAL_NAMESPACE
