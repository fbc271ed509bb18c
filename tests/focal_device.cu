// Compiles every formula of focal.hpp and every kernel of device.cuh for the device: `cmake -DCHECK_CUDA=ON`, or
// nvcc -std=c++17 -arch=sm_90 -cubin -o /dev/null tests/focal_device.cu. Nothing is run.

#define FOCAL_NAMESPACE focal
#include "../focal_boost/kernels/device.cuh"

using namespace focal;

template <int N>
__device__ void binary(const double* in, double* out, Gamma<N> gamma, BinaryWeights w, Finish finish) {
    const double z = finite_margin(in[1]);
    const BinarySide<N> side(z, gamma);
    const Derivatives expected = binary_derivatives<true>(side, in[0], z, w, finish);
    const Derivatives exact = binary_derivatives<false>(side, in[0], z, w, finish);
    out[0] = is_binary_label(in[0]) ? binary_loss(side, in[0], z, w) : 0.0;
    out[1] = expected.gradient;
    out[2] = expected.hessian;
    out[3] = exact.hessian;
    out[4] = binary_posterior_logit(z, gamma.get(), 0.0);
}

template <int N>
__device__ void multiclass(const double* z, int n_classes, double label, double* out, Gamma<N> gamma, Finish finish) {
    Leaders leaders{-1e308, -1e308, -1.0};
    for (int k = 0; k < n_classes; ++k) leaders.visit(finite_margin(z[k]), k);
    double others = 0.0;
    for (int k = 0; k < n_classes; ++k) others += leaders.exponential(z[k], k);
    const SoftmaxRow<N> row(leaders, others, gamma);
    const ClassWeight one{1.0, 1.0};
    double inverse_sum = 0.0, term_sum = 0.0;
    for (int k = 0; k < n_classes; ++k) {
        const ExpectedTerms terms(row, row.other(z[k], leaders.exponential(z[k], k)), one);
        inverse_sum += terms.inverse;
        term_sum += terms.term;
    }
    const ExpectedRow<N> expected(row, 1.0, inverse_sum, term_sum);
    const int t = is_class_label(label, n_classes) ? static_cast<int>(label) : 0;
    const TrueClass truth(row, z[t], leaders.exponential(z[t], t), 1.0, t == leaders.top);
    for (int k = 0; k < n_classes; ++k) {
        const double e = leaders.exponential(z[k], k), p = row.probability(e);
        const double g = softmax_gradient(truth.slope, k == t, p, 1.0 - p);
        const ExpectedTerms terms(row, row.other(z[k], e), one);
        out[0] = g;
        out[1] = finish.curvature(g, expected.curvature(k == leaders.top, p, e, terms.own));
        out[2] = finish.curvature(g, truth.curvature(k == t, t == leaders.top, p, 1.0 - p, row.share(e)));
        out[3] = softmax_log_posterior(row, z[k], e, 0.0);
        out[4] = softmax_loss(row, z[t], e, 1.0, t == leaders.top);
        out += 5;
    }
}

extern "C" __global__ void every_formula(const double* in, double* out, int n_classes, double gamma, Finish finish) {
    binary(in, out, Gamma<2>{gamma}, BinaryWeights{1.0, 1.0}, finish);
    binary(in, out + 5, Gamma<-1>{gamma}, BinaryWeights{1.0, 1.0}, finish);
    multiclass(in, n_classes, in[0], out + 10, Gamma<2>{gamma}, finish);
    multiclass(in, n_classes, in[0], out + 10 + 5 * n_classes, Gamma<-1>{gamma}, finish);
}

namespace focal {

#define FOR_GAMMA(N)                                                               \
    template __global__ void binary_loss_kernel<N>(FOCAL_ARGUMENTS);               \
    template __global__ void binary_derivatives_kernel<true, N>(FOCAL_ARGUMENTS);  \
    template __global__ void binary_derivatives_kernel<false, N>(FOCAL_ARGUMENTS); \
    template __global__ void multiclass_loss_kernel<N>(FOCAL_ARGUMENTS);           \
    template __global__ void multiclass_derivatives_kernel<true, N>(FOCAL_ARGUMENTS);  \
    template __global__ void multiclass_derivatives_kernel<false, N>(FOCAL_ARGUMENTS);
FOR_GAMMA(-1)
FOR_GAMMA(2)
template __global__ void binary_posterior_kernel<-1>(FOCAL_ARGUMENTS);
template __global__ void multiclass_posterior_kernel<-1>(FOCAL_ARGUMENTS);

}  // namespace focal
