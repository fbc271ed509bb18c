// The kernels for a GPU: what loops.cpp does for a processor, compiled by NVRTC through cuda.py.
//
// Binary: four rows a thread, so that whole words of 16 bytes are read and written. Multiclass: a block takes a tile of
// rows into shared memory, so that margins are read from device memory once and outputs written once, each in the order
// in which they lie there. Of a few classes, whose number the compiler knows, a thread keeps a row in its registers. Of
// many, a row has as many lanes (threads) as its number of classes makes worthwhile, and stays in shared memory, through
// which its lanes exchange partial results.
//
// A kernel is a struct with phases. Threads of a block wait for each other between two phases, and nowhere else. So
// whoever runs all threads of a block through one phase after the other computes the same: the tests do on a processor.

#pragma once

#include "focal.hpp"

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define FOCAL_KERNEL __global__ void
#define FOCAL_DEVICE __device__
#define FOCAL_UNROLL _Pragma("unroll")
#endif

namespace FOCAL_NAMESPACE {

using Address = unsigned long long;
using Index = long long;

// The numbers that cuda.py gives to dtypes. kPacked: float32, one row after the other without a gap, from an address that
// is a multiple of 16 bytes.
enum class Type : int { kNone, kFloat32, kFloat64, kInt32, kInt64, kInt8, kUInt8, kPacked };

/// Numbers that are read and written as one word.
template <int kSize>
struct alignas(kSize * sizeof(float)) Word {
    float x[kSize];
};

using Four = Word<4>;

template <class T>
FOCAL_DEVICE T& in_device_memory(Address x) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
    // Known to be global memory: loads need not ask which memory an address belongs to.
    return *static_cast<T*>(__cvta_global_to_generic(x));
#else
    return *reinterpret_cast<T*>(x);
#endif
}

/// A strided array in device memory; strides in bytes.
struct View {
    Address data;
    int type;
    Index row_stride, column_stride;

    FOCAL_DEVICE bool packed() const { return type == static_cast<int>(Type::kPacked); }

    FOCAL_DEVICE Address at(Index row, Index column) const {
        return data + static_cast<Address>(row * row_stride + column * column_stride);
    }

    FOCAL_DEVICE double load(Index row, Index column, double otherwise) const {
        const Address x = at(row, column);
        // All threads take the same way.
        switch (static_cast<Type>(type)) {
            case Type::kPacked:
            case Type::kFloat32: return in_device_memory<const float>(x);
            case Type::kFloat64: return in_device_memory<const double>(x);
            case Type::kInt32: return in_device_memory<const int>(x);
            case Type::kInt64: return static_cast<double>(in_device_memory<const long long>(x));
            case Type::kInt8: return in_device_memory<const signed char>(x);
            case Type::kUInt8: return in_device_memory<const unsigned char>(x);
            case Type::kNone: break;
        }
        return otherwise;
    }

    /// Values of rows that follow each other; `otherwise` past the last row, and where there is no array.
    template <int kRows>
    FOCAL_DEVICE void load_rows(Index row, Index n_rows, double otherwise, double (&values)[kRows]) const {
        static_assert(kRows == 4, "of Four");
        if (packed() & (row + kRows <= n_rows)) {
            const Four four = in_device_memory<const Four>(data + static_cast<Address>(row) * sizeof(float));
            for (int i = 0; i < kRows; ++i) values[i] = four.x[i];
        } else if (type == static_cast<int>(Type::kNone)) {
            for (int i = 0; i < kRows; ++i) values[i] = otherwise;
        } else {
            for (int i = 0; i < kRows; ++i) values[i] = row + i < n_rows ? load(row + i, 0, otherwise) : otherwise;
        }
    }

    FOCAL_DEVICE void store(Index row, Index column, double value) const {
        if (type == static_cast<int>(Type::kFloat64)) {
            in_device_memory<double>(at(row, column)) = value;
        } else {
            in_device_memory<float>(at(row, column)) = static_cast<float>(value);
        }
    }

