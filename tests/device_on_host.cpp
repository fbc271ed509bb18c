// The kernels of device.cuh as ordinary functions: threads run one after the other, and a warp has one. Compiled and
// called by tests/fake_cupy.py.

#include <cmath>
#include <cstddef>
#include <cstring>

#define FOCAL_ON_DEVICE
#define FOCAL_NAMESPACE focal
#define FOCAL_SHARED
#define FOCAL_WARP 1

inline void __syncwarp() {}

inline void atomicMin(unsigned long long* place, unsigned long long value) {
    if (value < *place) *place = value;
}

#include "../focal_boost/kernels/device.cuh"

namespace {

using namespace focal;

template <class R, Operation kOperation, bool kLogit, int kClasses, bool kUniform>
void all(const Task& task, unsigned n_blocks) {
    for (unsigned block = 0; block < n_blocks; ++block) {
        for (unsigned thread = 0; thread < kThreads; ++thread) {
            rows<R, kOperation, kLogit, kClasses, kUniform>(task, {thread, block, n_blocks});
        }
    }
}

struct Entry {
    const char* name;
    void (*function)(const Task&, unsigned);
};

// By two steps, so that FOCAL_CLASSES is a number in the name.
#define ENTRY_(R, operation, logit, classes, uniform)                                                              \
    {"focal::kernel<" #R ", focal_boost::Operation::" #operation ", " #logit ", " #classes ", " #uniform ">", \
     all<R, Operation::operation, logit, classes, uniform>}
#define ENTRY(R, operation, logit, classes, uniform) ENTRY_(R, operation, logit, classes, uniform)
#define ALL(uniform)                                                                                         \
    ENTRY(double, kExpected, true, FOCAL_CLASSES, uniform), ENTRY(double, kExpected, false, FOCAL_CLASSES, uniform), \
        ENTRY(double, kExact, true, FOCAL_CLASSES, uniform), ENTRY(double, kExact, false, FOCAL_CLASSES, uniform),   \
        ENTRY(double, kLoss, true, FOCAL_CLASSES, uniform), ENTRY(double, kLoss, false, FOCAL_CLASSES, uniform),     \
        ENTRY(double, kLogOdds, false, FOCAL_CLASSES, uniform)

const Entry entries[] = {
    ALL(false),
#if FOCAL_CLASSES == 1
    ENTRY(float, kExpected, true, FOCAL_CLASSES, false),
#elif FOCAL_CLASSES > 1
    ALL(true), ENTRY(float, kExpected, false, FOCAL_CLASSES, false), ENTRY(float, kExpected, false, FOCAL_CLASSES, true),
#endif
};

}  // namespace

/// Runs the kernel of a name: 0, or 1 if there is none, or 2 if `size` is not that of its argument.
extern "C" int launch(const char* name, unsigned n_blocks, const void* task, std::size_t size) {
    if (size != sizeof(Task)) return 2;
    for (const Entry& entry : entries) {
        if (std::strcmp(entry.name, name) == 0) {
            entry.function(*static_cast<const Task*>(task), n_blocks);
            return 0;
        }
    }
    return 1;
}
