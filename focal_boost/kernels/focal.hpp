// The formulas of the focal losses, for one row or a batch of rows at a time.
//
// numpy.py in this folder is the readable specification: what is computed here is what is written there, rearranged so
// that a row costs few divisions, and with tables (tables.py) where numpy.py goes on by Newton's method. NaN margins
// give NaN. W is what margins are, R what is computed with them: on a GPU double, and double or float.
//
// Notation: z, f margin, p probability, q = 1 - p, a = -log p, b = -log q, w class weight (alpha).

#pragma once

#include "elementary.hpp"
#include "task.hpp"

namespace FOCAL_NAMESPACE {

using focal_boost::Index;
using focal_boost::Operation;
using focal_boost::Task;

// ---------------------------------------------------------------------------------------------------------------------
// What all losses share

/// Which numbers of a class `head` of tables.py holds, K after K.
enum Of { kGamma, kClassWeight, kLogWeight, kHalf, kTables };

FOCAL_INLINE double of_class(const Task& task, Of what, Index k) { return task.head[what * task.n_classes + k]; }

/// One of the three tables of a class.
template <class R>
FOCAL_INLINE Table<R> table_of(const Task& task, Index k, int which) {
    const double place = task.head[kTables * task.n_classes + 3 * k + which];
    return Table<R>(static_cast<const Scalar<R>*>(task.tables) + static_cast<Index>(place));
}

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
    using S = Scalar<R>;
    S inverse_step;  ///< 1 / max_step
    S least;         ///< -inf without a bound, else 0
    S scale;         ///< the factor of the library on the bounded curvature

    FOCAL_INLINE explicit Finish(const Task& task)
        : inverse_step(static_cast<S>(task.inverse_step)), least(static_cast<S>(task.least)),
          scale(static_cast<S>(task.hessian_scale)) {}

