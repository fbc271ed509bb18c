// Loops over tiles of rows: load as double, compute with focal.hpp, store. Compiled once per instruction set, with
// FOCAL_LEVEL naming it. Nothing but focal.hpp and plain data is included, see there why.

#define FOCAL_CONCATENATE_(a, b) a##b
#define FOCAL_CONCATENATE(a, b) FOCAL_CONCATENATE_(a, b)
#define FOCAL_NAMESPACE FOCAL_CONCATENATE(focal_, FOCAL_LEVEL)

#include "focal.hpp"
#include "loops.hpp"

namespace focal_boost {
namespace FOCAL_NAMESPACE {

using namespace ::FOCAL_NAMESPACE;

namespace {

constexpr int kAnyGamma = -1;

// ---------------------------------------------------------------------------------------------------------------------
// Load and store

template <class T>
FOCAL_INLINE void load_as(const char* data, std::ptrdiff_t stride, std::size_t n, double* tile) {
    if (stride == static_cast<std::ptrdiff_t>(sizeof(T))) {
        const T* x = reinterpret_cast<const T*>(data);
        if (n == kTile) {
            for (std::size_t i = 0; i < kTile; ++i) tile[i] = static_cast<double>(x[i]);
        } else {
            for (std::size_t i = 0; i < n; ++i) tile[i] = static_cast<double>(x[i]);
        }
    } else {
        for (std::size_t i = 0; i < n; ++i, data += stride) {
            tile[i] = static_cast<double>(*reinterpret_cast<const T*>(data));
        }
    }
}

/// Loads n <= kTile rows of a column and fills the rest of the tile.
void load(const View& view, std::size_t row, std::size_t column, std::size_t n, double padding, double* tile) {
    const char* data = view.data + static_cast<std::ptrdiff_t>(row) * view.row_stride +
                       static_cast<std::ptrdiff_t>(column) * view.column_stride;
    switch (view.type) {
        case Type::kFloat32: load_as<float>(data, view.row_stride, n, tile); break;
        case Type::kFloat64: load_as<double>(data, view.row_stride, n, tile); break;
        case Type::kInt32: load_as<int>(data, view.row_stride, n, tile); break;
        case Type::kInt64: load_as<long long>(data, view.row_stride, n, tile); break;
        case Type::kInt8: load_as<signed char>(data, view.row_stride, n, tile); break;
        case Type::kUInt8: load_as<unsigned char>(data, view.row_stride, n, tile); break;
        case Type::kNone: n = 0; break;
    }
    for (std::size_t i = n; i < kTile; ++i) tile[i] = padding;
}

/// Loads margins, adds the intercept, and replaces infinities.
void load_margins(const Task& task, std::size_t row, std::size_t column, std::size_t n, double* z) {
    load(task.z, row, column, n, 0.0, z);
    const double intercept = task.intercept != nullptr ? task.intercept[column] : 0.0;
    for (std::size_t i = 0; i < kTile; ++i) z[i] = finite_margin(z[i] + intercept);
}

template <class T>
FOCAL_INLINE void store_as(char* data, std::ptrdiff_t stride, std::size_t n, const double* tile) {
    if (stride == static_cast<std::ptrdiff_t>(sizeof(T))) {
        T* x = reinterpret_cast<T*>(data);
        if (n == kTile) {
            for (std::size_t i = 0; i < kTile; ++i) x[i] = static_cast<T>(tile[i]);
        } else {
            for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(tile[i]);
        }
    } else {
        for (std::size_t i = 0; i < n; ++i, data += stride) *reinterpret_cast<T*>(data) = static_cast<T>(tile[i]);
    }
}

void store(const View& view, std::size_t row, std::size_t column, std::size_t n, const double* tile) {
    char* data = view.data + static_cast<std::ptrdiff_t>(row) * view.row_stride +
                 static_cast<std::ptrdiff_t>(column) * view.column_stride;
    if (view.type == Type::kFloat32) {
        store_as<float>(data, view.row_stride, n, tile);
    } else {
        store_as<double>(data, view.row_stride, n, tile);
    }
}

/// The row of the first label in a tile that is not allowed.
template <class Allowed>
std::size_t first_bad(const double* t, std::size_t row, Allowed allowed) {
    for (std::size_t i = 0; i < kTile; ++i) {
        if (!allowed(t[i])) return row + i;
    }
    return kNoBadRow;
}

template <class Allowed>
FOCAL_INLINE bool all_allowed(const double* t, Allowed allowed) {
    long long bad = 0;
    for (std::size_t i = 0; i < kTile; ++i) bad |= allowed(t[i]) ? 0 : 1;
    return bad == 0;
}

Finish finish_of(const Task& task) {
    return {task.inverse_step, task.bounded ? 0.0 : -__builtin_inf(), task.hessian_scale};
}

// ---------------------------------------------------------------------------------------------------------------------
// Binary

const auto kBinaryLabel = [](double t) { return is_binary_label(t); };

/// A tile of margins and all that losses and derivatives take from them; as arrays, see RowTile.
template <int N>
struct SideTile {
    alignas(64) double z[kTile], lifted_e[kTile], e[kTile], big[kTile], lambda[kTile], big_gamma[kTile], small_gamma[kTile];

