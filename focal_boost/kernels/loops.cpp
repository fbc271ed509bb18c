// Loops over tiles of rows: load as double, compute with focal.hpp, store. Compiled once per instruction set, with
// FOCAL_LEVEL naming it and FOCAL_LANES saying how many doubles a vector of it holds (left out where the compiler knows
// no vectors). Nothing but focal.hpp and plain data is included, see there why.

#define FOCAL_CONCATENATE_(a, b) a##b
#define FOCAL_CONCATENATE(a, b) FOCAL_CONCATENATE_(a, b)
#define FOCAL_NAMESPACE FOCAL_CONCATENATE(focal_, FOCAL_LEVEL)

#include "focal.hpp"
#include "loops.hpp"

namespace focal_boost {
namespace FOCAL_NAMESPACE {

using namespace ::FOCAL_NAMESPACE;

namespace {

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
    for (std::size_t i = 0; i < kTile; i += kLanes) {
        Lanes& rows = *reinterpret_cast<Lanes*>(z + i);
        rows = finite_margin(rows + intercept);
    }
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

// ---------------------------------------------------------------------------------------------------------------------
// Rows in vectors

using Value = Lanes;

FOCAL_INLINE Value& at(double* tile, std::size_t i) { return *reinterpret_cast<Value*>(tile + i); }
FOCAL_INLINE Value at(const double* tile, std::size_t i) { return *reinterpret_cast<const Value*>(tile + i); }

FOCAL_INLINE Value of_class(const double* values, std::size_t k) { return Value{} + values[k]; }

/// Labels and weights of a tile of rows.
struct Rows {
    const Task& task;
    std::size_t start, n;
    alignas(64) double t[kTile], weight[kTile];

    Rows(const Task& task_, std::size_t start_, std::size_t end)
        : task(task_), start(start_), n(end - start_ < kTile ? end - start_ : kTile) {
        load(task.y, start, 0, n, 0.0, t);
        load(task.weight, start, 0, n, 1.0, weight);
    }

    bool is_allowed(std::size_t i) const {
        if (task.binary) return is_binary_label(t[i]);
        return (t[i] >= 0.0) & (t[i] < static_cast<double>(task.n_classes)) & ((t[i] + 0x1p52) - 0x1p52 == t[i]);
    }

    /// The first row whose label is not allowed.
    std::size_t bad_row() const {
        long long bad = 0;
        for (std::size_t i = 0; i < kTile; ++i) bad |= is_allowed(i) ? 0 : 1;
        for (std::size_t i = 0; bad && i < kTile; ++i) {
            if (!is_allowed(i)) return start + i;
        }
        return kNoBadRow;
    }
};

Finish<Value> finish_of(const Task& task) {
    return {task.inverse_step, task.bounded ? 0.0 : -__builtin_huge_val(), task.hessian_scale};
}

Table<Value> table_of(const Task& task, std::size_t k, std::size_t which) {
    return Table<Value>(task.block + static_cast<std::size_t>(task.tables[3 * k + which]));
}

// ---------------------------------------------------------------------------------------------------------------------
// Binary

Binary<Value> binary_of(const Task& task) {
    Binary<Value> binary{};
    binary.gamma0 = task.gamma[0];
    binary.gamma1 = task.gamma[1];
    binary.w0 = task.class_weight[0];
    binary.w1 = task.class_weight[1];
    binary.shift = task.log_weight[1] - task.log_weight[0];
    binary.finish = finish_of(task);
    if (task.logit) {
        binary.row_weight = table_of(task, 0, 0);
        binary.logit = table_of(task, 0, 1);
    }
    return binary;
}

/// Calls `row(z, t, weight, out, hessian_out)` for all rows.
template <class Row>
std::size_t binary_rows(const Task& task, std::size_t begin, std::size_t end, Row row) {
    alignas(64) double z[kTile], out[kTile] = {}, hessian_out[kTile] = {};
    for (std::size_t start = begin; start < end; start += kTile) {
        Rows rows(task, start, end);
        if (const std::size_t bad = rows.bad_row(); bad != kNoBadRow) return bad;
        load_margins(task, start, 0, rows.n, z);
        for (std::size_t i = 0; i < kTile; i += kLanes) {
            row(at(z, i), at(rows.t, i), at(rows.weight, i), at(out, i), at(hessian_out, i));
        }
        store(task.out, start, 0, rows.n, out);
        if (task.hessian_out.type != Type::kNone) store(task.hessian_out, start, 0, rows.n, hessian_out);
    }
    return kNoBadRow;
}

std::size_t binary_loop(const Task& task, std::size_t begin, std::size_t end) {
    const Binary<Value> binary = binary_of(task);
    if (task.operation == Operation::kLogOdds) {
        return binary_rows(task, begin, end,
                           [&](Value z, Value, Value, Value& out, Value&) { out = binary.log_odds(z); });
    }
    if (task.operation == Operation::kLoss) {
        return binary_rows(task, begin, end, [&](Value z, Value t, Value weight, Value& out, Value&) {
            out = binary.loss(task.logit ? binary.to_logit(z) : z, t) * weight;
        });
    }
    const auto derivatives = [&](auto of) {
        return binary_rows(task, begin, end, [&](Value z, Value t, Value weight, Value& gradient, Value& hessian) {
            const Derivatives<Value> d = of(z, t, weight);
            gradient = d.gradient;
            hessian = d.hessian;
        });
    };
    if (task.logit && task.expected) {
        return derivatives([&](Value f, Value t, Value weight) { return binary.of_logit(f, t, weight, true); });
    }
    if (task.logit) {
        return derivatives([&](Value f, Value t, Value weight) { return binary.of_logit(f, t, weight, false); });
    }
    return derivatives([&](Value z, Value t, Value weight) { return binary.of_focal(z, t, weight, task.expected); });
}

// ---------------------------------------------------------------------------------------------------------------------
// Multiclass

constexpr std::size_t kVectors = kTile / kLanes;

/// Each step for all vectors of a tile before the next: the chain of operations through a row is longer than a processor
/// looks ahead.
template <class Function>
FOCAL_INLINE void each(Function function) {
    for (std::size_t v = 0; v < kVectors; ++v) function(v);
}

/// A tile of rows, with scratch of four values for each class and row.
struct Tile {
    const Task& task;
    const Rows& rows;
    double* scratch;
    Finish<Value> finish;
    Leaders<Value> leaders[kVectors];

