// The kernels for a GPU: what loops.cpp does for a processor, compiled by NVRTC through cuda.py. A thread computes a row
// at a time, or a few of the binary loss, with the formulas of focal.hpp. R is the type it computes in: float, where
// that is exact enough for outputs that are, else double. Margins and what is a difference of them stay double.

#pragma once

#include "focal.hpp"

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define FOCAL_KERNEL __global__ void
#define FOCAL_SHARED __shared__
#define FOCAL_PLACE {threadIdx.x, blockIdx.x, gridDim.x}
#define FOCAL_WARP 32
#endif

namespace FOCAL_NAMESPACE {

using Index = long long;

constexpr int kThreads = 128;  ///< of a block

/// The numbers that cuda.py gives to dtypes.
enum class Type : int { kNone, kFloat32, kFloat64, kInt32, kInt64, kInt8, kUInt8 };

/// A strided array in device memory; strides in bytes. kNone: not given.
struct View {
    char* data;
    Index row_stride, column_stride;
    Type type;

    template <class T>
    FOCAL_INLINE T& at(Index row, Index column) const {
        return *reinterpret_cast<T*>(data + row * row_stride + column * column_stride);
    }

    template <class Stored, int kRows, class T>
    FOCAL_INLINE void read(const Index (&rows)[kRows], Index column, T (&values)[kRows]) const {
        FOCAL_UNROLL for (int i = 0; i < kRows; ++i) values[i] = static_cast<T>(at<const Stored>(rows[i], column));
    }

    /// Values of a column; all threads take the same way.
    template <int kRows, class T>
    FOCAL_INLINE void load(const Index (&rows)[kRows], Index column, T otherwise, T (&values)[kRows]) const {
        switch (type) {
            case Type::kFloat32: return read<float>(rows, column, values);
            case Type::kFloat64: return read<double>(rows, column, values);
            case Type::kInt32: return read<int>(rows, column, values);
            case Type::kInt64: return read<long long>(rows, column, values);
            case Type::kInt8: return read<signed char>(rows, column, values);
            case Type::kUInt8: return read<unsigned char>(rows, column, values);
            case Type::kNone: break;
        }
        FOCAL_UNROLL for (int i = 0; i < kRows; ++i) values[i] = otherwise;
    }

    template <class T>
    FOCAL_INLINE void store(Index row, Index column, T value) const {
        if (type == Type::kFloat32) {
            at<float>(row, column) = static_cast<float>(value);
        } else {
            at<double>(row, column) = static_cast<double>(value);
        }
    }
};

enum Operation { kLoss, kExpected, kExact, kLogOdds };

/// One call; cuda.py has the same structure.
struct Task {
    Index n_rows, n_classes;
    View y, z, weight, out, hessian_out;    ///< `out`: loss, gradient or log-odds
    const double *head, *intercept;         ///< `head` of tables.py; intercept of each class, or null
    const void* tables;                     ///< of R
    unsigned long long* status;             ///< first row with a bad label, first with a bad weight
    double* scratch;                        ///< where the number of classes is not known to the compiler
    double inverse_step, least, hessian_scale;  ///< of Finish
    Index n_steps;                          ///< of Halley's method with the logit link, before the last step

    FOCAL_INLINE double gamma(Index k) const { return head[k]; }
    FOCAL_INLINE double class_weight(Index k) const { return head[n_classes + k]; }
    FOCAL_INLINE double log_weight(Index k) const { return head[2 * n_classes + k]; }
    FOCAL_INLINE double half(Index k) const { return head[3 * n_classes + k]; }

    template <class R>
    FOCAL_INLINE Table<R> table(Index k, int which) const {
        return Table<R>(static_cast<const R*>(tables) + static_cast<Index>(head[4 * n_classes + 3 * k + which]));
    }

    template <class R>
    FOCAL_INLINE Finish<R> finish() const {
        return {static_cast<R>(inverse_step), static_cast<R>(least), static_cast<R>(hessian_scale)};
    }

