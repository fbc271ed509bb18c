// Compiles the kernels of device.cuh for the device: `make cuda-check`, or `cmake -DCHECK_CUDA=ON`. Nothing is run.

#define FOCAL_NAMESPACE focal
#include "../../focal_boost/kernels/device.cuh"

namespace focal {

#define KERNEL(R, operation, logit, classes, uniform) \
    template __global__ void kernel<R, Operation::operation, logit, classes, uniform>(const Task);
#define ALL(classes, uniform)                            \
    KERNEL(double, kExpected, true, classes, uniform)    \
    KERNEL(double, kExpected, false, classes, uniform)   \
    KERNEL(double, kExact, true, classes, uniform)       \
    KERNEL(double, kExact, false, classes, uniform)      \
    KERNEL(double, kLoss, true, classes, uniform)        \
    KERNEL(double, kLoss, false, classes, uniform)       \
    KERNEL(double, kLogOdds, false, classes, uniform)

KERNEL(float, kExpected, true, 1, false)
KERNEL(float, kExpected, false, 5, true)
KERNEL(float, kExpected, false, 8, false)
ALL(1, false)
ALL(5, true)
ALL(0, false)

}  // namespace focal