    Tile(const Task& task_, const Rows& rows_, double* scratch_)
        : task(task_), rows(rows_), scratch(scratch_), finish(finish_of(task_)) {}

    /// One of the values of a class: of(0, k) are margins at the beginning; gradient and curvature are of(0, k) and of(1, k)
    /// at the end.
    Value& of(std::size_t what, std::size_t k, std::size_t v) {
        return at(scratch, (what * task.n_classes + k) * kTile + v * kLanes);
    }
    Value t(std::size_t v) const { return at(rows.t, v * kLanes); }
    Value weight(std::size_t v) const { return at(rows.weight, v * kLanes); }
    Value top(std::size_t v) const { return leaders[v].top; }
    bool is_same(std::size_t k, std::size_t which) const {
        return k > 0 && task.tables[3 * k + which] == task.tables[3 * (k - 1) + which];
    }

    void set(std::size_t k, std::size_t v, Value gradient, Value hessian) {
        const Derivatives<Value> d = finish(gradient, hessian, weight(v));
        of(0, k, v) = d.gradient;
        of(1, k, v) = d.hessian;
    }
};

/// The entry of a class of the row.
FOCAL_INLINE Value pick(const Task& task, const double* values, Value which) {
    Value picked = of_class(values, 0);
    for (std::size_t k = 1; k < task.n_classes; ++k) {
        picked = select(which == static_cast<double>(k), of_class(values, k), picked);
    }
    return picked;
}

// Focal link

struct SoftmaxTile {
    SoftmaxRow<Value> rows[kVectors];

    /// Exponentials to of(1, k), 0 for top.
    explicit SoftmaxTile(Tile& tile) {
        const Task& task = tile.task;
        Value others[kVectors] = {};
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            each([&](std::size_t v) { tile.leaders[v].visit(tile.of(0, k, v), static_cast<double>(k)); });
        }
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            each([&](std::size_t v) {
                // For top the difference is positive and what comes of it has no meaning.
                const Value e = Difference<Value>(tile.of(0, k, v), tile.leaders[v].second).power<Value>();
                tile.of(1, k, v) = select(tile.top(v) == static_cast<double>(k), Value{}, e);
                others[v] = others[v] + tile.of(1, k, v);
            });
        }
        each([&](std::size_t v) {
            const Leaders<Value>& leaders = tile.leaders[v];
            const Value gamma = pick(task, task.gamma, leaders.top);
            rows[v] = SoftmaxRow<Value>(leaders.highest, leaders.second, others[v], gamma);
        });
    }

