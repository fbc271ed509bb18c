// Compiles the kernels of device.cuh for the device: `make cuda-check`, or `cmake -DCHECK_CUDA=ON`. Nothing is run.

#define FOCAL_NAMESPACE focal
#include "../focal_boost/kernels/device.cuh"

namespace focal {

#define KERNEL(R, operation, logit, classes, alike) \
    template __global__ void kernel<R, operation, logit, classes, alike>(const Task);
#define DERIVATIVES(R, classes, alike)                                                                             \
    KERNEL(R, kExpected, true, classes, alike)                                                                     \
    KERNEL(R, kExact, true, classes, alike)                                                                        \
    KERNEL(R, kExpected, false, classes, alike)                                                                    \
    KERNEL(R, kExact, false, classes, alike)
#define OTHERS(classes)                                                                                            \
    KERNEL(double, kLoss, true, classes, false)                                                                    \
    KERNEL(double, kLoss, false, classes, false)                                                                   \
    KERNEL(double, kLogOdds, false, classes, false)

DERIVATIVES(float, 1, false)
DERIVATIVES(double, 1, false)
DERIVATIVES(float, 5, true)
DERIVATIVES(float, 8, false)
DERIVATIVES(double, 5, true)
DERIVATIVES(double, 0, false)
OTHERS(1)
OTHERS(5)
OTHERS(0)

}  // namespace focal