    void fill(const Task& task, std::size_t row, std::size_t n, Gamma<N> gamma) {
        load_margins(task, row, 0, n, z);
        for (std::size_t i = 0; i < kTile; ++i) {
            BinarySide<N> side = get(i, gamma);
            side.exponential();
            lifted_e[i] = side.lifted_e;
            e[i] = side.e;
        }
        for (std::size_t i = 0; i < kTile; ++i) {
            BinarySide<N> side = get(i, gamma);
            side.logarithm();
            big[i] = side.big;
            lambda[i] = side.lambda;
        }
        for (std::size_t i = 0; i < kTile; ++i) {
            BinarySide<N> side = get(i, gamma);
            side.powers();
            big_gamma[i] = side.big_gamma;
            small_gamma[i] = side.small_gamma;
        }
    }

    FOCAL_INLINE BinarySide<N> get(std::size_t i, Gamma<N> gamma) const {
        BinarySide<N> side;
        side.gamma = gamma.get();
        side.x = absolute(z[i]);
        side.lifted_e = lifted_e[i];
        side.e = e[i];
        side.big = big[i];
        side.lambda = lambda[i];
        side.big_gamma = big_gamma[i];
        side.small_gamma = small_gamma[i];
        return side;
    }
};

template <int N>
std::size_t binary_loss_loop(const Task& task, std::size_t begin, std::size_t end, Gamma<N> gamma) {
    const BinaryWeights w{task.class_weight[0], task.class_weight[1]};
    alignas(64) double t[kTile], weight[kTile], loss[kTile];
    SideTile<N> tile;
    for (std::size_t row = begin; row < end; row += kTile) {
        const std::size_t n = end - row < kTile ? end - row : kTile;
        load(task.y, row, 0, n, 0.0, t);
        load(task.weight, row, 0, n, 1.0, weight);
        if (!all_allowed(t, kBinaryLabel)) return first_bad(t, row, kBinaryLabel);
        tile.fill(task, row, n, gamma);
        for (std::size_t i = 0; i < kTile; ++i) {
            loss[i] = binary_loss(tile.get(i, gamma), t[i], tile.z[i], w) * weight[i];
        }
        store(task.out, row, 0, n, loss);
    }
    return kNoBadRow;
}

template <bool kExpected, int N>
std::size_t binary_derivatives_loop(const Task& task, std::size_t begin, std::size_t end, Gamma<N> gamma) {
    const BinaryWeights w{task.class_weight[0], task.class_weight[1]};
    const Finish finish = finish_of(task);
    alignas(64) double t[kTile], weight[kTile], gradient[kTile], hessian[kTile];
    SideTile<N> tile;
    for (std::size_t row = begin; row < end; row += kTile) {
        const std::size_t n = end - row < kTile ? end - row : kTile;
        load(task.y, row, 0, n, 0.0, t);
        load(task.weight, row, 0, n, 1.0, weight);
        if (!all_allowed(t, kBinaryLabel)) return first_bad(t, row, kBinaryLabel);
        tile.fill(task, row, n, gamma);
        for (std::size_t i = 0; i < kTile; ++i) {
            const Derivatives d = binary_derivatives<kExpected>(tile.get(i, gamma), t[i], tile.z[i], w, finish);
            gradient[i] = d.gradient * weight[i];
            hessian[i] = d.hessian * weight[i];
        }
        store(task.out, row, 0, n, gradient);
        store(task.hessian_out, row, 0, n, hessian);
    }
    return kNoBadRow;
}

std::size_t binary_posterior_loop(const Task& task, std::size_t begin, std::size_t end, double*) {
    const double gamma = task.gamma, shift = task.log_class_weight[0];
    alignas(64) double z[kTile], logit[kTile];
    for (std::size_t row = begin; row < end; row += kTile) {
        const std::size_t n = end - row < kTile ? end - row : kTile;
        load_margins(task, row, 0, n, z);
        for (std::size_t i = 0; i < kTile; ++i) logit[i] = binary_posterior_logit(z[i], gamma, shift);
        store(task.out, row, 0, n, logit);
    }
    return kNoBadRow;
}

// ---------------------------------------------------------------------------------------------------------------------
// Multiclass. Scratch holds three tiles per class: margins, exponentials, and one more.

/// The quantities of a row for each row of a tile, as arrays. In the loops they are put back into the structs of
/// focal.hpp, of which the compiler then keeps what is used.
template <int N>
struct RowTile {
    // Leaders
    alignas(64) double highest[kTile], second[kTile], top[kTile];
    // Sum of all exponentials but top's
    double others[kTile];
    // SoftmaxRow; the last is left alone for integer powers, which need no logarithm
    double gap[kTile], gap_low[kTile], t[kTile], scale[kTile], inverse_others[kTile], log_total[kTile], p_top[kTile],
        q_top[kTile], rho_top[kTile], q_top_gamma[kTile], log_rest[kTile];