    Class<Value> other(Tile& tile, std::size_t k, std::size_t v) const {
        return rows[v].other(tile.of(0, k, v), tile.of(1, k, v), tile.task.gamma[k]);
    }
};

void focal_loss(Tile& tile, double* loss) {
    const Task& task = tile.task;
    const SoftmaxTile softmax(tile);
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const double class_k = static_cast<double>(k);
        each([&](std::size_t v) {
            const SoftmaxRow<Value>& row = softmax.rows[v];
            const Class<Value> c = softmax.other(tile, k, v);
            const Value own = select(tile.top(v) == class_k, row.top_power * row.top.a, row.power(c) * c.a);
            Value& result = at(loss, v * kLanes);
            result = select(tile.t(v) == class_k, task.class_weight[k] * own * tile.weight(v), result);
        });
    }
}

void focal_log_odds(Tile& tile) {
    const Task& task = tile.task;
    const SoftmaxTile softmax(tile);
    Value w_top[kVectors], of_top[kVectors], highest[kVectors];
    each([&](std::size_t v) {
        const SoftmaxRow<Value>& row = softmax.rows[v];
        w_top[v] = pick(task, task.log_weight, tile.top(v));
        highest[v] = of_top[v] = focal_log_posterior(row.top, row.log_q_top, w_top[v]);
    });
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const Value log_w = of_class(task.log_weight, k);
        each([&](std::size_t v) {
            const SoftmaxRow<Value>& row = softmax.rows[v];
            const Class<Value> c = softmax.other(tile, k, v);
            // What ties with top in all respects stays tied to the last bit.
            const auto tied = (tile.of(0, k, v) == row.highest) & (c.gamma == row.top.gamma) & (log_w == w_top[v]);
            const auto as_top = tied | (tile.top(v) == static_cast<double>(k));
            const Value log_eta = select(as_top, of_top[v], focal_log_posterior(c, log_complement(c.p), log_w));
            tile.of(0, k, v) = log_eta;
            highest[v] = select(log_eta > highest[v], log_eta, highest[v]);
        });
    }
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        each([&](std::size_t v) { tile.of(0, k, v) = tile.of(0, k, v) - highest[v]; });
    }
}

/// Exact: V_t (delta_tk - p_k)^2 - A_t p_k q_k; p_k / q_t by the share where q_t is top's complement.
template <bool kExpected>
void focal_derivatives(Tile& tile) {
    const Task& task = tile.task;
    const SoftmaxTile softmax(tile);
    Value slope[kVectors], bend[kVectors], q_label[kVectors], inverse_sum[kVectors] = {}, terms[kVectors] = {};
    Value top_slope[kVectors], top_bend[kVectors], c_row[kVectors];
    each([&](std::size_t v) {
        const Class<Value>& c = softmax.rows[v].top;
        top_slope[v] = slope[v] = pick(task, task.class_weight, tile.top(v)) * softmax.rows[v].top_power * c.bracket;
        top_bend[v] = bend[v] = c.p * focal_bend(c);
        q_label[v] = c.q;
    });
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const double class_k = static_cast<double>(k);
        each([&](std::size_t v) {
            const Class<Value> c = softmax.other(tile, k, v);
            const FocalTerms<Value> of_class(c, task.class_weight[k] * SoftmaxRow<Value>::power(c));
            const auto is_label = (tile.t(v) == class_k) & (tile.top(v) != class_k);
            slope[v] = select(is_label, of_class.slope, slope[v]);
            if constexpr (kExpected) {
                tile.of(2, k, v) = of_class.own;
                inverse_sum[v] = inverse_sum[v] + of_class.inverse;
                terms[v] = terms[v] + of_class.term;
            } else {
                bend[v] = select(is_label, c.p * focal_bend(c), bend[v]);
                q_label[v] = select(is_label, c.q, q_label[v]);
            }
        });
    }
    each([&](std::size_t v) {
        // 1 / (inverse_sum + p / -A) with top's own, and 0 where its slope underflows.
        c_row[v] = top_slope[v] / (inverse_sum[v] * top_slope[v] + softmax.rows[v].top.p);
    });
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        each([&](std::size_t v) {
            const SoftmaxRow<Value>& row = softmax.rows[v];
            const auto is_top = tile.top(v) == static_cast<double>(k), is_label = tile.t(v) == static_cast<double>(k);
            const Value e = tile.of(1, k, v), share = row.share(e), p_other = e * row.scale;
            const Value p = select(is_top, row.top.p, p_other), q = select(is_top, row.top.q, 1.0 - p_other);
            Value h;
            if constexpr (kExpected) {
                const Value own = tile.of(2, k, v) + share * (row.top.p * top_bend[v]);
                h = c_row[v] * p * (select(is_top, row.top.q * (1.0 + top_bend[v]), own) + p * terms[v]);
            } else {
                const auto label_is_top = tile.t(v) == tile.top(v);
                const Value ratio = select(label_is_top, share, p / select(label_is_top, Value{} + 1.0, q_label[v]));
                h = slope[v] * (bend[v] * select(is_label, q_label[v], p * ratio) + p * q);
            }
            tile.set(k, v, slope[v] * select(is_label, -q, p), h);
        });
    }
}

