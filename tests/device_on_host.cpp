// The kernels of device.cuh as ordinary functions: all threads of a block go through one phase after the other.
// Compiled and called by tests/fake_cupy.py.

#include <cstddef>
#include <vector>

#define FOCAL_DEVICE
#define FOCAL_KERNEL void
#define FOCAL_UNROLL
#define FOCAL_NAMESPACE focal

inline void atomicMin(unsigned long long* place, unsigned long long value) {
    if (value < *place) *place = value;
}

#include "../focal_boost/kernels/device.cuh"

namespace {
int grid_size, block_size;
std::size_t shared_doubles;
bool backwards;
}  // namespace

/// `reverse`: the last thread of a block goes first in each phase. Results that change tell of threads that read, within
/// a phase, what another one writes.
extern "C" void configure(int grid, int block, std::size_t shared_bytes, int reverse) {
    grid_size = grid;
    block_size = block;
    shared_doubles = shared_bytes / sizeof(double);
    backwards = reverse != 0;
}

namespace focal {

template <class Kernel, int Phase>
void run_phases(std::vector<Kernel>& threads) {
    const std::size_t n = threads.size();
    for (std::size_t i = 0; i < n; ++i) threads[backwards ? n - 1 - i : i].template phase<Phase>();
    if constexpr (Phase + 1 < Kernel::kPhases) run_phases<Kernel, Phase + 1>(threads);
}

template <class Kernel>
void run(const Task& task) {
    for (int block = 0; block < grid_size; ++block) {
        // Just what was asked for, so that a sanitizer sees any step beyond it; filled with NaN, as nothing may rely on it.
        std::vector<double> shared(shared_doubles, __builtin_nan(""));
        std::vector<Kernel> threads;
        for (int i = 0; i < block_size; ++i) threads.emplace_back(task, Place{i, block_size, block}, shared.data());
        run_phases<Kernel, 0>(threads);
    }
}

#define MULTICLASS(N)                                                       \
    template void multiclass_loss_kernel<N>(FOCAL_ARGUMENTS);               \
    template void multiclass_derivatives_kernel<true, N>(FOCAL_ARGUMENTS);  \
    template void multiclass_derivatives_kernel<false, N>(FOCAL_ARGUMENTS);
#ifdef FOCAL_CLASSES
#define FOR_GAMMA(N) MULTICLASS(N)
#else
#define FOR_GAMMA(N)                                                        \
    MULTICLASS(N)                                                           \
    template void binary_loss_kernel<N>(FOCAL_ARGUMENTS);                   \
    template void binary_derivatives_kernel<true, N>(FOCAL_ARGUMENTS);      \
    template void binary_derivatives_kernel<false, N>(FOCAL_ARGUMENTS);
#endif
FOR_GAMMA(-1)
FOR_GAMMA(0)
FOR_GAMMA(1)
FOR_GAMMA(2)
FOR_GAMMA(3)
FOR_GAMMA(4)
FOR_GAMMA(5)
#ifndef FOCAL_CLASSES
template void binary_posterior_kernel<-1>(FOCAL_ARGUMENTS);
#endif
template void multiclass_posterior_kernel<-1>(FOCAL_ARGUMENTS);

}  // namespace focal