    template <int kRows>
    FOCAL_DEVICE void store_rows(Index row, Index n_rows, const double (&values)[kRows]) const {
        if (packed() & (row + kRows <= n_rows)) {
            Four four;
            for (int i = 0; i < kRows; ++i) four.x[i] = static_cast<float>(values[i]);
            in_device_memory<Four>(data + static_cast<Address>(row) * sizeof(float)) = four;
        } else {
            for (int i = 0; i < kRows; ++i) {
                if (row + i < n_rows) store(row + i, 0, values[i]);
            }
        }
    }

    /// Whether neighbours in memory are rows of one class, rather than classes of one row.
    FOCAL_DEVICE bool column_major() const {
        return (row_stride < 0 ? -row_stride : row_stride) < (column_stride < 0 ? -column_stride : column_stride);
    }
};

FOCAL_DEVICE inline bool is_sample_weight(double w) { return (w >= 0.0) & (w <= 1.7976931348623157e308); }

/// The number of classes where it is known at compile time, each row then having one thread; else 0.
#ifdef FOCAL_CLASSES
constexpr int kClasses = FOCAL_CLASSES;
#else
constexpr int kClasses = 0;
#endif

/// Whether all arrays with a column for each of kClasses classes are packed and there is no intercept.
#ifdef FOCAL_PACKED
constexpr bool kPackedRows = true;
/// The longest words that a row is made of.
constexpr int kWord = kClasses % 4 == 0 ? 4 : kClasses % 2 == 0 ? 2 : 1;
static_assert(kClasses > 0, "rows are packed where they are kept in registers");
#else
constexpr bool kPackedRows = false;
constexpr int kWord = 1;
#endif

struct Task {
    Index n_rows, n_classes;
    View y, z, weight, out, hessian_out;  ///< `out`: loss, gradient or posterior
    double gamma;
    Address intercept, class_weight, log_class_weight;  ///< doubles, ClassWeight, doubles; intercept may be 0
    double inverse_step, least, scale;                  ///< of Finish
    Address status;   ///< first row with a bad label and first with a bad weight; one that cannot be without
    Address scratch;  ///< global memory for tiles that shared memory cannot hold, else 0
    int lanes;        ///< threads a row, a power of two; see lane_count

    FOCAL_DEVICE int class_count() const { return kClasses > 0 ? kClasses : static_cast<int>(n_classes); }
    FOCAL_DEVICE int lane_count() const { return kClasses > 0 ? 1 : lanes; }
    FOCAL_DEVICE Finish finish() const { return {inverse_step, least, scale}; }
    FOCAL_DEVICE const ClassWeight* weights() const { return reinterpret_cast<const ClassWeight*>(class_weight); }
    FOCAL_DEVICE const double* log_weights() const { return reinterpret_cast<const double*>(log_class_weight); }

    FOCAL_DEVICE double start(Index column) const {
        return intercept != 0 ? reinterpret_cast<const double*>(intercept)[column] : 0.0;
    }

    FOCAL_DEVICE double margin(Index row, Index column) const {
        return finite_margin(z.load(row, column, 0.0) + start(column));
    }

    FOCAL_DEVICE void report(int which, Index row) const {
        atomicMin(reinterpret_cast<unsigned long long*>(status) + which, static_cast<unsigned long long>(row));
    }

    FOCAL_DEVICE double sample_weight(Index row) const {
        const double w = weight.load(row, 0, 1.0);
        if (!is_sample_weight(w)) report(1, row);
        return w;
    }
};

/// Place of a thread in its block and of the block in the grid.
struct Place {
    int thread, n_threads;
    Index block;
};

/// Takes a kernel through its phases; `shared` is the shared memory of the block.
template <class Kernel>
FOCAL_DEVICE void run(const Task& task);

// ---------------------------------------------------------------------------------------------------------------------
// Binary

struct BinaryKernel {
    static constexpr int kPhases = 1;
    static constexpr int kRows = 4;
    const Task& task;
    Index row;  ///< the first of this thread
    double z[kRows], t[kRows], weight[kRows];

    FOCAL_DEVICE BinaryKernel(const Task& task, Place place, double*)
        : task(task), row((place.block * place.n_threads + place.thread) * kRows) {}

    FOCAL_DEVICE void load_margins() {
        task.z.load_rows(row, task.n_rows, 0.0, z);
        const double start = task.start(0);
        for (double& margin : z) margin = finite_margin(margin + start);
    }