// Logit link

struct LogitTile {
    LogitRow<Value> rows[kVectors];
    Value slope[kVectors];  ///< w D of the label

    Value beyond[kVectors];  ///< what d_top - d_second was shortened by

    /// Finds the solution. of(0, k): d - d_second, 0 for top; of(1, k): its exponential, 0 for top; of(2, k): shares of
    /// r, without a meaning for top.
    explicit LogitTile(Tile& tile) {
        const Task& task = tile.task;
        const std::size_t n_classes = task.n_classes;
        Value highest[kVectors], gap[kVectors], x[kVectors], total[kVectors], first[kVectors], second[kVectors];
        Value d_second[kVectors], gamma_top[kVectors], w_top[kVectors], inverse_weights[kVectors], d0[kVectors], d1[kVectors];
        Jet<Value> theta[kVectors];
        const auto clear = [](Value* values) { each([&](std::size_t v) { values[v] = Value{}; }); };
        double highest_half = task.half[0];
        each([&](std::size_t v) { highest[v] = tile.of(0, 0, v); });
        for (std::size_t k = 1; k < n_classes; ++k) {
            each([&](std::size_t v) {
                highest[v] = select(tile.of(0, k, v) > highest[v], tile.of(0, k, v), highest[v]);
            });
        }
        for (std::size_t k = 0; k < n_classes; ++k) {
            each([&](std::size_t v) {
                // Differences first: beside a large margin the logarithms would be lost.
                tile.of(0, k, v) = (tile.of(0, k, v) - highest[v]) + task.log_weight[k];
                tile.leaders[v].visit(tile.of(0, k, v) - task.half[k], static_cast<double>(k));
            });
            highest_half = task.half[k] > highest_half ? task.half[k] : highest_half;
        }
        each([&](std::size_t v) {
            const Value top = tile.top(v), d_top = tile.leaders[v].highest + pick(task, task.half, top);
            gamma_top[v] = pick(task, task.gamma, top);
            w_top[v] = pick(task, task.class_weight, top);
            // d of the second, or somewhat more: at least the largest of all but top.
            d_second[v] = tile.leaders[v].second + highest_half;
            // Farther apart than this all that depends on it has underflowed, and -log p is linear.
            const Value whole = d_second[v] - d_top, least = -800.0 * (1.0 + gamma_top[v]);
            gap[v] = select(whole < least, least, whole);
            beyond[v] = gap[v] - whole;
        });
        clear(total), clear(second), clear(inverse_weights);
        for (std::size_t k = 0; k < n_classes; ++k) {
            const double inverse_weight = 1.0 / task.class_weight[k];
            each([&](std::size_t v) {
                const auto is_top = tile.top(v) == static_cast<double>(k);
                const Value d = select(is_top, Value{}, tile.of(0, k, v) - d_second[v]);
                const Value e = select(is_top, Value{}, exponential(d));
                tile.of(0, k, v) = d;
                tile.of(1, k, v) = e;
                total[v] = total[v] + e;
                second[v] = second[v] + e * e;
                inverse_weights[v] = inverse_weights[v] + e * inverse_weight;
            });
        }
        const Table<Value> one_other = table_of(task, 0, 2);
        each([&](std::size_t v) { x[v] = logit_start(one_other, gap[v], total[v], second[v]); });
        for (int i = 0; i < task.n_steps; ++i) {
            theta_of_top(tile, x, theta);
            clear(total), clear(first), clear(second);
            for (std::size_t k = 0; k < n_classes; ++k) {
                const Table<Value> shrinkage = table_of(task, k, 0);
                each([&](std::size_t v) {
                    // As exact as the last step can make use of; where gamma is large it magnifies errors.
                    const Value e = tile.of(1, k, v), here = tile.of(0, k, v) + (gap[v] + theta[v].value);
                    const Jet<Value> q = task.n_steps > 2 ? shrinkage.at(here) : shrinkage.at<3>(here);
                    total[v] = total[v] + e * q.value;
                    first[v] = first[v] + e * q.first;
                    second[v] = second[v] + e * q.second;
                });
            }
            each([&](std::size_t v) { x[v] = logit_step(x[v], gap[v], theta[v], total[v], first[v], second[v]); });
        }
        theta_of_top(tile, x, theta);
        clear(total), clear(first), clear(second), clear(d0), clear(d1);
        for (std::size_t k = 0; k < n_classes; ++k) {
            const Table<Value> shrinkage = table_of(task, k, 0);
            each([&](std::size_t v) {
                const Value e = tile.of(1, k, v);
                const Jet<Value> q = shrinkage.at(tile.of(0, k, v) + (gap[v] + theta[v].value));
                total[v] = total[v] + e * q.value;
                first[v] = first[v] + e * q.first;
                second[v] = second[v] + e * q.second;
                const Value d = q.value + q.first, change = q.first + q.second;
                tile.of(2, k, v) = e * d;
                tile.of(3, k, v) = e * change;
                const auto is_label = tile.t(v) == static_cast<double>(k);
                d0[v] = select(is_label, d, d0[v]);
                d1[v] = select(is_label, change, d1[v]);
            });
        }
        each([&](std::size_t v) {
            const Value top = tile.top(v);
            rows[v] = LogitRow<Value>(theta[v].value, gap[v], gamma_top[v], w_top[v], total[v], first[v], second[v],
                                      inverse_weights[v]);
            const Value d = select(tile.t(v) == top, rows[v].top_slope, d0[v] + d1[v] * rows[v].step);
            slope[v] = pick(task, task.class_weight, tile.t(v)) * d;
        });
        for (std::size_t k = 0; k < n_classes; ++k) {
            each([&](std::size_t v) { tile.of(2, k, v) = tile.of(2, k, v) + tile.of(3, k, v) * rows[v].step; });
        }
    }