    FOCAL_INLINE Derivatives<R> operator()(R g, R h, R weight) const {
        R floor = absolute(g) * inverse_step;
        floor = least < S(0) ? R{} + least : floor;
        return {g * weight, larger(floor, h) * scale * weight};  // a NaN stays
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

    FOCAL_INLINE Binary(const Task& task, bool has_tables)
        : gamma0(of_class(task, kGamma, 0)), gamma1(of_class(task, kGamma, 1)),
          w0(static_cast<S>(of_class(task, kClassWeight, 0))), w1(static_cast<S>(of_class(task, kClassWeight, 1))),
          shift(of_class(task, kLogWeight, 1) - of_class(task, kLogWeight, 0)), finish(task) {
        if (has_tables) {
            row_weight = table_of<R>(task, 0, 0);
            logit = table_of<R>(task, 0, 1);
        }
    }

    /// One operation for a row with margin f.
    template <Operation kOperation, bool kLogit>
    FOCAL_INLINE void compute(W f, R t, R weight, R& out, R& hessian_out) const {
        if constexpr (kOperation == Operation::kLoss) {
            out = loss(kLogit ? to_logit(f) : f, t) * weight;
        } else if constexpr (kOperation == Operation::kLogOdds) {
            out = log_odds(f);
        } else {
            constexpr bool kAverage = kOperation == Operation::kExpected;
            const Derivatives<R> d = kLogit ? of_logit<kAverage>(f, t, weight) : of_focal<kAverage>(f, t, weight);
            out = d.gradient;
            hessian_out = d.hessian;
        }
    }

    /// Of margins f of the logit link, the logit z at which the loss is taken.
    FOCAL_INLINE W to_logit(W f) const {
        const auto z = logit.and_beyond(f + shift).value;
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
    template <bool kAverage>
    FOCAL_INLINE Derivatives<R> of_focal(W z, R t, R weight) const {
        const auto positive = z >= 0.0;
        const R one = R{} + w1, zero = R{} + w0;
        const R w_right = select(positive, one, zero), w_wrong = select(positive, zero, one);
        const R t_right = select(positive, t, S(1) - t), t_wrong = select(positive, S(1) - t, t);
        if (gamma0 == 0.0 && gamma1 == 0.0) {  // the log loss: half the time
            const R e = exponential_of<R>(-absolute(z)), big = S(1) / (S(1) + e), small = e * big;
            const R right = w_right * small, wrong = w_wrong * big, away = t_wrong * wrong - t_right * right;
            const R h = kAverage ? wrong / (right + wrong) * right : (t_wrong * wrong + t_right * (w_right * big)) * small;
            return finish(select(positive, away, -away), h, weight);
        }
        const Sides<R> s(z, gamma0, gamma1);
        const R right = w_right * s.right_power * s.right.q, wrong = w_wrong * s.wrong_power * s.wrong.q;
        const R u_right = right * s.right.bracket, u_wrong = wrong * s.wrong.bracket;
        const R away = t_wrong * u_wrong - t_right * u_right;  // along |z|
        R h;
        if constexpr (kAverage) {
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
    template <bool kAverage>
    FOCAL_INLINE Derivatives<R> of_logit(W f, R t, R weight) const {
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
        if constexpr (!kAverage) {
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
    W highest = W{} - 1.7e308, second = W{} - 1.7e308;
    ClassIndex<W> top = ClassIndex<W>{} - 1;  ///< none where all are NaN

    FOCAL_INLINE void visit(W z, int k) {
        const auto higher = z > highest;
        second = select(higher, highest, larger(z, second));
        top = select(higher, class_index<W>(k), top);
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

// What follows goes through a batch of rows class by class: on a GPU one row, on a processor a tile of them in several
// vectors, each step for all vectors before the next, since the chain of operations through a row is longer than a
// processor looks ahead. A batch B has the numbers R and W, `kParts` parts and
//
//   classes(f)          calls f(k) for all classes; each(f) calls f(v) for all parts
//   z(k, v)             margins, W
//   e, one, two (k, v)  numbers of a class, R: in the end `one` and `two` are gradient and curvature
//   label, weight (v)   of the row
//   leaders[v]          Leaders<W>; is(k, which): whether an index is that of class k
//   of(what, k), pick(what, which)  a number of `head` for class k, and for that of an index
//   table(k, which)     one of three tables of class k; for_top(which, f) calls f(table, v, where) with that of the top
//                       class, for the rows in the mask `where`
//   uniform()           whether all classes have the same gamma and weight

template <class B>
FOCAL_INLINE void finish(B& b, int k, int v, typename B::R gradient, typename B::R hessian) {
    const auto d = b.finish(gradient, hessian, b.weight(v));
    b.one(k, v) = d.gradient;
    b.two(k, v) = d.hessian;
}

template <class B>
struct Softmax {
    using R = typename B::R;
    using S = Scalar<R>;
    SoftmaxRow<R> rows[B::kParts];

    /// Leaves exponentials in e, 0 for top.
    FOCAL_INLINE explicit Softmax(B& b) {
        R others[B::kParts] = {};
        b.classes([&](int k) { b.each([&](int v) { b.leaders[v].visit(b.z(k, v), k); }); });
        b.classes([&](int k) {
            b.each([&](int v) {
                // For top the difference is positive and what comes of it has no meaning.
                const R e = Difference<typename B::W>(b.z(k, v), b.leaders[v].second).template power<R>();
                b.e(k, v) = select(b.is(k, b.leaders[v].top), R{}, e);
                others[v] = others[v] + b.e(k, v);
            });
        });
        b.each([&](int v) {
            const auto& leaders = b.leaders[v];
            rows[v] = SoftmaxRow<R>(leaders.highest, leaders.second, others[v], b.pick(kGamma, leaders.top));
        });
    }

    FOCAL_INLINE Class<R> other(B& b, int k, int v) const {
        return rows[v].other(b.z(k, v), b.e(k, v), static_cast<S>(b.of(kGamma, k)));
    }
};

/// Loss of each row, in `one` of class 0.
template <class B>
FOCAL_INLINE void focal_losses(B& b) {
    using R = typename B::R;
    const Softmax<B> softmax(b);
    R loss[B::kParts] = {};
    b.classes([&](int k) {
        b.each([&](int v) {
            const SoftmaxRow<R>& row = softmax.rows[v];
            const Class<R> c = softmax.other(b, k, v);
            const R own = select(b.is(k, b.leaders[v].top), row.top_power * row.top.a, row.power(c) * c.a);
            const auto w = static_cast<Scalar<R>>(b.of(kClassWeight, k));
            loss[v] = select(b.is(k, b.label(v)), w * own * b.weight(v), loss[v]);
        });
    });
    b.each([&](int v) { b.one(0, v) = loss[v]; });
}

/// Log-odds that margins of the focal link stand for, up to a constant a row, in `one`.
template <class B>
FOCAL_INLINE void focal_log_odds(B& b) {
    using R = typename B::R;
    const Softmax<B> softmax(b);
    R w_top[B::kParts], of_top[B::kParts], highest[B::kParts];
    b.each([&](int v) {
        const SoftmaxRow<R>& row = softmax.rows[v];
        w_top[v] = narrow<R>(b.pick(kLogWeight, b.leaders[v].top));
        highest[v] = of_top[v] = focal_log_posterior(row.top, row.log_q_top, w_top[v]);
    });
    b.classes([&](int k) {
        const R log_w = R{} + static_cast<Scalar<R>>(b.of(kLogWeight, k));
        b.each([&](int v) {
            const SoftmaxRow<R>& row = softmax.rows[v];
            const Class<R> c = softmax.other(b, k, v);
            // What ties with top in all respects stays tied to the last bit.
            const auto tied = (b.z(k, v) == row.highest) & (c.gamma == row.top.gamma) & (log_w == w_top[v]);
            const R own = focal_log_posterior(c, log_complement(c.p), log_w);
            b.one(k, v) = select(tied | b.is(k, b.leaders[v].top), of_top[v], own);
            highest[v] = larger(b.one(k, v), highest[v]);
        });
    });
    b.classes([&](int k) { b.each([&](int v) { b.one(k, v) = b.one(k, v) - highest[v]; }); });
}

/// Exact: V_t (delta_tk - p_k)^2 - A_t p_k q_k; p_k / q_t by the share where q_t is top's complement.
template <bool kAverage, class B>
FOCAL_INLINE void focal_derivatives(B& b) {
    using R = typename B::R;
    using S = Scalar<R>;
    constexpr int kParts = B::kParts;
    const Softmax<B> softmax(b);
    R slope[kParts], bend[kParts], q_label[kParts], top_slope[kParts], top_bend[kParts], c_row[kParts];
    R inverse_sum[kParts] = {}, terms[kParts] = {};
    b.each([&](int v) {
        const Class<R>& c = softmax.rows[v].top;
        const R w_top = narrow<R>(b.pick(kClassWeight, b.leaders[v].top));
        top_slope[v] = slope[v] = w_top * softmax.rows[v].top_power * c.bracket;
        top_bend[v] = bend[v] = c.p * focal_bend(c);
        q_label[v] = c.q;
    });
    b.classes([&](int k) {
        const S w = static_cast<S>(b.of(kClassWeight, k));
        b.each([&](int v) {
            const Class<R> c = softmax.other(b, k, v);
            const FocalTerms<R> of_class(c, w * SoftmaxRow<R>::power(c));
            // Of top they are there already.
            const auto is_top = b.is(k, b.leaders[v].top), is_label = b.is(k, b.label(v));
            const auto put = [&](R& there, R own) { there = select(is_label, select(is_top, there, own), there); };
            put(slope[v], of_class.slope);
            if constexpr (kAverage) {
                b.one(k, v) = of_class.own;
                inverse_sum[v] = inverse_sum[v] + of_class.inverse;
                terms[v] = terms[v] + of_class.term;
            } else {
                put(bend[v], c.p * focal_bend(c));
                put(q_label[v], c.q);
            }
        });
    });
    b.each([&](int v) {
        // 1 / (inverse_sum + p / -A) with top's own, and 0 where its slope underflows.
        c_row[v] = top_slope[v] / (inverse_sum[v] * top_slope[v] + softmax.rows[v].top.p);
    });
    b.classes([&](int k) {
        b.each([&](int v) {
            const SoftmaxRow<R>& row = softmax.rows[v];
            const auto is_top = b.is(k, b.leaders[v].top), is_label = b.is(k, b.label(v));
            const R share = row.share(b.e(k, v)), p_other = b.e(k, v) * row.scale;
            const R p = select(is_top, row.top.p, p_other), q = select(is_top, row.top.q, S(1) - p_other);
            R h;
            if constexpr (kAverage) {
                const R own = b.one(k, v) + share * (row.top.p * top_bend[v]);
                h = c_row[v] * p * (select(is_top, row.top.q * (S(1) + top_bend[v]), own) + p * terms[v]);
            } else {
                const auto label_is_top = b.label(v) == b.leaders[v].top;
                const R ratio = select(label_is_top, share, p / select(label_is_top, R{} + S(1), q_label[v]));
                h = slope[v] * (bend[v] * select(is_label, q_label[v], p * ratio) + p * q);
            }
            finish(b, k, v, slope[v] * select(is_label, -q, p), h);
        });
    });
}

// Margins of the logit link: softmax(f) are the class probabilities. With d_k = f_k + log w_k, theta_k = d_k + constant,
// and sum_k P(theta_k) = 1 (numpy.py, Logit). Classes are ordered by d_k - theta(1/2): then none but top is above 1/2.
// `shrinkage` is the table of Q = P(theta) exp(-theta): P = exp(theta) Q and r = dP / d theta = exp(theta) (Q + Q').
// theta of top is found in the coordinate x of the table `constant`; from it the others follow. Always in double
// precision: R is double, or a vector of doubles.

enum LogitTable { kShrinkage, kConstant, kStart };

/// Sums of e Q, e Q' and e Q'' over the classes but top.
template <class R>
struct LogitSums {
    R value{}, first{}, second{};

    FOCAL_INLINE void add(R e, const Jet<R>& q) {
        value = value + e * q.value;
        first = first + e * q.first;
        second = second + e * q.second;
    }
};

/// How far x is from the solution, by Halley's method.
template <class R>
FOCAL_INLINE R logit_step(R x, R gap, const Jet<R>& theta, const LogitSums<R>& sums) {
    const R inverse = 1.0 / sums.value, change = sums.first * inverse;
    const R slope = 1.0 + theta.first * change;
    const R bend = theta.second * change + theta.first * theta.first * (sums.second * inverse - change * change);
    const R missing = x + gap + logarithm(sums.value), square = slope * slope;
    return missing * slope / larger(square - 0.5 * missing * bend, 0.5 * square);
}

/// A row at its solution.
template <class R>
struct LogitRow {
    R theta, theta_second;       ///< of top, and less the gap
    R step, scale;               ///< last correction of theta; exp(theta of the second) after it
    R inverse_total, top_share;  ///< r is scale times a share: that of top, and 1 over their sum
    R others;                    ///< sum of the shares of all but top
    R c_scale, top_slope;        ///< scale times c, with which c R (diag(rho) - rho rho^T) is expected; D of top
    Class<R> top;

    LogitRow() = default;

    /// From the sums at `start`; `gap`: d_second - d_top; `inverse_weights`: sum of e / w.
    FOCAL_INLINE LogitRow(R start, R gap, R gamma, R w_top, const LogitSums<R>& sums, R inverse_weights) {
        const R sum = sums.value, scale_start = exponential(gap + start);
        const Class<R> c = at_complement(gamma, smaller(R{} + (1.0 - 0x1p-50), scale_start * sum));
        // What theta is by top's own complement, without the table; from there a last step.
        const R missing = -gamma * (gap + start + logarithm(sum)) - (c.a + logarithm(c.bracket)) - start;
        const R width = c.p * sum * c.bracket;
        step = missing * width / (width + c.bracketed_slope() * (sum + sums.first));
        theta = start + step;
        theta_second = gap + theta;
        scale = scale_start * (1.0 + step * (1.0 + step * (0.5 + step * (1.0 / 6.0))));  // the step is small
        const R shares = sum + sums.first * step, q = scale * shares, p = 1.0 - q;
        // -log p follows in first order; what is left out is the square of the step.
        const R a = larger(R{}, c.a + (q - c.q) / c.p);
        top = Class<R>(gamma, p, q, a, select(q > 0.0, a * p / q, p));
        others = (sum + sums.first) + (sums.first + sums.second) * step;
        const R slope = top.bracketed_slope(), over_slope = p * top.bracket / slope;
        top_share = smaller(R{} + 1.7e308, shares * over_slope);
        inverse_total = 1.0 / (others + top_share);
        // Without gamma the slope is q, and may be so small that its inverse is infinite.
        const R inverse = exponential(-theta);
        top_slope = select(slope > 1e-300, q * over_slope, p) * inverse;
        const R beside = scale * inverse * w_top;  // exp(gap) w
        c_scale = beside / (1.0 + beside * inverse_weights);
    }

    FOCAL_INLINE static Class<R> at_complement(R gamma, R q) {
        const R a = -log1p_of(-q), p = 1.0 - q;
        return Class<R>(gamma, p, q, a, select(q > 0.0, a * p / q, p));
    }
};

template <class B>
struct Logit {
    using R = typename B::R;
    static constexpr int kParts = B::kParts;
    LogitRow<R> rows[kParts];
    R slope[kParts];   ///< w D of the label
    R beyond[kParts];  ///< what d_top - d_second was shortened by

    /// Finds the solution. Leaves d - d_second in z, 0 for top; in e its exponential, 0 for top; in `one` and `two` what
    /// `share` is made of.
    FOCAL_INLINE explicit Logit(B& b) {
        const Task& task = b.task;
        R gap[kParts], d_second[kParts], inverse_weights[kParts] = {}, squares[kParts] = {}, x[kParts];
        Jet<R> theta[kParts];
        LogitSums<R> sums[kParts];
        // What all classes have alike orders nothing.
        double highest_half = 0.0;
        if (!b.uniform()) highest_half = relative_to_weights(b);
        b.classes([&](int k) {
            const double half = b.uniform() ? 0.0 : b.of(kHalf, k);
            b.each([&](int v) { b.leaders[v].visit(b.z(k, v) - half, k); });
        });
        b.each([&](int v) {
            const Leaders<R>& leaders = b.leaders[v];
            const R d_top = leaders.highest + (b.uniform() ? R{} : b.pick(kHalf, leaders.top));
            // d of the second, or somewhat more: at least the largest of all but top.
            d_second[v] = leaders.second + highest_half;
            // Farther apart than this all that depends on it has underflowed, and -log p is linear.
            const R whole = d_second[v] - d_top;
            gap[v] = larger(-800.0 * (1.0 + b.pick(kGamma, leaders.top)), whole);
            beyond[v] = gap[v] - whole;
        });
        b.classes([&](int k) {
            const double inverse_weight = 1.0 / b.of(kClassWeight, k);
            b.each([&](int v) {
                const auto is_top = b.is(k, b.leaders[v].top);
                const R d = select(is_top, R{}, b.z(k, v) - d_second[v]), e = select(is_top, R{}, exponential(d));
                b.z(k, v) = d;
                b.e(k, v) = e;
                sums[v].value = sums[v].value + e;
                squares[v] = squares[v] + e * e;
                inverse_weights[v] = inverse_weights[v] + e * inverse_weight;
            });
        });
        b.each([&](int v) { x[v] = -gap[v] - logarithm(sums[v].value); });
        b.for_top(kStart, [&](const Table<R>& start, int v, auto here) {
            const R alike = squares[v] / (sums[v].value * sums[v].value);
            x[v] = select(here, x[v] + start.surface(x[v], alike), x[v]);
        });
        for (int i = 0; i < task.n_steps; ++i) {
            set_theta(b, x, theta);
            // As exact as the last step can make use of; where gamma is large it magnifies errors.
            task.n_steps > 2 ? add_classes<6>(b, gap, theta, sums) : add_classes<3>(b, gap, theta, sums);
            b.each([&](int v) { x[v] = x[v] - logit_step(x[v], gap[v], theta[v], sums[v]); });
        }
        set_theta(b, x, theta);
        task.coarse ? solve<5>(b, gap, theta, inverse_weights) : solve<6>(b, gap, theta, inverse_weights);
    }

    /// Makes margins those of d, differences first: beside a large margin the logarithms would be lost. Returns the
    /// largest theta(1/2).
    FOCAL_INLINE static double relative_to_weights(B& b) {
        R highest[kParts];
        b.each([&](int v) { highest[v] = b.z(0, v); });
        b.classes([&](int k) { b.each([&](int v) { highest[v] = larger(b.z(k, v), highest[v]); }); });
        double highest_half = b.of(kHalf, 0);
        b.classes([&](int k) {
            const double log_w = b.of(kLogWeight, k);
            b.each([&](int v) { b.z(k, v) = (b.z(k, v) - highest[v]) + log_w; });
            const double half = b.of(kHalf, k);
            highest_half = half > highest_half ? half : highest_half;
        });
        return highest_half;
    }

    /// theta of top and derivatives at x, but for the last terms of the table.
    FOCAL_INLINE static void set_theta(B& b, const R* x, Jet<R>* theta) {
        b.for_top(kConstant, [&](const Table<R>& table, int v, auto here) {
            const Jet<R> own = table.template and_beyond<4>(x[v]);
            theta[v] = {select(here, own.value, theta[v].value), select(here, own.first, theta[v].first),
                        select(here, own.second, theta[v].second)};
        });
    }

    template <int N>
    FOCAL_INLINE static void add_classes(B& b, const R* gap, const Jet<R>* theta, LogitSums<R>* sums) {
        b.each([&](int v) { sums[v] = LogitSums<R>(); });
        b.classes([&](int k) {
            const Table<R> shrinkage = b.table(k, kShrinkage);
            b.each([&](int v) {
                sums[v].add(b.e(k, v), shrinkage.template at<N>(b.z(k, v) + (gap[v] + theta[v].value)));
            });
        });
    }

    /// The last step, which makes the solution exact.
    template <int N>
    FOCAL_INLINE void solve(B& b, const R* gap, const Jet<R>* theta, const R* inverse_weights) {
        R d_label[kParts] = {}, change_label[kParts] = {};
        LogitSums<R> sums[kParts];
        b.classes([&](int k) {
            const Table<R> shrinkage = b.table(k, kShrinkage);
            b.each([&](int v) {
                const Jet<R> q = shrinkage.template at<N>(b.z(k, v) + (gap[v] + theta[v].value));
                sums[v].add(b.e(k, v), q);
                const R d = q.value + q.first, change = q.first + q.second;
                b.one(k, v) = b.e(k, v) * d;
                b.two(k, v) = b.e(k, v) * change;
                const auto is_label = b.is(k, b.label(v));
                d_label[v] = select(is_label, d, d_label[v]);
                change_label[v] = select(is_label, change, change_label[v]);
            });
        });
        b.each([&](int v) {
            const auto top = b.leaders[v].top;
            LogitRow<R>& row = rows[v];
            row = LogitRow<R>(theta[v].value, gap[v], R{} + b.pick(kGamma, top), R{} + b.pick(kClassWeight, top), sums[v],
                              inverse_weights[v]);
            const R d = select(b.label(v) == top, row.top_slope, d_label[v] + change_label[v] * row.step);
            slope[v] = b.pick(kClassWeight, b.label(v)) * d;
        });
    }

    /// Of r.
    FOCAL_INLINE R share(B& b, int k, int v) const {
        return select(b.is(k, b.leaders[v].top), rows[v].top_share, b.one(k, v) + b.two(k, v) * rows[v].step);
    }

    /// A class that is not top, at the solution.
    FOCAL_INLINE Class<R> other(B& b, int k, int v) const {
        const R theta = b.z(k, v) + rows[v].theta_second, q = b.table(k, kShrinkage).at(theta).value;
        const R gamma = R{} + b.of(kGamma, k);
        return Class<R>::improbable(gamma, b.e(k, v) * q * rows[v].scale, -theta - logarithm(q));
    }
};

/// Loss of each row, in `one` of class 0.
template <class B>
FOCAL_INLINE void logit_losses(B& b) {
    using R = typename B::R;
    const Logit<B> logit(b);
    R loss[B::kParts] = {};
    b.classes([&](int k) {
        const double w = b.of(kClassWeight, k);
        b.each([&](int v) {
            const LogitRow<R>& row = logit.rows[v];
            const Class<R> c = logit.other(b, k, v);
            const R a = c.a + logit.beyond[v] / (1.0 + row.top.gamma);
            // q^gamma of top by theta = -gamma log q - a - log(bracket).
            const R of_top = exponential(-row.theta - row.top.a) / row.top.bracket * row.top.a;
            const R own = select(b.is(k, b.leaders[v].top), of_top, exponential(c.gamma * log_complement(c.p)) * a);
            loss[v] = select(b.is(k, b.label(v)), w * own * b.weight(v), loss[v]);
        });
    });
    b.each([&](int v) { b.one(0, v) = loss[v]; });
}

template <bool kAverage, class B>
FOCAL_INLINE void logit_derivatives(B& b) {
    using R = typename B::R;
    const Logit<B> logit(b);
    R label_bend[B::kParts] = {}, bends[B::kParts] = {}, top_bend[B::kParts] = {};  // r'/r times rho: of top, of others
    if constexpr (!kAverage) {
        b.classes([&](int k) {
            b.each([&](int v) {
                const LogitRow<R>& row = logit.rows[v];
                const auto is_top = b.is(k, b.leaders[v].top);
                R of_r, of_d, top_r, top_d;
                logit.other(b, k, v).bends(of_r, of_d);
                row.top.bends(top_r, top_d);
                b.one(k, v) = logit.share(b, k, v);
                b.two(k, v) = b.one(k, v) * row.inverse_total * select(is_top, top_r, of_r);
                top_bend[v] = select(is_top, b.two(k, v), top_bend[v]);
                bends[v] = bends[v] + select(is_top, R{}, b.two(k, v));
                label_bend[v] = select(b.is(k, b.label(v)), select(is_top, top_d, of_d), label_bend[v]);
            });
        });
    }
    b.classes([&](int k) {
        b.each([&](int v) {
            const LogitRow<R>& row = logit.rows[v];
            const auto is_top = b.is(k, b.leaders[v].top), is_label = b.is(k, b.label(v));
            const R share = kAverage ? logit.share(b, k, v) : b.one(k, v), rho = share * row.inverse_total;
            const R rest = select(is_top, row.others * row.inverse_total, 1.0 - rho);
            R h;
            if constexpr (kAverage) {
                h = row.c_scale * share * rest;
            } else {
                // rho_k (r'/r)_k (1 - rho_k)^2 + rho_k^2 sum over the others of rho r'/r, less D'/D (delta - rho)^2.
                const R own = b.two(k, v), away = select(is_label, rest, rho);
                const R across = select(is_top, bends[v], top_bend[v] + (bends[v] - own));
                h = logit.slope[v] * (own * rest * rest + rho * rho * across - label_bend[v] * (away * away));
            }
            finish(b, k, v, logit.slope[v] * select(is_label, -rest, rho), h);
        });
    });
}

/// One operation for a batch of rows.
template <Operation kOperation, bool kLogit, class B>
FOCAL_INLINE void compute(B& b) {
    constexpr bool kAverage = kOperation == Operation::kExpected;
    if constexpr (kOperation == Operation::kLogOdds) {
        focal_log_odds(b);
    } else if constexpr (kOperation == Operation::kLoss) {
        if constexpr (kLogit) logit_losses(b);
        else focal_losses(b);
    } else if constexpr (kLogit) {
        logit_derivatives<kAverage>(b);
    } else {
        focal_derivatives<kAverage>(b);
    }
}

}  // namespace FOCAL_NAMESPACE
