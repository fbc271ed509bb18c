// One call, as native.cpp or cuda.py puts it together for the loops over rows in loops.cpp or device.cuh.
//
// Plain data only: loops.cpp is compiled once per instruction set, and a function defined here could reach an old machine
// in the version of a new one.

#pragma once

namespace focal_boost {

using Index = long long;

enum class Type : int { kNone, kFloat32, kFloat64, kInt32, kInt64, kInt8, kUInt8 };

/// A strided array of one or two dimensions; strides in bytes. kNone: not given.
struct View {
    char* data;
    Index row_stride, column_stride;
    Type type;
};

enum class Operation : int { kLoss, kExpected, kExact, kLogOdds };

/// Arrays, and the numbers that tables.py lays out. cuda.py has the same structure.
struct Task {
    Index n_rows, n_classes;
    View y, z, weight, out, hessian_out;  ///< `out`: loss, gradient or log-odds
    const double* intercept;              ///< added to the margins: 1 value for the binary loss, K otherwise, or null
    const double* head;                   ///< gamma, class weight, its logarithm, theta(1/2) and three places of tables for each class
    const void* tables;                   ///< doubles, or floats for a kernel that computes in single precision
    double inverse_step;                  ///< 1 / max_step
    double least;                         ///< -inf without a bound of steps, else 0
    double hessian_scale;
    int n_steps;                          ///< with the logit link and several classes, before the last step
    bool uniform;                         ///< whether all classes have the same gamma and weight
    bool coarse;                          ///< whether the first terms of tables do: for single precision, where nothing magnifies errors
    Operation operation;
    bool binary, logit;
    unsigned long long* status;  ///< on a GPU: first row with a bad label, first with a bad weight
    double* scratch;             ///< on a GPU, where the number of classes is not known to the compiler
};

#if !defined(__CUDACC_RTC__)
constexpr Index kNoBadRow = -1;

/// Rows that a processor computes together. All arithmetic is done on full tiles, the last one padded: whatever the number
/// of rows and wherever a thread begins, a row goes through the same instructions.
constexpr int kTile = 32;

/// Of a table: doubles before the first cell, and of each cell.
constexpr int kTableHeader = 8, kTableTerms = 6;

/// Doubles of scratch that a thread of a processor needs.
constexpr Index scratch_size(Index n_classes) { return 4 * n_classes * kTile; }

/// The loop for one instruction set over the rows begin to end, begin a multiple of kTile. Returns the first row with a
/// label that is not allowed, or kNoBadRow.
struct Loops {
    const char* name;
    Index (*rows)(const Task& task, Index begin, Index end, double* scratch);
};

extern const Loops kLoops_baseline;
extern const Loops kLoops_avx2;
extern const Loops kLoops_avx512;
#endif

}  // namespace focal_boost
