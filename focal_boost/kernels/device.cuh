// The kernels for a GPU: what loops.cpp is for a processor, compiled by NVRTC through cuda.py. A thread computes a row at
// a time, or a few of the binary loss, with the formulas of focal.hpp. R is the type it computes in: float, where that is
// exact enough for outputs that are, else double. Margins and what is a difference of them stay double.

#pragma once

#include "focal.hpp"

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define FOCAL_KERNEL __global__ void
#define FOCAL_SHARED __shared__
#define FOCAL_PLACE {threadIdx.x, blockIdx.x, gridDim.x}
#define FOCAL_WARP 32
#endif

namespace FOCAL_NAMESPACE {

using focal_boost::Type;
using focal_boost::View;

constexpr int kThreads = 128;  ///< of a block

struct Place {
    unsigned thread, block, n_blocks;
};

// ---------------------------------------------------------------------------------------------------------------------
// Load and store

template <class T>
FOCAL_INLINE T& at(const View& view, Index row, Index column) {
    return *reinterpret_cast<T*>(view.data + row * view.row_stride + column * view.column_stride);
}

/// A value of whatever type; all threads take the same way.
template <class T>
FOCAL_INLINE T load(const View& view, Index row, Index column, T otherwise) {
    switch (view.type) {
        case Type::kFloat32: return static_cast<T>(at<const float>(view, row, column));
        case Type::kFloat64: return static_cast<T>(at<const double>(view, row, column));
        case Type::kInt32: return static_cast<T>(at<const int>(view, row, column));
        case Type::kInt64: return static_cast<T>(at<const long long>(view, row, column));
        case Type::kInt8: return static_cast<T>(at<const signed char>(view, row, column));
        case Type::kUInt8: return static_cast<T>(at<const unsigned char>(view, row, column));
        case Type::kNone: break;
    }
    return otherwise;
}

template <class T>
FOCAL_INLINE void store(const View& view, Index row, Index column, T value) {
    if (view.type == Type::kFloat32) {
        at<float>(view, row, column) = static_cast<float>(value);
    } else {
        at<double>(view, row, column) = static_cast<double>(value);
    }
}

FOCAL_INLINE double load_margin(const Task& task, Index row, int k) {
    return finite_margin(load(task.z, row, k, 0.0) + (task.intercept != nullptr ? task.intercept[k] : 0.0));
}

/// Label and weight of a row; what is wrong with them is reported, if there is where to.
template <class R>
struct Labelled {
    R label, weight;