    FOCAL_INLINE Leaders leaders(std::size_t i) const { return {highest[i], second[i], top[i]}; }

    FOCAL_INLINE SoftmaxRow<N> get(std::size_t i, Gamma<N> gamma) const {
        SoftmaxRow<N> row;
        row.gamma = gamma.get();
        row.highest = highest[i];
        row.gap = gap[i];
        row.gap_low = gap_low[i];
        row.others = others[i];
        row.t = t[i];
        row.scale = scale[i];
        row.inverse_others = inverse_others[i];
        row.log_total = log_total[i];
        row.p_top = p_top[i];
        row.q_top = q_top[i];
        row.rho_top = rho_top[i];
        row.q_top_gamma = q_top_gamma[i];
        if constexpr (!Gamma<N>::kInteger) row.log_rest = log_rest[i];
        return row;
    }

    /// Leaders and sums are there; computes the rest.
    void complete(Gamma<N> gamma) {
        for (std::size_t i = 0; i < kTile; ++i) {
            SoftmaxRow<N> row;
            row.start(leaders(i), others[i], gamma);
            row.exponential();
            gap[i] = row.gap;
            gap_low[i] = row.gap_low;
            t[i] = row.t;
        }
        for (std::size_t i = 0; i < kTile; ++i) {
            SoftmaxRow<N> row = get(i, gamma);
            row.logarithms();
            scale[i] = row.scale;
            inverse_others[i] = row.inverse_others;
            log_total[i] = row.log_total;
            p_top[i] = row.p_top;
            q_top[i] = row.q_top;
            rho_top[i] = row.rho_top;
            if constexpr (!Gamma<N>::kInteger) log_rest[i] = row.log_rest;
        }
        for (std::size_t i = 0; i < kTile; ++i) {
            SoftmaxRow<N> row = get(i, gamma);
            row.powers();
            q_top_gamma[i] = row.q_top_gamma;
        }
    }
};

/// Loads the margins of a tile and computes what every multiclass loop starts from.
template <int N>
void softmax_tile(const Task& task, std::size_t row, std::size_t n, Gamma<N> gamma, double* __restrict z,
                  double* __restrict exponentials, RowTile<N>& tile) {
    const std::size_t n_classes = task.n_classes;
    const Leaders none = Leaders::none();
    for (std::size_t i = 0; i < kTile; ++i) {
        tile.highest[i] = none.highest;
        tile.second[i] = none.second;
        tile.top[i] = none.top;
        tile.others[i] = 0.0;
    }
    for (std::size_t k = 0; k < n_classes; ++k) {
        double* zk = z + k * kTile;
        const double class_k = static_cast<double>(k);
        load_margins(task, row, k, n, zk);
        for (std::size_t i = 0; i < kTile; ++i) {
            Leaders leaders = tile.leaders(i);
            leaders.visit(zk[i], class_k);
            tile.highest[i] = leaders.highest;
            tile.second[i] = leaders.second;
            tile.top[i] = leaders.top;
        }
    }
    for (std::size_t k = 0; k < n_classes; ++k) {
        const double* zk = z + k * kTile;
        double* ek = exponentials + k * kTile;
        const double class_k = static_cast<double>(k);
        for (std::size_t i = 0; i < kTile; ++i) {
            ek[i] = tile.leaders(i).exponential(zk[i], class_k);
            tile.others[i] += ek[i];
        }
    }
    tile.complete(gamma);
}

/// Margin, exponential and class weight of the true class of each row.
struct TrueTile {
    alignas(64) double z[kTile], exponential[kTile], w[kTile];