    /// Margins, labels and weights; false past the last row.
    FOCAL_DEVICE bool load() {
        if (row >= task.n_rows) return false;
        load_margins();
        task.y.load_rows(row, task.n_rows, 0.0, t);
        task.weight.load_rows(row, task.n_rows, 1.0, weight);
        bool good = true;
        for (int i = 0; i < kRows; ++i) good &= is_binary_label(t[i]) & is_sample_weight(weight[i]);
        if (!good) report();
        return true;
    }

    FOCAL_DEVICE void report() const {
        for (int i = 0; i < kRows; ++i) {
            if (!is_binary_label(t[i])) task.report(0, row + i);
            if (!is_sample_weight(weight[i])) task.report(1, row + i);
        }
    }

    FOCAL_DEVICE BinaryWeights class_weights() const { return {task.weights()[0].value, task.weights()[1].value}; }
};

template <int N>
struct BinaryLoss : BinaryKernel {
    using BinaryKernel::BinaryKernel;

    template <int Phase>
    FOCAL_DEVICE void phase() {
        if (!load()) return;
        const BinaryWeights w = class_weights();
        for (int i = 0; i < kRows; ++i) {
            const BinarySide<N> side(z[i], Gamma<N>{task.gamma});
            z[i] = binary_loss(side, t[i], z[i], w) * weight[i];
        }
        task.out.store_rows(row, task.n_rows, z);
    }
};

template <bool kExpected, int N>
struct BinaryDerivatives : BinaryKernel {
    using BinaryKernel::BinaryKernel;

    template <int Phase>
    FOCAL_DEVICE void phase() {
        if (!load()) return;
        const BinaryWeights w = class_weights();
        for (int i = 0; i < kRows; ++i) {
            const BinarySide<N> side(z[i], Gamma<N>{task.gamma});
            const Derivatives d = binary_derivatives<kExpected>(side, t[i], z[i], w, task.finish());
            z[i] = d.gradient * weight[i];
            t[i] = d.hessian * weight[i];
        }
        task.out.store_rows(row, task.n_rows, z);
        task.hessian_out.store_rows(row, task.n_rows, t);
    }
};

struct BinaryPosterior : BinaryKernel {
    using BinaryKernel::BinaryKernel;