    /// theta of top and derivatives at x, but for the last terms of the table.
    static void theta_of_top(const Tile& tile, const Value* x, Jet<Value>* theta) {
        const Task& task = tile.task;
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            if (tile.is_same(k, 1)) continue;
            const Table<Value> table = table_of(task, k, 1);
            each([&](std::size_t v) {
                const Jet<Value> own = table.at<4>(x[v]);
                const auto is_top = tile.top(v) >= static_cast<double>(k);
                theta[v] = {k == 0 ? own.value : select(is_top, own.value, theta[v].value),
                            k == 0 ? own.first : select(is_top, own.first, theta[v].first),
                            k == 0 ? own.second : select(is_top, own.second, theta[v].second)};
            });
        }
    }

    /// A class that is not top, at the solution.
    Class<Value> other(Tile& tile, std::size_t k, std::size_t v) const {
        const Value theta = tile.of(0, k, v) + rows[v].theta_second, q = table_of(tile.task, k, 0).at(theta).value;
        const Value gamma = of_class(tile.task.gamma, k);
        return Class<Value>::improbable(gamma, tile.of(1, k, v) * q * rows[v].scale, -theta - logarithm(q));
    }
};

void logit_loss(Tile& tile, double* loss) {
    const Task& task = tile.task;
    const LogitTile logit(tile);
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        const double class_k = static_cast<double>(k);
        each([&](std::size_t v) {
            const LogitRow<Value>& row = logit.rows[v];
            const Class<Value> c = logit.other(tile, k, v);
            const Value a = c.a + logit.beyond[v] / (1.0 + row.top.gamma);
            // q^gamma of top by theta = -gamma log q - a - log(bracket).
            const Value of_top = exponential(-row.theta - row.top.a) / row.top.bracket * row.top.a;
            const Value own = select(tile.top(v) == class_k, of_top, exponential(c.gamma * log_complement(c.p)) * a);
            Value& result = at(loss, v * kLanes);
            result = select(tile.t(v) == class_k, task.class_weight[k] * own * tile.weight(v), result);
        });
    }
}