    TrueTile(const Task& task, const double* t, const double* margins, const double* exponentials) {
        for (std::size_t i = 0; i < kTile; ++i) z[i] = exponential[i] = w[i] = 0.0;
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            const double* zk = margins + k * kTile;
            const double* ek = exponentials + k * kTile;
            const double class_k = static_cast<double>(k), wk = task.class_weight[k];
            for (std::size_t i = 0; i < kTile; ++i) {
                z[i] = t[i] == class_k ? zk[i] : z[i];
                exponential[i] = t[i] == class_k ? ek[i] : exponential[i];
                w[i] = t[i] == class_k ? wk : w[i];
            }
        }
    }
};

/// Gradient and curvature of one entry, after step bound, scale and sample weight.
FOCAL_INLINE void finish_entry(const Finish& finish, double g, double h, double weight, double& gradient,
                               double& hessian) {
    gradient = g * weight;
    hessian = finish.curvature(g, h) * weight;
}

template <int N>
void exact_tile(const Task& task, std::size_t row, std::size_t n, Gamma<N> gamma, const double* t, const double* weight,
                const double* z, const double* exponentials, const RowTile<N>& tile) {
    const TrueTile truth(task, t, z, exponentials);
    const Finish finish = finish_of(task);
    alignas(64) double slope[kTile], bend[kTile], inverse_q[kTile], q_true[kTile], gradient[kTile], hessian[kTile];
    for (std::size_t i = 0; i < kTile; ++i) {
        const TrueClass c(tile.get(i, gamma), truth.z[i], truth.exponential[i], truth.w[i], t[i] == tile.top[i]);
        slope[i] = c.slope;
        bend[i] = c.bend;
        inverse_q[i] = c.inverse_q;
        q_true[i] = c.q;
    }
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const double* ek = exponentials + k * kTile;
        const double class_k = static_cast<double>(k);
        for (std::size_t i = 0; i < kTile; ++i) {
            const SoftmaxRow<N> r = tile.get(i, gamma);
            TrueClass c;
            c.slope = slope[i];
            c.bend = bend[i];
            c.inverse_q = inverse_q[i];
            c.q = q_true[i];
            const bool is_top = class_k == tile.top[i], is_true = class_k == t[i];
            const double p_other = r.probability(ek[i]);
            const double p = is_top ? r.p_top : p_other;
            const double q = is_top ? r.q_top : 1.0 - p_other;
            const double g = softmax_gradient(c.slope, is_true, p, q);
            const double h = c.curvature(is_true, t[i] == tile.top[i], p, q, r.share(ek[i]));
            finish_entry(finish, g, h, weight[i], gradient[i], hessian[i]);
        }
        store(task.out, row, k, n, gradient);
        store(task.hessian_out, row, k, n, hessian);
    }
}

template <int N>
void expected_tile(const Task& task, std::size_t row, std::size_t n, Gamma<N> gamma, const double* t,
                   const double* weight, const double* __restrict z, const double* __restrict exponentials,
                   double* __restrict own, const RowTile<N>& tile) {
    const Finish finish = finish_of(task);
    alignas(64) double log_q[kTile], power[kTile], slope[kTile], w_top[kTile], inverse_sum[kTile], term_sum[kTile];
    alignas(64) double c[kTile], share_top[kTile], own_top[kTile], gradient[kTile], hessian[kTile];
    for (std::size_t i = 0; i < kTile; ++i) slope[i] = w_top[i] = inverse_sum[i] = term_sum[i] = 0.0;
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const double* zk = z + k * kTile;
        const double* ek = exponentials + k * kTile;
        double* own_k = own + k * kTile;
        const double class_k = static_cast<double>(k), wk = task.class_weight[k];
        const ClassWeight weight_k{wk, 1.0 / wk};
        for (std::size_t i = 0; i < kTile; ++i) log_q[i] = tile.get(i, gamma).log_q(ek[i]);
        for (std::size_t i = 0; i < kTile; ++i) power[i] = tile.get(i, gamma).power(ek[i], log_q[i]);
        for (std::size_t i = 0; i < kTile; ++i) {
            const SoftmaxRow<N> r = tile.get(i, gamma);
            const ExpectedTerms terms(r, r.other(zk[i], ek[i], power[i]), weight_k);
            own_k[i] = terms.own;
            inverse_sum[i] += terms.inverse;
            term_sum[i] += terms.term;
            slope[i] = t[i] == class_k ? terms.slope : slope[i];
            w_top[i] = tile.top[i] == class_k ? wk : w_top[i];
        }
    }
    for (std::size_t i = 0; i < kTile; ++i) {
        const ExpectedRow<N> expected(tile.get(i, gamma), w_top[i], inverse_sum[i], term_sum[i]);
        c[i] = expected.c;
        share_top[i] = expected.share_top;
        own_top[i] = expected.own_top;
        slope[i] = t[i] == tile.top[i] ? expected.slope_top : slope[i];
    }
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const double* ek = exponentials + k * kTile;
        const double* own_k = own + k * kTile;
        const double class_k = static_cast<double>(k);
        for (std::size_t i = 0; i < kTile; ++i) {
            const SoftmaxRow<N> r = tile.get(i, gamma);
            ExpectedRow<N> expected;
            expected.c = c[i];
            expected.term_sum = term_sum[i];
            expected.share_top = share_top[i];
            expected.own_top = own_top[i];
            const bool is_top = class_k == tile.top[i], is_true = class_k == t[i];
            const double p_other = r.probability(ek[i]);
            const double p = is_top ? r.p_top : p_other;
            const double q = is_top ? r.q_top : 1.0 - p_other;
            const double g = softmax_gradient(slope[i], is_true, p, q);
            const double h = expected.curvature(is_top, p, ek[i], own_k[i]);
            finish_entry(finish, g, h, weight[i], gradient[i], hessian[i]);
        }
        store(task.out, row, k, n, gradient);
        store(task.hessian_out, row, k, n, hessian);
    }
}

