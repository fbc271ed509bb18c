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

template <class R, focal::Operation kOperation, bool kLogit, int kClasses, bool kAlike>
void all(const Task& task, unsigned n_blocks) {
    for (unsigned block = 0; block < n_blocks; ++block) {
        for (unsigned thread = 0; thread < kThreads; ++thread) {
            rows<R, kOperation, kLogit, kClasses, kAlike>(task, {thread, block, n_blocks});
        }
    }
}

struct Entry {
    const char* name;
    void (*function)(const Task&, unsigned);
};

// By two steps, so that FOCAL_CLASSES is a number in the name.
#define ENTRY_(R, operation, logit, classes, alike)                                        \
    {"focal::kernel<" #R ", focal::" #operation ", " #logit ", " #classes ", " #alike ">", \
     all<R, operation, logit, classes, alike>}
#define ENTRY(R, operation, logit, classes, alike) ENTRY_(R, operation, logit, classes, alike)
#define EXPECTED(R, alike) \
    ENTRY(R, kExpected, true, FOCAL_CLASSES, alike), ENTRY(R, kExpected, false, FOCAL_CLASSES, alike)
#define ALL(alike)                                                                                              \
    EXPECTED(double, alike), ENTRY(double, kExact, true, FOCAL_CLASSES, alike),                                 \
        ENTRY(double, kExact, false, FOCAL_CLASSES, alike), ENTRY(double, kLoss, true, FOCAL_CLASSES, alike),   \
        ENTRY(double, kLoss, false, FOCAL_CLASSES, alike), ENTRY(double, kLogOdds, false, FOCAL_CLASSES, alike)

const Entry entries[] = {
    ALL(false),
#if FOCAL_CLASSES > 0
    EXPECTED(float, false),
#endif
#if FOCAL_CLASSES > 1
    ALL(true), EXPECTED(float, true),
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
