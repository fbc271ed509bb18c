// Loops over tiles of rows for a processor: load as double, compute with focal.hpp, store. Compiled once per instruction
// set, with FOCAL_LEVEL naming it and FOCAL_LANES saying how many doubles a vector of it holds (left out where the compiler
// knows no vectors). Nothing but focal.hpp and plain data is included: see task.hpp.

#define FOCAL_CONCATENATE_(a, b) a##b
#define FOCAL_CONCATENATE(a, b) FOCAL_CONCATENATE_(a, b)
#define FOCAL_NAMESPACE FOCAL_CONCATENATE(focal_, FOCAL_LEVEL)

#include "focal.hpp"

namespace focal_boost {
namespace FOCAL_NAMESPACE {

using namespace ::FOCAL_NAMESPACE;

namespace {

// ---------------------------------------------------------------------------------------------------------------------
// Load and store

/// Calls `copy` for the n <= kTile rows of a column: where they follow each other without a gap the compiler knows it,
/// and the number of rows where the tile is full.
template <class T, class Copy>
FOCAL_INLINE void for_rows(char* data, Index stride, int n, Copy copy) {
    T* x = reinterpret_cast<T*>(data);
    if (stride != static_cast<Index>(sizeof(T))) {
        for (int i = 0; i < n; ++i) copy(i, *reinterpret_cast<T*>(data + i * stride));
    } else if (n == kTile) {
        for (int i = 0; i < kTile; ++i) copy(i, x[i]);
    } else {
        for (int i = 0; i < n; ++i) copy(i, x[i]);
    }
}

/// Loads n rows of a column and fills the rest of the tile.
void load(const View& view, Index row, Index column, int n, double padding, double* tile) {
    char* data = view.data + row * view.row_stride + column * view.column_stride;
    const auto copy = [tile](int i, auto x) { tile[i] = static_cast<double>(x); };
    switch (view.type) {
        case Type::kFloat32: for_rows<const float>(data, view.row_stride, n, copy); break;
        case Type::kFloat64: for_rows<const double>(data, view.row_stride, n, copy); break;
        case Type::kInt32: for_rows<const int>(data, view.row_stride, n, copy); break;
        case Type::kInt64: for_rows<const long long>(data, view.row_stride, n, copy); break;
        case Type::kInt8: for_rows<const signed char>(data, view.row_stride, n, copy); break;
        case Type::kUInt8: for_rows<const unsigned char>(data, view.row_stride, n, copy); break;
        case Type::kNone: n = 0; break;
    }
    for (int i = n; i < kTile; ++i) tile[i] = padding;
}

void store(const View& view, Index row, Index column, int n, const double* tile) {
    char* data = view.data + row * view.row_stride + column * view.column_stride;
    const auto copy = [tile](int i, auto& x) { x = static_cast<decltype(+x)>(tile[i]); };
    if (view.type == Type::kFloat32) {
        for_rows<float>(data, view.row_stride, n, copy);
    } else {
        for_rows<double>(data, view.row_stride, n, copy);
    }
}

FOCAL_INLINE Lanes& at(double* tile, int i) { return *reinterpret_cast<Lanes*>(tile + i); }

// ---------------------------------------------------------------------------------------------------------------------
// Tiles

/// A tile of rows: see focal.hpp. `scratch` holds four values for each class and row, or two for the binary loss.
struct Tile {
    using R = Lanes;
    using W = Lanes;
    static constexpr int kParts = kTile / kLanes;

    const Task& task;
    const Index start;
    const int n, n_classes;
    double* const scratch;
    const Finish<Lanes> finish;
    Leaders<Lanes> leaders[kParts];
    alignas(64) double labels[kTile], weights[kTile];

    Tile(const Task& task_, Index start_, Index end, double* scratch_)
        : task(task_), start(start_), n(static_cast<int>(end - start_ < kTile ? end - start_ : kTile)),
          n_classes(static_cast<int>(task_.n_classes)), scratch(scratch_), finish(task_) {
        load(task.y, start, 0, n, 0.0, labels);
        load(task.weight, start, 0, n, 1.0, weights);
    }

    bool is_allowed(int i) const {
        const double t = labels[i];
        if (task.binary) return is_binary_label(t);
        return (t >= 0.0) & (t < static_cast<double>(n_classes)) & ((t + 0x1p52) - 0x1p52 == t);
    }

    /// The first row whose label is not allowed.
    Index bad_row() const {
        long long bad = 0;
        for (int i = 0; i < kTile; ++i) bad |= is_allowed(i) ? 0 : 1;
        for (int i = 0; bad && i < kTile; ++i) {
            if (!is_allowed(i)) return start + i;
        }
        return kNoBadRow;
    }

    /// Loads the margins of a class, adds the intercept, and replaces infinities.
    void load_margins(int k) {
        load(task.z, start, k, n, 0.0, values(0, k));
        const double intercept = task.intercept != nullptr ? task.intercept[k] : 0.0;
        each([&](int v) { z(k, v) = finite_margin(z(k, v) + intercept); });
    }