template <bool kExpected, int N>
std::size_t multiclass_derivatives_loop(const Task& task, std::size_t begin, std::size_t end, Gamma<N> gamma,
                                        double* scratch) {
    const double n_classes = static_cast<double>(task.n_classes);
    const auto allowed = [n_classes](double t) { return is_class_label(t, n_classes); };
    double* z = scratch;
    double* exponentials = z + task.n_classes * kTile;
    double* own = exponentials + task.n_classes * kTile;
    alignas(64) double t[kTile], weight[kTile];
    RowTile<N> tile;
    for (std::size_t row = begin; row < end; row += kTile) {
        const std::size_t n = end - row < kTile ? end - row : kTile;
        load(task.y, row, 0, n, 0.0, t);
        load(task.weight, row, 0, n, 1.0, weight);
        if (!all_allowed(t, allowed)) return first_bad(t, row, allowed);
        softmax_tile(task, row, n, gamma, z, exponentials, tile);
        if constexpr (kExpected) {
            expected_tile(task, row, n, gamma, t, weight, z, exponentials, own, tile);
        } else {
            exact_tile(task, row, n, gamma, t, weight, z, exponentials, tile);
        }
    }
    return kNoBadRow;
}

template <int N>
std::size_t multiclass_loss_loop(const Task& task, std::size_t begin, std::size_t end, Gamma<N> gamma,
                                 double* scratch) {
    const double n_classes = static_cast<double>(task.n_classes);
    const auto allowed = [n_classes](double t) { return is_class_label(t, n_classes); };
    double* z = scratch;
    double* exponentials = z + task.n_classes * kTile;
    alignas(64) double t[kTile], weight[kTile], loss[kTile];
    RowTile<N> tile;
    for (std::size_t row = begin; row < end; row += kTile) {
        const std::size_t n = end - row < kTile ? end - row : kTile;
        load(task.y, row, 0, n, 0.0, t);
        load(task.weight, row, 0, n, 1.0, weight);
        if (!all_allowed(t, allowed)) return first_bad(t, row, allowed);
        softmax_tile(task, row, n, gamma, z, exponentials, tile);
        const TrueTile truth(task, t, z, exponentials);
        for (std::size_t i = 0; i < kTile; ++i) {
            const bool is_top = t[i] == tile.top[i];
            loss[i] = softmax_loss(tile.get(i, gamma), truth.z[i], truth.exponential[i], truth.w[i], is_top) * weight[i];
        }
        store(task.out, row, 0, n, loss);
    }
    return kNoBadRow;
}

