// Compiles the kernels of device.cuh for the device: `make cuda-check`, or `cmake -DCHECK_CUDA=ON`. Nothing is run.

#define FOCAL_NAMESPACE focal
#include "../focal_boost/kernels/device.cuh"

namespace focal {

#define KERNEL(R, operation, logit, classes, alike) \
    template __global__ void kernel<R, operation, logit, classes, alike>(const Task);
#define EXPECTED(R, classes, alike)             \
    KERNEL(R, kExpected, true, classes, alike)  \
    KERNEL(R, kExpected, false, classes, alike)
#define ALL(classes, alike)                           \
    EXPECTED(double, classes, alike)                  \
    KERNEL(double, kExact, true, classes, alike)      \
    KERNEL(double, kExact, false, classes, alike)     \
    KERNEL(double, kLoss, true, classes, alike)       \
    KERNEL(double, kLoss, false, classes, alike)      \
    KERNEL(double, kLogOdds, false, classes, alike)

EXPECTED(float, 1, false)
EXPECTED(float, 5, true)
EXPECTED(float, 8, false)
ALL(1, false)
ALL(5, true)
ALL(0, false)

}  // namespace focal