    template <int kRows>
    FOCAL_INLINE void load_margins(const Index (&rows)[kRows], Index column, double (&values)[kRows]) const {
        z.load(rows, column, 0.0, values);
        const double start = intercept != nullptr ? intercept[column] : 0.0;
        FOCAL_UNROLL for (double& margin : values) margin = finite_margin(margin + start);
    }

    /// Labels and weights; what is wrong with them is reported.
    template <class R, int kRows>
    FOCAL_INLINE void load_labels(const Index (&rows)[kRows], bool binary, R (&t)[kRows], R (&w)[kRows]) const {
        y.load(rows, 0, R(0), t);
        weight.load(rows, 0, R(1), w);
        FOCAL_UNROLL for (int i = 0; i < kRows; ++i) {
            const bool allowed = binary ? is_binary_label(t[i]) : is_class_label(t[i], static_cast<R>(n_classes));
            if (!allowed) atomicMin(status, static_cast<unsigned long long>(rows[i]));
            if (!((w[i] >= R(0)) & (w[i] - w[i] == R(0)))) {
                atomicMin(status + 1, static_cast<unsigned long long>(rows[i]));
            }
        }
    }
};

struct Place {
    unsigned thread, block, n_blocks;
};

// ---------------------------------------------------------------------------------------------------------------------
// Binary

template <class R, Operation kOperation, bool kLogit>
FOCAL_INLINE void binary_rows(const Task& task, Place place) {
    constexpr int kRows = 4;  // neighbours in memory by neighbouring threads
    const Index first = static_cast<Index>(place.block) * (kThreads * kRows) + place.thread;
    if (first >= task.n_rows) return;
    Index rows[kRows];
    double z[kRows];
    R t[kRows], weight[kRows];
    FOCAL_UNROLL for (int i = 0; i < kRows; ++i) {
        const Index row = first + i * kThreads;
        rows[i] = row < task.n_rows ? row : first;  // the same again
    }
    task.load_margins(rows, 0, z);
    if constexpr (kOperation != kLogOdds) task.load_labels(rows, true, t, weight);
    Binary<R> binary{};
    binary.gamma0 = task.gamma(0), binary.gamma1 = task.gamma(1);
    binary.w0 = static_cast<R>(task.class_weight(0)), binary.w1 = static_cast<R>(task.class_weight(1));
    binary.shift = task.log_weight(1) - task.log_weight(0);
    binary.finish = task.finish<R>();
    if constexpr (kLogit) {
        binary.row_weight = task.table<R>(0, 0);
        binary.logit = task.table<R>(0, 1);
    }
    FOCAL_UNROLL for (int i = 0; i < kRows; ++i) {
        if constexpr (kOperation == kLoss) {
            task.out.store(rows[i], 0, binary.loss(kLogit ? binary.to_logit(z[i]) : z[i], t[i]) * weight[i]);
        } else if constexpr (kOperation == kLogOdds) {
            task.out.store(rows[i], 0, binary.log_odds(z[i]));
        } else {
            constexpr bool kAverage = kOperation == kExpected;
            const Derivatives<R> d = kLogit ? binary.of_logit(z[i], t[i], weight[i], kAverage)
                                            : binary.of_focal(z[i], t[i], weight[i], kAverage);
            task.out.store(rows[i], 0, d.gradient);
            task.hessian_out.store(rows[i], 0, d.hessian);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Multiclass

/// A value for each class of a row: in registers where the number of classes is known, else in device memory, those of
/// neighbouring threads side by side.
template <class T, int kClasses>
struct PerClass {
    T x[kClasses];

    FOCAL_INLINE PerClass(double*, Index) {}
    FOCAL_INLINE T& operator[](int k) { return x[k]; }
};

template <class T>
struct PerClass<T, 0> {
    double* x;
    Index stride;

    FOCAL_INLINE PerClass(double* x_, Index stride_) : x(x_), stride(stride_) {}
    FOCAL_INLINE T& operator[](int k) { return x[k * stride]; }
};

/// A row. kClasses: 0 if not known; kAlike: all classes have the same gamma.
template <class R, int kClasses, bool kAlike>
struct Row {
    using W = Wide<R>;
    const Task& task;
    const Finish<R> finish;
    const Index index;
    R weight;
    int label, top;
    Leaders<W> leaders;
    PerClass<W, kClasses> z;             ///< margins, later what the link makes of them
    PerClass<R, kClasses> e, one, two;   ///< exponentials, 0 for top; the outputs at the end

    /// `thread` of `n_threads`: whose place in the scratch is taken.
    FOCAL_INLINE Row(const Task& task_, Index index_, Index thread, Index n_threads)
        : task(task_), finish(task_.finish<R>()), index(index_), weight(1), label(0), top(0),
          z(part(task_, 0, thread, n_threads), n_threads), e(part(task_, 1, thread, n_threads), n_threads),
          one(part(task_, 2, thread, n_threads), n_threads), two(part(task_, 3, thread, n_threads), n_threads) {}

    FOCAL_INLINE static double* part(const Task& task, int which, Index thread, Index n_threads) {
        return task.scratch + which * task.n_classes * n_threads + thread;
    }

    template <class Function>
    FOCAL_INLINE void each(Function function) const {
        const int n = kClasses > 0 ? kClasses : static_cast<int>(task.n_classes);
        FOCAL_UNROLL for (int k = 0; k < n; ++k) function(k);
    }

    FOCAL_INLINE R gamma(int k) const { return static_cast<R>(task.gamma(kAlike ? 0 : k)); }
    FOCAL_INLINE R class_weight(int k) const { return static_cast<R>(task.class_weight(k)); }
    FOCAL_INLINE Table<R> table(int k, int which) const { return task.table<R>(kAlike ? 0 : k, which); }

    FOCAL_INLINE void load(bool labelled) {
        const Index rows[1] = {index};
        each([&](int k) {
            double margin[1];
            task.load_margins(rows, k, margin);
            z[k] = margin[0];
        });
        if (!labelled) return;
        R t[1], w[1];
        task.load_labels(rows, false, t, w);
        // No index may be beyond the classes, nor does a comparison with NaN hold.
        label = is_class_label(t[0], static_cast<R>(task.n_classes)) ? static_cast<int>(t[0]) : 0;
        weight = w[0];
    }

    /// No class leads where all are NaN.
    FOCAL_INLINE void set_top() { top = leaders.top < 0.0 ? 0 : static_cast<int>(leaders.top); }

    FOCAL_INLINE void set(int k, R gradient, R hessian) {
        const Derivatives<R> d = finish(gradient, hessian, weight);
        one[k] = d.gradient;
        two[k] = d.hessian;
    }

    // Focal link: see loops.cpp, where the steps are the same

    FOCAL_INLINE SoftmaxRow<R> softmax() {
        each([&](int k) { leaders.visit(z[k], k); });
        set_top();
        R others = 0;
        each([&](int k) {
            const R exponential = Difference<W>(z[k], leaders.second).template power<R>();
            e[k] = k == top ? R(0) : exponential;
            others = others + e[k];
        });
        return SoftmaxRow<R>(leaders.highest, leaders.second, others, task.gamma(top));
    }

    FOCAL_INLINE R focal_loss() {
        const SoftmaxRow<R> row = softmax();
        R loss = 0;
        each([&](int k) {
            const Class<R> c = row.other(z[k], e[k], gamma(k));
            const R own = k == top ? row.top_power * row.top.a : row.power(c) * c.a;
            loss = k == label ? class_weight(k) * own * weight : loss;
        });
        return loss;
    }

    FOCAL_INLINE void log_odds() {
        const SoftmaxRow<R> row = softmax();
        const R log_w_top = static_cast<R>(task.log_weight(top));
        const R of_top = focal_log_posterior(row.top, row.log_q_top, log_w_top);
        R highest = of_top;
        each([&](int k) {
            const Class<R> c = row.other(z[k], e[k], gamma(k));
            const R log_w = static_cast<R>(task.log_weight(k));
            // What ties with top in all respects stays tied to the last bit.
            const bool tied = (z[k] == row.highest) & (c.gamma == row.top.gamma) & (log_w == log_w_top);
            one[k] = tied | (k == top) ? of_top : focal_log_posterior(c, log_complement(c.p), log_w);
            highest = one[k] > highest ? one[k] : highest;
        });
        each([&](int k) { one[k] = one[k] - highest; });
    }

    template <bool kAverage>
    FOCAL_INLINE void focal_derivatives() {
        const SoftmaxRow<R> row = softmax();
        const R top_slope = class_weight(top) * row.top_power * row.top.bracket;
        const R top_bend = row.top.p * focal_bend(row.top);
        R slope = top_slope, bend = top_bend, q_label = row.top.q, inverse_sum = 0, terms = 0;
        each([&](int k) {
            const Class<R> c = row.other(z[k], e[k], gamma(k));
            const FocalTerms<R> of_class(c, class_weight(k) * row.power(c));
            const bool is_label = (k == label) & (k != top);
            slope = is_label ? of_class.slope : slope;
            if constexpr (kAverage) {
                one[k] = of_class.own;
                inverse_sum = inverse_sum + of_class.inverse;
                terms = terms + of_class.term;
            } else {
                bend = is_label ? c.p * focal_bend(c) : bend;
                q_label = is_label ? c.q : q_label;
            }
        });
        const R c_row = top_slope / (inverse_sum * top_slope + row.top.p);
        each([&](int k) {
            const R share = row.share(e[k]), p_other = e[k] * row.scale;
            const R p = k == top ? row.top.p : p_other, q = k == top ? row.top.q : R(1) - p_other;
            R h;
            if constexpr (kAverage) {
                const R own = one[k] + share * (row.top.p * top_bend);
                h = c_row * p * ((k == top ? row.top.q * (R(1) + top_bend) : own) + p * terms);
            } else {
                const R ratio = label == top ? share : p / q_label;
                h = slope * (bend * (k == label ? q_label : p * ratio) + p * q);
            }
            set(k, slope * (k == label ? -q : p), h);
        });
    }

    // Logit link

    /// `slope`: w D of the label; `beyond`: what d_top - d_second was shortened by. Afterwards z holds d - d_second, and
    /// `one` the shares of r, without a meaning for top.
    FOCAL_INLINE LogitRow<R> logit(R& slope, W& beyond) {
        W highest = z[0];
        double highest_half = task.half(0);
        each([&](int k) {
            highest = z[k] > highest ? z[k] : highest;
            highest_half = task.half(kAlike ? 0 : k) > highest_half ? task.half(k) : highest_half;
        });
        each([&](int k) {
            z[k] = (z[k] - highest) + task.log_weight(k);
            leaders.visit(z[k] - task.half(kAlike ? 0 : k), k);
        });
        set_top();
        const W d_top = leaders.highest + task.half(top), d_second = leaders.second + highest_half;
        const W whole = d_second - d_top, least = -800.0 * (1.0 + task.gamma(top)), gap = whole < least ? least : whole;
        beyond = gap - whole;
        R total = 0, first = 0, second = 0, inverse_weights = 0;
        each([&](int k) {
            z[k] = k == top ? W(0) : z[k] - d_second;
            const R exponential = exponential_of<R>(z[k]);
            e[k] = k == top ? R(0) : exponential;
            total = total + e[k];
            second = second + e[k] * e[k];
            inverse_weights = inverse_weights + e[k] / class_weight(k);
        });
        W x = logit_start(table(0, 2), gap, total, second);
        const Table<R> constant = table(top, 1);
        Jet<R> theta;
        for (Index i = 0; i < task.n_steps; ++i) {
            theta = constant.template at<4>(x);
            const W theta_second = gap + theta.value;
            total = first = second = 0;
            each([&](int k) {
                const Table<R> shrinkage = table(k, 0);
                const W here = z[k] + theta_second;
                const Jet<R> q = task.n_steps > 2 ? shrinkage.at(here) : shrinkage.template at<3>(here);
                total = total + e[k] * q.value;
                first = first + e[k] * q.first;
                second = second + e[k] * q.second;
            });
            x = logit_step(x, gap, theta, total, first, second);
        }
        theta = constant.template at<4>(x);
        const W theta_second = gap + theta.value;
        total = first = second = 0;
        R d0 = 0, d1 = 0;
        each([&](int k) {
            const Table<R> shrinkage = table(k, 0);
            Jet<R> q = shrinkage.at(z[k] + theta_second);
            R d = q.value + q.first, change = q.first + q.second;
            if constexpr (sizeof(R) == 4) {
                const Jet<R> decline = shrinkage.behind().at(z[k] + theta_second);
                d = decline.value, change = decline.first;
                q.first = d - q.value, q.second = change - q.first;
            }
            total = total + e[k] * q.value;
            first = first + e[k] * q.first;
            second = second + e[k] * q.second;
            one[k] = e[k] * d;
            two[k] = e[k] * change;
            d0 = k == label ? d : d0;
            d1 = k == label ? change : d1;
        });
        const LogitRow<R> row(theta.value, gap, gamma(top), class_weight(top), total, first, second, inverse_weights);
        slope = class_weight(label) * (label == top ? row.top_slope : d0 + d1 * row.step);
        each([&](int k) { one[k] = one[k] + two[k] * row.step; });
        return row;
    }

    /// A class that is not top, at the solution.
    FOCAL_INLINE Class<R> other(const LogitRow<R>& row, int k) {
        const W theta = z[k] + row.theta_second;
        const R q = table(k, 0).at(theta).value;
        return Class<R>::improbable(gamma(k), e[k] * q * row.scale, narrow<R>(-theta) - logarithm(q));
    }

    FOCAL_INLINE R logit_loss() {
        R slope, loss = 0;
        W beyond;
        const LogitRow<R> row = logit(slope, beyond);
        // q^gamma of top by theta = -gamma log q - a - log(bracket).
        const R of_top = exponential_of<R>(-row.theta - row.top.a) / row.top.bracket * row.top.a;
        const R away = narrow<R>(beyond / (1.0 + task.gamma(top)));
        each([&](int k) {
            const Class<R> c = other(row, k);
            const R own = k == top ? of_top : exponential(c.gamma * log_complement(c.p)) * (c.a + away);
            loss = k == label ? class_weight(k) * own * weight : loss;
        });
        return loss;
    }

    template <bool kAverage>
    FOCAL_INLINE void logit_derivatives() {
        R slope, label_bend = 0, bends = 0, top_r = 0, top_d = 0;
        W beyond;
        const LogitRow<R> row = logit(slope, beyond);
        if constexpr (!kAverage) {
            row.top.bends(top_r, top_d);
            label_bend = top_d;
            each([&](int k) {
                R of_r, of_d;
                other(row, k).bends(of_r, of_d);
                two[k] = k == top ? R(0) : one[k] * row.inverse_total * of_r;
                bends = bends + two[k];
                label_bend = (k == label) & (k != top) ? of_d : label_bend;
            });
        }
        each([&](int k) {
            const R share = k == top ? row.top_share : one[k], rho = share * row.inverse_total;
            const R rest = k == top ? row.others * row.inverse_total : R(1) - rho;
            R h;
            if constexpr (kAverage) {
                h = row.c_scale * share * rest;
            } else {
                const R of_top = row.top_share * row.inverse_total * top_r, own = k == top ? of_top : two[k];
                const R across = k == top ? bends : of_top + (bends - own), away = k == label ? rest : rho;
                h = slope * (own * rest * rest + rho * rho * across - label_bend * (away * away));
            }
            set(k, slope * (k == label ? -rest : rho), h);
        });
    }

    /// Stores what is in `values` of the rows of a warp, `start` the first of them. Where rows follow each other without
    /// a gap, threads exchange values so that neighbours write neighbours.
    FOCAL_INLINE void store(const View& view, PerClass<R, kClasses>& values, Place place, Index start) {
        if constexpr (kClasses > 0) {
            const Index row_bytes = static_cast<Index>(kClasses * sizeof(R));
            const bool is_of_type = view.type == (sizeof(R) == 4 ? Type::kFloat32 : Type::kFloat64);
            if (is_of_type & (view.row_stride == row_bytes) & (view.column_stride == static_cast<Index>(sizeof(R)))) {
                FOCAL_SHARED R shared[kThreads * kClasses];
                const int lane = place.thread % FOCAL_WARP;
                R* rows = shared + (place.thread - lane) * kClasses;
                __syncwarp();
                each([&](int k) { rows[lane * kClasses + k] = values[k]; });
                __syncwarp();
                const Index left = (task.n_rows - start) * kClasses;
                R* there = &view.at<R>(start, 0);
                each([&](int i) {
                    const int at = i * FOCAL_WARP + lane;
                    if (at < left) there[at] = rows[at];
                });
                return;
            }
        }
        if (start + static_cast<Index>(place.thread % FOCAL_WARP) == index) {
            each([&](int k) { view.store(index, k, values[k]); });
        }
    }
};

template <class R, Operation kOperation, bool kLogit, int kClasses, bool kAlike>
FOCAL_INLINE void multiclass_rows(const Task& task, Place place) {
    const Index thread = static_cast<Index>(place.block) * kThreads + place.thread, lane = place.thread % FOCAL_WARP;
    const Index n_threads = static_cast<Index>(place.n_blocks) * kThreads;
    // All threads of a warp go on to the end; those past the last row compute the last one again.
    for (Index start = thread - lane; start < task.n_rows; start += n_threads) {
        const Index last = task.n_rows - 1, index = start + lane < last ? start + lane : last;
        Row<R, kClasses, kAlike> row(task, index, thread, n_threads);
        row.load(kOperation != kLogOdds);
        if constexpr (kOperation == kLoss) {
            task.out.store(index, 0, kLogit ? row.logit_loss() : row.focal_loss());
            continue;
        }
        if constexpr (kOperation == kLogOdds) {
            row.log_odds();
        } else if constexpr (kLogit) {
            row.template logit_derivatives<kOperation == kExpected>();
        } else {
            row.template focal_derivatives<kOperation == kExpected>();
        }
        row.store(task.out, row.one, place, start);
        if constexpr (kOperation != kLogOdds) row.store(task.hessian_out, row.two, place, start);
    }
}

/// kClasses: 1 for the binary loss.
template <class R, Operation kOperation, bool kLogit, int kClasses, bool kAlike>
FOCAL_INLINE void rows(const Task& task, Place place) {
    if constexpr (kClasses == 1) {
        binary_rows<R, kOperation, kLogit>(task, place);
    } else {
        multiclass_rows<R, kOperation, kLogit, kClasses, kAlike>(task, place);
    }
}

#ifdef FOCAL_KERNEL
template <class R, Operation kOperation, bool kLogit, int kClasses, bool kAlike>
FOCAL_KERNEL kernel(const Task task) {
    rows<R, kOperation, kLogit, kClasses, kAlike>(task, FOCAL_PLACE);
}
#endif

}  // namespace FOCAL_NAMESPACE