template <bool kExpected>
void logit_derivatives(Tile& tile) {
    const Task& task = tile.task;
    const LogitTile logit(tile);
    Value label_bend[kVectors] = {}, bends[kVectors] = {}, top_bend[kVectors] = {};  // r'/r times rho: of top, of others
    for (std::size_t k = 0; !kExpected && k < task.n_classes; ++k) {
        each([&](std::size_t v) {
            const LogitRow<Value>& row = logit.rows[v];
            const auto is_top = tile.top(v) == static_cast<double>(k);
            Value of_r, of_d, top_r, top_d;
            logit.other(tile, k, v).bends(of_r, of_d);
            row.top.bends(top_r, top_d);
            const Value rho = select(is_top, row.top_share, tile.of(2, k, v)) * row.inverse_total;
            tile.of(3, k, v) = rho * select(is_top, top_r, of_r);
            top_bend[v] = select(is_top, tile.of(3, k, v), top_bend[v]);
            bends[v] = bends[v] + select(is_top, Value{}, tile.of(3, k, v));
            const auto is_label = tile.t(v) == static_cast<double>(k);
            label_bend[v] = select(is_label, select(is_top, top_d, of_d), label_bend[v]);
        });
    }
    for (std::size_t k = 0; k < task.n_classes; ++k) {
        each([&](std::size_t v) {
            const LogitRow<Value>& row = logit.rows[v];
            const auto is_top = tile.top(v) == static_cast<double>(k), is_label = tile.t(v) == static_cast<double>(k);
            const Value share = select(is_top, row.top_share, tile.of(2, k, v)), rho = share * row.inverse_total;
            const Value rest = select(is_top, row.others * row.inverse_total, 1.0 - rho);
            Value h;
            if constexpr (kExpected) {
                h = row.c_scale * share * rest;
            } else {
                // rho_k (r'/r)_k (1 - rho_k)^2 + rho_k^2 sum over the others of rho r'/r, less D'/D (delta - rho)^2.
                const Value own = tile.of(3, k, v), away = select(is_label, rest, rho);
                const Value across = select(is_top, bends[v], top_bend[v] + (bends[v] - own));
                h = logit.slope[v] * (own * rest * rest + rho * rho * across - label_bend[v] * (away * away));
            }
            tile.set(k, v, logit.slope[v] * select(is_label, -rest, rho), h);
        });
    }
}

std::size_t multiclass_loop(const Task& task, std::size_t begin, std::size_t end, double* scratch) {
    alignas(64) double loss[kTile] = {};
    for (std::size_t start = begin; start < end; start += kTile) {
        const Rows rows(task, start, end);
        if (const std::size_t bad = rows.bad_row(); bad != kNoBadRow) return bad;
        for (std::size_t k = 0; k < task.n_classes; ++k) load_margins(task, start, k, rows.n, scratch + k * kTile);
        Tile tile(task, rows, scratch);
        if (task.operation == Operation::kLoss) {
            task.logit ? logit_loss(tile, loss) : focal_loss(tile, loss);
            store(task.out, start, 0, rows.n, loss);
            continue;
        }
        if (task.operation == Operation::kLogOdds) {
            focal_log_odds(tile);
        } else if (task.logit) {
            task.expected ? logit_derivatives<true>(tile) : logit_derivatives<false>(tile);
        } else {
            task.expected ? focal_derivatives<true>(tile) : focal_derivatives<false>(tile);
        }
        for (std::size_t k = 0; k < task.n_classes; ++k) {
            store(task.out, start, k, rows.n, scratch + k * kTile);
            if (task.operation == Operation::kLogOdds) continue;
            store(task.hessian_out, start, k, rows.n, scratch + (task.n_classes + k) * kTile);
        }
    }
    return kNoBadRow;
}

std::size_t loop(const Task& task, std::size_t begin, std::size_t end, double* scratch) {
    return task.binary ? binary_loop(task, begin, end) : multiclass_loop(task, begin, end, scratch);
}

}  // namespace
}  // namespace FOCAL_NAMESPACE

#define FOCAL_STRING_(x) #x
#define FOCAL_STRING(x) FOCAL_STRING_(x)

extern const Loops FOCAL_CONCATENATE(kLoops_, FOCAL_LEVEL) = {FOCAL_STRING(FOCAL_LEVEL), FOCAL_NAMESPACE::loop};

}  // namespace focal_boost