std::size_t multiclass_posterior_loop(const Task& task, std::size_t begin, std::size_t end, double* scratch) {
    const Gamma<kAnyGamma> gamma{task.gamma};
    double* z = scratch;
    double* exponentials = z + task.n_classes * kTile;
    double* log_eta = exponentials + task.n_classes * kTile;
    alignas(64) double highest[kTile], out[kTile];
    RowTile<kAnyGamma> tile;
    for (std::size_t row = begin; row < end; row += kTile) {
        const std::size_t n = end - row < kTile ? end - row : kTile;
        softmax_tile(task, row, n, gamma, z, exponentials, tile);
        for (std::size_t i = 0; i < kTile; ++i) highest[i] = -__builtin_inf();
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            const double* zk = z + k * kTile;
            const double* ek = exponentials + k * kTile;
            double* log_eta_k = log_eta + k * kTile;
            const double log_w = task.log_class_weight[k];
            for (std::size_t i = 0; i < kTile; ++i) {
                log_eta_k[i] = softmax_log_posterior(tile.get(i, gamma), zk[i], ek[i], log_w);
                highest[i] = log_eta_k[i] > highest[i] ? log_eta_k[i] : highest[i];
            }
        }
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            const double* log_eta_k = log_eta + k * kTile;
            for (std::size_t i = 0; i < kTile; ++i) out[i] = log_eta_k[i] - highest[i];
            store(task.out, row, k, n, out);
        }
    }
    return kNoBadRow;
}

// ---------------------------------------------------------------------------------------------------------------------
// Choice of gamma

template <class Function>
std::size_t with_gamma(double gamma, Function function) {
    if (gamma == 0.0) return function(Gamma<0>{gamma});
    if (gamma == 1.0) return function(Gamma<1>{gamma});
    if (gamma == 2.0) return function(Gamma<2>{gamma});
    if (gamma == 3.0) return function(Gamma<3>{gamma});
    if (gamma == 4.0) return function(Gamma<4>{gamma});
    if (gamma == 5.0) return function(Gamma<5>{gamma});
    return function(Gamma<kAnyGamma>{gamma});
}

std::size_t binary_loss_rows(const Task& task, std::size_t begin, std::size_t end, double*) {
    return with_gamma(task.gamma, [&](auto gamma) { return binary_loss_loop(task, begin, end, gamma); });
}

std::size_t binary_derivatives_rows(const Task& task, std::size_t begin, std::size_t end, double*) {
    return with_gamma(task.gamma, [&](auto gamma) {
        return task.expected ? binary_derivatives_loop<true>(task, begin, end, gamma)
                             : binary_derivatives_loop<false>(task, begin, end, gamma);
    });
}

std::size_t multiclass_loss_rows(const Task& task, std::size_t begin, std::size_t end, double* scratch) {
    return with_gamma(task.gamma, [&](auto gamma) { return multiclass_loss_loop(task, begin, end, gamma, scratch); });
}

std::size_t multiclass_derivatives_rows(const Task& task, std::size_t begin, std::size_t end, double* scratch) {
    return with_gamma(task.gamma, [&](auto gamma) {
        return task.expected ? multiclass_derivatives_loop<true>(task, begin, end, gamma, scratch)
                             : multiclass_derivatives_loop<false>(task, begin, end, gamma, scratch);
    });
}

}  // namespace
}  // namespace FOCAL_NAMESPACE

#define FOCAL_STRING_(x) #x
#define FOCAL_STRING(x) FOCAL_STRING_(x)

extern const Loops FOCAL_CONCATENATE(kLoops_, FOCAL_LEVEL) = {
    FOCAL_STRING(FOCAL_LEVEL),
    FOCAL_NAMESPACE::binary_loss_rows,
    FOCAL_NAMESPACE::binary_derivatives_rows,
    FOCAL_NAMESPACE::binary_posterior_loop,
    FOCAL_NAMESPACE::multiclass_loss_rows,
    FOCAL_NAMESPACE::multiclass_derivatives_rows,
    FOCAL_NAMESPACE::multiclass_posterior_loop,
};

}  // namespace focal_boost