    Labelled() = default;
    FOCAL_INLINE Labelled(const Task& task, Index row, bool binary)
        : label(load(task.y, row, 0, R(0))), weight(load(task.weight, row, 0, R(1))) {
        if (task.status == nullptr) return;
        const bool allowed = binary ? is_binary_label(label) : is_class_label(label, static_cast<R>(task.n_classes));
        if (!allowed) atomicMin(task.status, static_cast<unsigned long long>(row));
        if (!((weight >= R(0)) & (weight - weight == R(0)))) atomicMin(task.status + 1, static_cast<unsigned long long>(row));
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Rows

template <class R, Operation kOperation, bool kLogit>
FOCAL_INLINE void binary_rows(const Task& task, Place place) {
    constexpr int kRows = 4;  // neighbours in memory by neighbouring threads
    const Index first = static_cast<Index>(place.block) * (kThreads * kRows) + place.thread;
    const Binary<R> binary(task, kLogit);
    FOCAL_UNROLL for (int i = 0; i < kRows; ++i) {
        const Index row = first + i * kThreads;
        if (row >= task.n_rows) return;
        R out, hessian;
        const Labelled<R> y = kOperation == Operation::kLogOdds ? Labelled<R>{} : Labelled<R>(task, row, true);
        binary.template compute<kOperation, kLogit>(load_margin(task, row, 0), y.label, y.weight, out, hessian);
        store(task.out, row, 0, out);
        if constexpr (kOperation == Operation::kExpected || kOperation == Operation::kExact) {
            store(task.hessian_out, row, 0, hessian);
        }
    }
}

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

/// A row: see focal.hpp. kClasses: 0 if not known; kUniform: all classes have the same gamma and weight.
template <class Number, int kClasses, bool kUniform>
struct Row {
    using R = Number;
    using W = double;
    static constexpr int kParts = 1;

    const Task& task;
    const Finish<R> finish;
    int label_ = 0;
    R weight_ = 1;
    Leaders<W> leaders[1];
    PerClass<W, kClasses> margins;
    PerClass<R, kClasses> values[3];

    /// `thread` of `n_threads`: whose place in the scratch is taken.
    FOCAL_INLINE Row(const Task& task_, Index index, bool labelled, Index thread, Index n_threads)
        : task(task_), finish(task_), margins(part(task_, 0, thread, n_threads), n_threads),
          values{{part(task_, 1, thread, n_threads), n_threads},
                 {part(task_, 2, thread, n_threads), n_threads},
                 {part(task_, 3, thread, n_threads), n_threads}} {
        classes([&](int k) { margins[k] = load_margin(task, index, k); });
        if (!labelled) return;
        const Labelled<R> y(task, index, false);
        // No index may be beyond the classes, nor does a comparison with NaN hold.
        label_ = is_class_label(y.label, static_cast<R>(task.n_classes)) ? static_cast<int>(y.label) : 0;
        weight_ = y.weight;
    }

    FOCAL_INLINE static double* part(const Task& task, int which, Index thread, Index n_threads) {
        return task.scratch + which * task.n_classes * n_threads + thread;
    }

    FOCAL_INLINE W& z(int k, int) { return margins[k]; }
    FOCAL_INLINE R& e(int k, int) { return values[0][k]; }
    FOCAL_INLINE R& one(int k, int) { return values[1][k]; }
    FOCAL_INLINE R& two(int k, int) { return values[2][k]; }
    FOCAL_INLINE int label(int) const { return label_; }
    FOCAL_INLINE R weight(int) const { return weight_; }

    template <class Function>
    FOCAL_INLINE void each(Function function) const { function(0); }
    template <class Function>
    FOCAL_INLINE void classes(Function function) const {
        const int n = kClasses > 0 ? kClasses : static_cast<int>(task.n_classes);
        FOCAL_UNROLL for (int k = 0; k < n; ++k) function(k);
    }

    FOCAL_INLINE static bool is(int k, int which) { return which == k; }
    FOCAL_INLINE static bool uniform() { return kUniform; }
    FOCAL_INLINE double of(Of what, int k) const { return of_class(task, what, kUniform ? 0 : k); }
    FOCAL_INLINE double pick(Of what, int which) const { return of(what, which < 0 ? 0 : which); }
    FOCAL_INLINE Table<R> table(int k, int which) const { return table_of<R>(task, kUniform ? 0 : k, which); }
    template <class Function>
    FOCAL_INLINE void for_top(int which, Function function) const {
        function(table(leaders[0].top < 0 ? 0 : leaders[0].top, which), 0, true);
    }

    /// Stores values of the rows of a warp, `start` the first of them. Where rows follow each other without a gap, threads
    /// exchange values so that neighbours write neighbours.
    FOCAL_INLINE void store(const View& view, PerClass<R, kClasses>& own, Place place, Index start) {
        const int lane = place.thread % FOCAL_WARP;
        if constexpr (kClasses > 0) {
            const Index row_bytes = static_cast<Index>(kClasses * sizeof(R));
            const bool is_of_type = view.type == (sizeof(R) == 4 ? Type::kFloat32 : Type::kFloat64);
            if (is_of_type & (view.row_stride == row_bytes) & (view.column_stride == static_cast<Index>(sizeof(R)))) {
                FOCAL_SHARED R shared[kThreads * kClasses];
                R* rows = shared + (place.thread - lane) * kClasses;
                __syncwarp();
                classes([&](int k) { rows[lane * kClasses + k] = own[k]; });
                __syncwarp();
                const Index left = (task.n_rows - start) * kClasses;
                R* there = &at<R>(view, start, 0);
                classes([&](int i) {
                    const int place_of = i * FOCAL_WARP + lane;
                    if (place_of < left) there[place_of] = rows[place_of];
                });
                return;
            }
        }
        if (start + lane < task.n_rows) classes([&](int k) { FOCAL_NAMESPACE::store(view, start + lane, k, own[k]); });
    }
};

template <class R, Operation kOperation, bool kLogit, int kClasses, bool kUniform>
FOCAL_INLINE void multiclass_rows(const Task& task, Place place) {
    const Index thread = static_cast<Index>(place.block) * kThreads + place.thread, lane = place.thread % FOCAL_WARP;
    const Index n_threads = static_cast<Index>(place.n_blocks) * kThreads;
    // All threads of a warp go on to the end; those past the last row compute the last one again.
    for (Index start = thread - lane; start < task.n_rows; start += n_threads) {
        const Index last = task.n_rows - 1, index = start + lane < last ? start + lane : last;
        Row<R, kClasses, kUniform> row(task, index, kOperation != Operation::kLogOdds, thread, n_threads);
        compute<kOperation, kLogit>(row);
        if constexpr (kOperation == Operation::kLoss) {
            store(task.out, index, 0, row.one(0, 0));
        } else {
            row.store(task.out, row.values[1], place, start);
            if constexpr (kOperation != Operation::kLogOdds) row.store(task.hessian_out, row.values[2], place, start);
        }
    }
}

/// kClasses: 1 for the binary loss.
template <class R, Operation kOperation, bool kLogit, int kClasses, bool kUniform>
FOCAL_INLINE void rows(const Task& task, Place place) {
    if constexpr (kClasses == 1) {
        binary_rows<R, kOperation, kLogit>(task, place);
    } else {
        multiclass_rows<R, kOperation, kLogit, kClasses, kUniform>(task, place);
    }
}

#ifdef FOCAL_KERNEL
template <class R, Operation kOperation, bool kLogit, int kClasses, bool kUniform>
FOCAL_KERNEL kernel(const Task task) {
    rows<R, kOperation, kLogit, kClasses, kUniform>(task, FOCAL_PLACE);
}
#endif

}  // namespace FOCAL_NAMESPACE