    FOCAL_INLINE double* values(int what, int k) { return scratch + (static_cast<Index>(what) * n_classes + k) * kTile; }
    FOCAL_INLINE Lanes& z(int k, int v) { return at(values(0, k), v * kLanes); }
    FOCAL_INLINE Lanes& e(int k, int v) { return at(values(1, k), v * kLanes); }
    FOCAL_INLINE Lanes& one(int k, int v) { return at(values(2, k), v * kLanes); }
    FOCAL_INLINE Lanes& two(int k, int v) { return at(values(3, k), v * kLanes); }
    FOCAL_INLINE Lanes label(int v) { return at(labels, v * kLanes); }
    FOCAL_INLINE Lanes weight(int v) { return at(weights, v * kLanes); }

    template <class Function>
    FOCAL_INLINE void each(Function function) {
        for (int v = 0; v < kParts; ++v) function(v);
    }
    template <class Function>
    FOCAL_INLINE void classes(Function function) {
        for (int k = 0; k < n_classes; ++k) function(k);
    }

    FOCAL_INLINE static auto is(int k, Lanes which) { return which == static_cast<double>(k); }

    FOCAL_INLINE bool uniform() const { return task.uniform; }
    FOCAL_INLINE double of(Of what, int k) const { return of_class(task, what, k); }
    FOCAL_INLINE Lanes pick(Of what, Lanes which) const {
        Lanes picked = Lanes{} + of(what, 0);
        for (int k = 1; !uniform() && k < n_classes; ++k) picked = select(is(k, which), Lanes{} + of(what, k), picked);
        return picked;
    }

    FOCAL_INLINE Table<Lanes> table(int k, int which) const { return table_of<Lanes>(task, k, which); }

    template <class Function>
    FOCAL_INLINE void for_top(int which, Function function) {
        const double* places = task.head + kTables * task.n_classes + which;
        for (int k = 0; k < n_classes; ++k) {
            if (k > 0 && places[3 * k] == places[3 * k - 3]) continue;
            const Table<Lanes> table = this->table(k, which);
            each([&](int v) { function(table, v, leaders[v].top >= (k > 0 ? static_cast<double>(k) : -2.0)); });
        }
    }
};

template <Operation kOperation, bool kLogit>
Index multiclass_rows(const Task& task, Index begin, Index end, double* scratch) {
    for (Index start = begin; start < end; start += kTile) {
        Tile tile(task, start, end, scratch);
        if (const Index bad = tile.bad_row(); bad != kNoBadRow) return bad;
        for (int k = 0; k < tile.n_classes; ++k) tile.load_margins(k);
        compute<kOperation, kLogit>(tile);
        for (int k = 0; k < (kOperation == Operation::kLoss ? 1 : tile.n_classes); ++k) {
            store(task.out, start, k, tile.n, tile.values(2, k));
            if (task.hessian_out.type != Type::kNone) store(task.hessian_out, start, k, tile.n, tile.values(3, k));
        }
    }
    return kNoBadRow;
}

template <Operation kOperation, bool kLogit>
Index binary_rows(const Task& task, Index begin, Index end) {
    alignas(64) double z[kTile], hessian_out[kTile] = {};
    const Binary<Lanes> binary(task, kLogit);
    for (Index start = begin; start < end; start += kTile) {
        Tile tile(task, start, end, z);
        if (const Index bad = tile.bad_row(); bad != kNoBadRow) return bad;
        tile.load_margins(0);
        tile.each([&](int v) {
            binary.template compute<kOperation, kLogit>(tile.z(0, v), tile.label(v), tile.weight(v), tile.z(0, v),
                                                        at(hessian_out, v * kLanes));
        });
        store(task.out, start, 0, tile.n, z);
        if (task.hessian_out.type != Type::kNone) store(task.hessian_out, start, 0, tile.n, hessian_out);
    }
    return kNoBadRow;
}

template <Operation kOperation>
Index rows(const Task& task, Index begin, Index end, double* scratch) {
    if (task.binary) {
        return task.logit ? binary_rows<kOperation, true>(task, begin, end) : binary_rows<kOperation, false>(task, begin, end);
    }
    return task.logit ? multiclass_rows<kOperation, true>(task, begin, end, scratch)
                      : multiclass_rows<kOperation, false>(task, begin, end, scratch);
}

Index loop(const Task& task, Index begin, Index end, double* scratch) {
    switch (task.operation) {
        case Operation::kLoss: return rows<Operation::kLoss>(task, begin, end, scratch);
        case Operation::kExpected: return rows<Operation::kExpected>(task, begin, end, scratch);
        case Operation::kExact: return rows<Operation::kExact>(task, begin, end, scratch);
        case Operation::kLogOdds: return rows<Operation::kLogOdds>(task, begin, end, scratch);
    }
    return kNoBadRow;
}

}  // namespace
}  // namespace FOCAL_NAMESPACE

#define FOCAL_STRING_(x) #x
#define FOCAL_STRING(x) FOCAL_STRING_(x)

extern const Loops FOCAL_CONCATENATE(kLoops_, FOCAL_LEVEL) = {FOCAL_STRING(FOCAL_LEVEL), FOCAL_NAMESPACE::loop};

}  // namespace focal_boost
