// What the loops over rows need to know of arrays and parameters, shared by loops.cpp and native.cpp.
//
// Plain data only: loops.cpp is compiled once per instruction set, and a function defined here could reach an old machine
// in the version of a new one.

#pragma once

#include <cstddef>

namespace focal_boost {

enum class Type : int { kNone, kFloat32, kFloat64, kInt32, kInt64, kInt8, kUInt8 };

/// A strided array of one or two dimensions; strides in bytes. kNone: not given.
struct View {
    char* data;
    Type type;
    std::ptrdiff_t row_stride, column_stride;
};

/// Of a table of tables.py: doubles before the first cell, and of each cell.
constexpr double kTableHeader = 8, kTableTerms = 6;

enum class Operation : int { kLoss, kDerivatives, kLogOdds };

/// One call: arrays, and the block of parameters that tables.py lays out.
struct Task {
    Operation operation;
    bool binary, logit, expected;
    std::size_t n_rows, n_classes;
    View y, z, weight;
    const double* intercept;  ///< added to the margins: 1 value for the binary loss, K otherwise, or null
    const double *block, *gamma, *class_weight, *log_weight, *half, *tables;  ///< see `block` in tables.py
    int n_steps;  ///< of Halley's method, for several classes with the logit link, before the last step
    double inverse_step;  ///< 1 / max_step
    bool bounded;         ///< false: max_step is infinite
    double hessian_scale;
    View out, hessian_out;  ///< `out`: loss, gradient or log-odds
};

constexpr std::size_t kNoBadRow = static_cast<std::size_t>(-1);

/// Rows that are computed together. All arithmetic is done on full tiles, the last one padded: whatever the number of
/// rows and wherever a thread begins, a row goes through the same instructions.
constexpr std::size_t kTile = 64;

/// Computes rows begin to end, begin a multiple of kTile. Returns the first row with a label that is not allowed.
using Loop = std::size_t (*)(const Task& task, std::size_t begin, std::size_t end, double* scratch);

/// Doubles of scratch that one thread needs.
constexpr std::size_t scratch_size(std::size_t n_classes) { return 4 * n_classes * kTile; }

/// The loops for one instruction set.
struct Loops {
    const char* name;
    Loop rows;
};

extern const Loops kLoops_baseline;
extern const Loops kLoops_avx2;
extern const Loops kLoops_avx512;

}  // namespace focal_boost