    template <int Phase>
    FOCAL_DEVICE void phase() {
        if (row >= task.n_rows) return;
        load_margins();
        for (double& margin : z) margin = binary_posterior_logit(margin, task.gamma, task.log_weights()[0]);
        task.out.store_rows(row, task.n_rows, z);
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Multiclass

/// A tile of rows: two values for each class of each row, first margin and exponential, in the end two outputs. Where
/// margins and outputs are packed so are the tile's, in single precision too.
struct Tile {
    double *first, *second, *partial;
    int stride, rows;
    Index begin;

    FOCAL_DEVICE Tile(const Task& task, Place place, double* shared)
        // Odd, so that threads on different rows meet different banks.
        : stride(task.class_count() | 1),
          rows(place.n_threads / task.lane_count()),
          begin(place.block * rows) {
        // The layout that cuda.py reserves.
        if constexpr (kPackedRows) {
            partial = nullptr;
            first = shared;
            second = shared + rows * kClasses * sizeof(float) / sizeof(double);
        } else {
            partial = shared;
            double* values = shared + 3 * place.n_threads;
            if (task.scratch != 0) {
                values = reinterpret_cast<double*>(task.scratch) + place.block * (2 * static_cast<Index>(rows) * stride);
            }
            first = values;
            second = values + static_cast<Index>(rows) * stride;
        }
        if (begin + rows > task.n_rows) rows = static_cast<int>(task.n_rows - begin);
    }

    FOCAL_DEVICE double& at(double* values, int row, int column) const {
        return values[static_cast<Index>(row) * stride + column];
    }

    FOCAL_DEVICE static float* packed(double* values) { return reinterpret_cast<float*>(values); }

    /// Calls function(row in the tile, class) for this thread's part of the tile, neighbours in memory by neighbours.
    template <class Function>
    FOCAL_DEVICE void visit(const Task& task, Place place, bool column_major, Function function) const {
        const int k = task.class_count(), inner = column_major ? rows : k, outer = column_major ? k : rows;
        // One division for the first place of this thread and one for the length of a step: later places are sums.
        const int steps = place.n_threads / inner, rest = place.n_threads - steps * inner;
        int i = place.thread / inner, j = place.thread - i * inner;
        while (i < outer) {
            function(column_major ? j : i, column_major ? i : j);
            i += steps;
            j += rest;
            if (j >= inner) {
                j -= inner;
                ++i;
            }
        }
    }

    /// Calls copy(word of a packed array, word of the tile's part of it) for this thread's words of the tile: Four, and
    /// float for what is left at the end.
    template <class Function>
    FOCAL_DEVICE void visit_packed(Place place, const View& view, double* values, Function copy) const {
        const Address there = view.data + static_cast<Address>(begin * kClasses) * sizeof(float);
        float* here = packed(values);
        const int size = rows * kClasses, whole = size - size % 4;
        // There are no more rows than threads.
        FOCAL_UNROLL for (int word = 0; word < (kClasses + 3) / 4; ++word) {
            const int i = 4 * (place.thread + word * place.n_threads);
            if (i < whole) {
                copy(in_device_memory<Four>(there + static_cast<Address>(i) * sizeof(float)),
                     *reinterpret_cast<Four*>(here + i));
            }
        }
        const int left = whole + place.thread;
        if (left < size) copy(in_device_memory<float>(there + static_cast<Address>(left) * sizeof(float)), here[left]);
    }

    FOCAL_DEVICE void load(const Task& task, Place place, const View& view) const {
        if constexpr (kPackedRows) {
            visit_packed(place, view, first, [](const auto& there, auto& here) { here = there; });
        } else {
            visit(task, place, view.column_major(),
                  [&](int row, int column) { at(first, row, column) = task.margin(begin + row, column); });
        }
    }

    FOCAL_DEVICE void store(const Task& task, Place place, const View& view, double* values) const {
        if constexpr (kPackedRows) {
            visit_packed(place, view, values, [](auto& there, const auto& here) { there = here; });
        } else {
            visit(task, place, view.column_major(),
                  [&](int row, int column) { view.store(begin + row, column, at(values, row, column)); });
        }
    }
};

/// A value for each class of a row: in registers where the number of classes is known, whose indices have to be known
/// then too, else in the tile.
template <int kSize>
struct ValuesOf {
    double x[kSize];

    FOCAL_DEVICE void bind(double*) {}
    FOCAL_DEVICE double& operator[](int k) { return x[k]; }

    FOCAL_DEVICE double at(int k) const {
        double value = x[0];
        FOCAL_UNROLL for (int i = 1; i < kSize; ++i) value = i == k ? x[i] : value;
        return value;
    }
};

template <>
struct ValuesOf<0> {
    double* x;

    FOCAL_DEVICE void bind(double* row) { x = row; }
    FOCAL_DEVICE double& operator[](int k) { return x[k]; }
    FOCAL_DEVICE double at(int k) const { return x[k]; }
};

using Values = ValuesOf<kClasses>;

/// What every multiclass kernel starts with: steps 0 to 4. Afterwards each lane knows its row.
///
/// Between two steps the lanes of a row wait for each other. Where a row has one lane, threads wait for each other only
/// when the tile is full of margins and when it is full of outputs: there steps are no phases of their own.
template <int N>
struct MulticlassKernel {
    const Task& task;
    Place place;
    Tile tile;
    int lane;
    bool active;
    int row;  ///< in the tile
    Values z, e;
    double* partial;
    LeadersOf<int> leaders;
    SoftmaxRow<N> soft;
    int t;
    double weight;
    double shared[3];  ///< what this lane shares with others of its row

    FOCAL_DEVICE MulticlassKernel(const Task& task, Place place, double* memory)
        : task(task), place(place), tile(task, place, memory), lane(place.thread & (task.lane_count() - 1)) {
        row = place.thread / task.lane_count();
        active = row < tile.rows;
        z.bind(tile.first + static_cast<Index>(row) * tile.stride);
        e.bind(tile.second + static_cast<Index>(row) * tile.stride);
        // Three values for each lane of the row, those of one kind side by side.
        partial = tile.partial + row * task.lane_count();
        t = 0;
        weight = 1.0;
    }

    /// Calls function(class) for the classes of this lane.
    template <class Function>
    FOCAL_DEVICE void each_class(Function function) const {
        if constexpr (kClasses > 0) {
            FOCAL_UNROLL for (int k = 0; k < kClasses; ++k) function(k);
        } else {
            for (int k = lane; k < task.class_count(); k += task.lane_count()) function(k);
        }
    }

    FOCAL_DEVICE void share(int kind, double value) {
        if (task.lane_count() == 1) {
            shared[kind] = value;
        } else {
            partial[kind * place.n_threads + lane] = value;
        }
    }

    FOCAL_DEVICE double of(int kind, int lane) const {
        return task.lane_count() == 1 ? shared[kind] : partial[kind * place.n_threads + lane];
    }

    /// The sum over the lanes of a row, in the same order in every lane.
    FOCAL_DEVICE double sum(int kind) const {
        double total = of(kind, 0);
        for (int i = 1; i < task.lane_count(); ++i) total += of(kind, i);
        return total;
    }

    FOCAL_DEVICE void find_leaders() {
        if (!active) return;
        if constexpr (kPackedRows) {
            find_packed_leaders();
            return;
        }
        if constexpr (kClasses > 0) each_class([&](int k) { z[k] = tile.at(tile.first, row, k); });
        leaders = LeadersOf<int>::none();
        each_class([&](int k) { leaders.visit(z[k], k); });
        if (task.lane_count() == 1) return;
        share(0, leaders.highest);
        share(1, leaders.second);
        share(2, leaders.top);
    }

    /// The same in single precision, which margins are still in.
    FOCAL_DEVICE void find_packed_leaders() {
        const auto* words = reinterpret_cast<const Word<kWord>*>(Tile::packed(tile.first) + row * kClasses);
        auto found = LeadersOf<int, float>::none();
        bool is_infinite = false;
        FOCAL_UNROLL for (int i = 0; i < kClasses / kWord; ++i) {
            const Word<kWord> word = words[i];
            FOCAL_UNROLL for (int j = 0; j < kWord; ++j) {
                const float margin = word.x[j];
                found.visit(margin, i * kWord + j);
                is_infinite |= (margin > 3.40282347e38F) | (margin < -3.40282347e38F);
                z[i * kWord + j] = margin;
            }
        }
        leaders = {found.highest, found.second, found.top};
        if (is_infinite) {
            leaders = LeadersOf<int>::none();
            each_class([&](int k) {
                z[k] = finite_margin(z[k]);
                leaders.visit(z[k], k);
            });
        }
    }

    FOCAL_DEVICE LeadersOf<int> leaders_of(int lane) const {
        return {of(0, lane), of(1, lane), static_cast<int>(of(2, lane))};
    }

    FOCAL_DEVICE void merge_leaders() {
        if (!active | (task.lane_count() == 1)) return;
        leaders = leaders_of(0);
        for (int i = 1; i < task.lane_count(); ++i) {
            const LeadersOf<int> other = leaders_of(i);
            // Of equal margins the first class leads, whichever lane it fell to.
            const bool higher = (other.highest > leaders.highest) |
                                ((other.highest == leaders.highest) & (other.top < leaders.top));
            const LeadersOf<int> winner = higher ? other : leaders, loser = higher ? leaders : other;
            leaders = winner;
            leaders.second = loser.highest > winner.second ? loser.highest : winner.second;
        }
    }

    FOCAL_DEVICE void exponentials() {
        if (!active) return;
        double others = 0.0;
        each_class([&](int k) {
            const double exponential = leaders.exponential(z[k], k);
            e[k] = exponential;
            others += exponential;
        });
        // The leaders of other lanes are still being read in places 0 to 2: the next step shares it.
        own_others = others;
    }

    double own_others;

    FOCAL_DEVICE void share_others() {
        if (active) share(0, own_others);
    }

    FOCAL_DEVICE void complete() {
        if (!active) return;
        soft = SoftmaxRow<N>(leaders, sum(0), Gamma<N>{task.gamma});
    }

    FOCAL_DEVICE void load_label() {
        if (!active) return;
        const double label = task.y.load(tile.begin + row, 0, 0.0);
        const bool good = is_class_label(label, static_cast<double>(task.class_count()));
        if (!good & (lane == 0)) task.report(0, tile.begin + row);
        t = good ? static_cast<int>(label) : 0;
        weight = task.sample_weight(tile.begin + row);
    }

    FOCAL_DEVICE bool is_top(int k) const { return k == leaders.top; }

    FOCAL_DEVICE TrueClass truth() const {
        return {soft, z.at(t), e.at(t), task.weights()[t].value, is_top(t)};
    }

    /// Steps 0 to 4.
    template <int Step>
    FOCAL_DEVICE void prepare() {
        if constexpr (Step == 0) tile.load(task, place, task.z);
        if constexpr (Step == 1) find_leaders();
        if constexpr (Step == 2) {
            merge_leaders();
            exponentials();
        }
        if constexpr (Step == 3) share_others();
        if constexpr (Step == 4) complete();
    }
};

/// The phases of a kernel that has steps: its last one stores the tile if `kStores`.
template <class Steps>
struct Phased : Steps {
    static constexpr bool kOneLane = kClasses > 0;
    static constexpr int kPhases = kOneLane ? (Steps::kStores ? 3 : 2) : Steps::kSteps;

    FOCAL_DEVICE Phased(const Task& task, Place place, double* shared) : Steps(task, place, shared) {}

    template <int From, int To>
    FOCAL_DEVICE void steps() {
        Steps::template step<From>();
        if constexpr (From + 1 < To) steps<From + 1, To>();
    }

    template <int Phase>
    FOCAL_DEVICE void phase() {
        if constexpr (!kOneLane | (Phase == 0)) {
            Steps::template step<Phase>();
        } else if constexpr (Phase == 1) {
            if (!this->active) return;
            steps<1, Steps::kSteps - (Steps::kStores ? 1 : 0)>();
        } else {
            Steps::template step<Steps::kSteps - 1>();
        }
    }
};

template <int N>
struct MulticlassLoss : MulticlassKernel<N> {
    using Base = MulticlassKernel<N>;
    static constexpr int kSteps = 5;
    static constexpr bool kStores = false;

    FOCAL_DEVICE MulticlassLoss(const Task& task, Place place, double* shared) : Base(task, place, shared) {}

    template <int Step>
    FOCAL_DEVICE void step() {
        Base::template prepare<Step>();
        if constexpr (Step == 4) {
            this->load_label();
            if (!this->active | (this->lane != 0)) return;
            const int t = this->t;
            const double w = this->task.weights()[t].value;
            const double loss = softmax_loss(this->soft, this->z.at(t), this->e.at(t), w, this->is_top(t));
            this->task.out.store(this->tile.begin + this->row, 0, loss * this->weight);
        }
    }
};

template <bool kExpected, int N>
struct MulticlassDerivatives : MulticlassKernel<N> {
    using Base = MulticlassKernel<N>;
    static constexpr int kSteps = 8;
    static constexpr bool kStores = true;
    double slope_true;
    TrueClass truth;
    ExpectedRow<N> expected;

    FOCAL_DEVICE MulticlassDerivatives(const Task& task, Place place, double* shared) : Base(task, place, shared) {}

    template <int Step>
    FOCAL_DEVICE void step() {
        Base::template prepare<Step>();
        if constexpr (Step == 4) {
            this->load_label();
            if (!this->active) return;
            // Before any lane writes over margins and exponentials.
            if constexpr (!kExpected) truth = Base::truth();
            if constexpr (kExpected && kClasses == 0) slope_true = true_slope();
        }
        if constexpr (Step == 5 && kExpected) terms();
        if constexpr (Step == 6) finish();
        if constexpr (Step == 7) {
            this->tile.store(this->task, this->place, this->task.out, this->tile.first);
            this->tile.store(this->task, this->place, this->task.hessian_out, this->tile.second);
        }
    }

    FOCAL_DEVICE ExpectedTerms terms_of(int k, double z, double e) const {
        return ExpectedTerms(this->soft, this->soft.other(z, e), this->task.weights()[k]);
    }

    /// Of a true class that is not top, of which ExpectedRow has it.
    FOCAL_DEVICE double true_slope() const {
        const int t = this->t;
        return this->is_top(t) ? 0.0 : terms_of(t, this->z.at(t), this->e.at(t)).slope;
    }

    /// Sums over the classes of a lane; what is kept of a class takes the place of its margin.
    FOCAL_DEVICE void terms() {
        if (!this->active) return;
        double inverse_sum = 0.0, term_sum = 0.0;
        this->each_class([&](int k) {
            const ExpectedTerms terms = terms_of(k, this->z[k], this->e[k]);
            this->z[k] = terms.own;
            inverse_sum += terms.inverse;
            term_sum += terms.term;
            if constexpr (kClasses > 0) slope_true = (k == 0) | (k == this->t) ? terms.slope : slope_true;
        });
        this->share(1, inverse_sum);
        this->share(2, term_sum);
    }

    FOCAL_DEVICE void finish() {
        if (!this->active) return;
        if constexpr (kExpected) {
            // No class leads in a row with NaN alone.
            const int top = this->leaders.top < 0 ? 0 : this->leaders.top;
            expected = ExpectedRow<N>(this->soft, this->task.weights()[top].value, this->sum(1), this->sum(2));
            if (this->is_top(this->t)) slope_true = expected.slope_top;
        }
        const Finish last = this->task.finish();
        const bool true_is_top = this->is_top(this->t);
        double slope = kExpected ? slope_true : truth.slope;
        if constexpr (kSingle) {
            // Weight and scale are factors of what a row has once. In double precision they come last, so that results
            // are those without weights times the weight, to the bit.
            slope *= this->weight;
            truth.slope = slope * last.scale;
            expected.c *= this->weight * last.scale;
        }
        this->each_class([&](int k) {
            const bool is_true = k == this->t, is_top = this->is_top(k);
            const double p_other = this->soft.probability(this->e[k]);
            const double p = is_top ? this->soft.p_top : p_other;
            const double q = is_top ? this->soft.q_top : 1.0 - p_other;
            double g, h;
            if constexpr (kExpected) {
                g = softmax_gradient(slope, is_true, p, q);
                h = expected.curvature(is_top, p, this->e[k], this->z[k]);
            } else {
                g = softmax_gradient(slope, is_true, p, q);
                h = truth.curvature(is_true, true_is_top, p, q, this->soft.share(this->e[k]));
            }
            this->z[k] = kSingle ? g : g * this->weight;
            this->e[k] = kSingle ? last.of_scaled().bounded(g, h) : last.curvature(g, h) * this->weight;
        });
        if constexpr (kClasses > 0) {
            write(this->tile.first, this->z);
            write(this->tile.second, this->e);
        }
    }

    /// Takes what is in registers to the tile.
    FOCAL_DEVICE void write(double* target, Values& values) const {
        if constexpr (kPackedRows) {
            auto* words = reinterpret_cast<Word<kWord>*>(Tile::packed(target) + this->row * kClasses);
            FOCAL_UNROLL for (int i = 0; i < kClasses / kWord; ++i) {
                Word<kWord> word;
                FOCAL_UNROLL for (int j = 0; j < kWord; ++j) word.x[j] = static_cast<float>(values[i * kWord + j]);
                words[i] = word;
            }
        } else {
            this->each_class([&](int k) { this->tile.at(target, this->row, k) = values[k]; });
        }
    }
};

struct MulticlassPosterior : MulticlassKernel<-1> {
    static constexpr int kSteps = 7;
    static constexpr bool kStores = false;

    FOCAL_DEVICE MulticlassPosterior(const Task& task, Place place, double* shared)
        : MulticlassKernel<-1>(task, place, shared) {}

    template <int Step>
    FOCAL_DEVICE void step() {
        prepare<Step>();
        if constexpr (Step == 5) {
            if (!active) return;
            double highest = from_bits(0xfff0000000000000ULL);
            each_class([&](int k) {
                z[k] = softmax_log_posterior(soft, z[k], e[k], task.log_weights()[k]);
                highest = z[k] > highest ? z[k] : highest;
            });
            share(1, highest);
        }
        if constexpr (Step == 6) {
            // Nothing is kept in shared memory beyond this step: each lane stores what it has.
            if (!active) return;
            double highest = of(1, 0);
            for (int i = 1; i < task.lane_count(); ++i) highest = of(1, i) > highest ? of(1, i) : highest;
            each_class([&](int k) { task.out.store(tile.begin + row, k, z[k] - highest); });
        }
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Entry points. Arguments are numbers of 8 or 4 bytes, which need no struct on the other side; cuda.py passes them in
// this order.

#define FOCAL_VIEW_ARGUMENTS(name) \
    FOCAL_NAMESPACE::Address name##_data, int name##_type, FOCAL_NAMESPACE::Index name##_rows, FOCAL_NAMESPACE::Index name##_columns
#define FOCAL_VIEW(name) {name##_data, name##_type, name##_rows, name##_columns}
#define FOCAL_ARGUMENTS                                                                                             \
    FOCAL_NAMESPACE::Index n_rows, FOCAL_NAMESPACE::Index n_classes, FOCAL_VIEW_ARGUMENTS(y),                       \
        FOCAL_VIEW_ARGUMENTS(z), FOCAL_VIEW_ARGUMENTS(weight), FOCAL_VIEW_ARGUMENTS(out),                           \
        FOCAL_VIEW_ARGUMENTS(hessian_out), double gamma, FOCAL_NAMESPACE::Address intercept,                        \
        FOCAL_NAMESPACE::Address class_weight, FOCAL_NAMESPACE::Address log_class_weight, double inverse_step,      \
        double least, double scale, FOCAL_NAMESPACE::Address status, FOCAL_NAMESPACE::Address scratch, int lanes
#define FOCAL_TASK                                                                                                  \
    const Task task{n_rows,    n_classes,    FOCAL_VIEW(y),    FOCAL_VIEW(z), FOCAL_VIEW(weight), FOCAL_VIEW(out),  \
                    FOCAL_VIEW(hessian_out), gamma, intercept, class_weight,  log_class_weight,   inverse_step,     \
                    least,     scale,        status,           scratch,       lanes}

template <int N>
FOCAL_KERNEL binary_loss_kernel(FOCAL_ARGUMENTS) {
    FOCAL_TASK;
    run<BinaryLoss<N>>(task);
}

template <bool kExpected, int N>
FOCAL_KERNEL binary_derivatives_kernel(FOCAL_ARGUMENTS) {
    FOCAL_TASK;
    run<BinaryDerivatives<kExpected, N>>(task);
}

template <int N>
FOCAL_KERNEL binary_posterior_kernel(FOCAL_ARGUMENTS) {
    static_assert(N == -1, "needs no power");
    FOCAL_TASK;
    run<BinaryPosterior>(task);
}

template <int N>
FOCAL_KERNEL multiclass_loss_kernel(FOCAL_ARGUMENTS) {
    FOCAL_TASK;
    run<Phased<MulticlassLoss<N>>>(task);
}

template <bool kExpected, int N>
FOCAL_KERNEL multiclass_derivatives_kernel(FOCAL_ARGUMENTS) {
    FOCAL_TASK;
    run<Phased<MulticlassDerivatives<kExpected, N>>>(task);
}

template <int N>
FOCAL_KERNEL multiclass_posterior_kernel(FOCAL_ARGUMENTS) {
    static_assert(N == -1, "needs no integer power");
    FOCAL_TASK;
    run<Phased<MulticlassPosterior>>(task);
}

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
template <class Kernel, int Phase>
__device__ __forceinline__ void run_phases(Kernel& kernel) {
    kernel.template phase<Phase>();
    if constexpr (Phase + 1 < Kernel::kPhases) {
        __syncthreads();
        run_phases<Kernel, Phase + 1>(kernel);
    }
}

template <class Kernel>
__device__ void run(const Task& task) {
    extern __shared__ __align__(16) double focal_shared[];
    Kernel kernel(task, {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x), blockIdx.x}, focal_shared);
    run_phases<Kernel, 0>(kernel);
}
#endif

}  // namespace FOCAL_NAMESPACE
