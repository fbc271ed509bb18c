"""Arrays that losses read and write, of every kind, and the values in them that kernels refuse."""

from __future__ import annotations

import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import within
from test_losses import N, case, dtypes, make_case

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss, losses
from focal_boost.kernels import numpy as numpy_kernels

__all__ = ["case"]

pytestmark = pytest.mark.usefixtures("kernels")

# ---------------------------------------------------------------------------------------------------------------------
# Arrays


def strided(z):
    wide = np.full((2 * len(z), *z.shape[1:]), 99, dtype=z.dtype)
    wide[::2] = z
    return wide[::2]


def reversed_view(z):
    return z[::-1].copy()[::-1]


def padded_columns(z):
    if z.ndim == 1:
        return np.column_stack([z, np.full_like(z, 99)])[:, 0]
    return np.column_stack([np.full(len(z), 99, z.dtype), z])[:, 1:]


def unaligned(z):
    packed = np.zeros(len(z), dtype=np.dtype([("pad", "i1"), ("z", z.dtype, z.shape[1:])]))
    packed["z"] = z
    return packed["z"]


def read_only(z):
    frozen = z.copy()
    frozen.flags.writeable = False
    return frozen


def swapped_bytes(z):
    return z.astype(z.dtype.newbyteorder())


def assert_rounded(case, single, double):
    """The results in single precision are those in double precision, rounded.

    With the logit link and several classes compiled kernels solve as exactly as the outputs hold: it may be the number
    beside. Kernels for a GPU compute in single precision there, exact to 2**-20.
    """
    rounded = np.asarray(double).astype(np.float32)
    if not hasattr(losses.kernels, "cuda"):
        solved = losses.kernels is not numpy_kernels and case.z.ndim == 2 and case.loss.link == "logit"
        np.testing.assert_array_max_ulp(single, rounded, maxulp=1 if solved else 0)
        return
    np.testing.assert_allclose(single, double, rtol=2.0**-20, atol=2.0**-124)


LAYOUTS = [np.asfortranarray, strided, reversed_view, padded_columns, unaligned, read_only, swapped_bytes]
layouts = within(layout=LAYOUTS)


@dtypes
@layouts
def test_margins_of_any_layout(case, layout, dtype):
    z = case.z.astype(dtype)
    plain = [*case.derivatives(raw_prediction=z), case.loss.loss(case.y, z), case.loss.predict_proba(z)]
    view = layout(z)
    other = [*case.derivatives(raw_prediction=view), case.loss.loss(case.y, view), case.loss.predict_proba(view)]
    for a, b in zip(plain, other, strict=True):
        if a.dtype.newbyteorder("=") == b.dtype.newbyteorder("="):
            np.testing.assert_array_equal(a, b)
        else:
            assert_rounded(case, a, b)


@layouts
def test_labels_and_weights_of_any_layout(case, layout):
    plain = case.derivatives()
    other = case.derivatives(y_true=layout(case.y), sample_weight=layout(case.weight))
    np.testing.assert_array_equal(plain, other)


@within(dtype=[np.int8, np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_labels_of_any_numeric_dtype(case, dtype):
    np.testing.assert_array_equal(case.derivatives(y_true=case.y.astype(dtype)), case.derivatives())


def test_boolean_labels():
    case = make_case("binary")
    np.testing.assert_array_equal(case.derivatives(y_true=case.y.astype(bool)), case.derivatives())


def test_lists_and_single_columns(case):
    y, z, weight = case.y[:5], case.z[:5], case.weight[:5]
    expected = case.loss.gradient_hessian(y, z, weight)
    np.testing.assert_array_equal(case.loss.gradient_hessian(y.tolist(), z.tolist(), weight.tolist()), expected)
    np.testing.assert_array_equal(case.loss.gradient_hessian(y[:, None], z, weight), expected)


def test_a_single_column_of_binary_margins():
    case = make_case("binary")
    np.testing.assert_array_equal(case.derivatives(raw_prediction=case.z[:, None]), case.derivatives())


def test_whole_numbers_as_margins(case):
    whole = np.round(case.z)
    np.testing.assert_array_equal(
        case.derivatives(raw_prediction=whole.astype(np.int32)), case.derivatives(raw_prediction=whole)
    )


@dtypes
@pytest.mark.parametrize("order", ["C", "F"])
def test_outputs_have_dtype_and_order_of_the_margins(case, order, dtype):
    z = np.asarray(case.z, dtype=dtype, order=order)
    for out in case.derivatives(raw_prediction=z):
        assert (out.dtype, out.shape, out.strides) == (z.dtype, z.shape, z.strides)
    assert case.loss.loss(case.y, z).dtype == dtype
    assert case.loss.predict_proba(z).dtype == dtype


def test_single_precision_is_the_rounded_double_precision(case):
    z = case.z.astype(np.float32)
    for single, double in zip(
        case.derivatives(raw_prediction=z), case.derivatives(raw_prediction=z.astype(np.float64)), strict=True
    ):
        assert_rounded(case, single, double)


def test_inputs_are_never_written_to(case):
    before = [array.copy() for array in (case.y, case.z, case.weight)]
    case.derivatives()
    case.loss.loss(case.y, case.z, case.weight)
    case.loss(case.y, case.z, case.weight)
    case.loss.predict_proba(case.z)
    case.loss.log_loss(case.y, case.z, case.weight)
    case.loss.fit_intercept_only(case.y, case.weight)
    for array, copied in zip((case.y, case.z, case.weight), before, strict=True):
        np.testing.assert_array_equal(array, copied)


@dtypes
@within(layout=[np.asarray, np.asfortranarray, strided, reversed_view, padded_columns, unaligned])
def test_outputs_are_written_where_asked(case, layout, dtype):
    outs = [layout(np.full(case.z.shape, np.nan, dtype)) for _ in range(2)]
    g, h = case.derivatives(gradient_out=outs[0], hessian_out=outs[1])
    assert g is outs[0]
    assert h is outs[1]
    for out, double in zip((g, h), case.derivatives(), strict=True):
        if dtype == np.float64:
            np.testing.assert_array_equal(out, double)
        else:
            assert_rounded(case, np.array(out), double)


@dtypes
def test_losses_are_written_where_asked(case, dtype):
    out = strided(np.full(N, np.nan, dtype))
    assert case.loss.loss(case.y, case.z, case.weight, loss_out=out) is out
    double = case.loss.loss(case.y, case.z, case.weight)
    if dtype == np.float64:
        np.testing.assert_array_equal(out, double)
    else:
        assert_rounded(case, np.array(out), double)


def test_an_output_leaves_its_neighbours_alone(case):
    wide = np.full((2 * N, *case.z.shape[1:]), 7.0)
    case.derivatives(gradient_out=wide[::2])
    assert (wide[1::2] == 7.0).all()


def test_margins_may_be_overwritten_by_the_gradient(case):
    expected = case.derivatives()
    z = case.z.copy()
    np.testing.assert_array_equal(case.derivatives(raw_prediction=z, gradient_out=z), expected)


def test_no_rows(case):
    g, h = case.loss.gradient_hessian([], case.z[:0])
    assert g.shape == h.shape == case.z[:0].shape
    assert case.loss.predict_proba(case.z[:0]).shape == (0, case.loss.n_classes)


@within(n=[1, 15, 16, 17, 4095, 4096, 4097])
def test_rows_do_not_depend_on_each_other(case, n):
    g, h = case.derivatives()
    few = case.loss.gradient_hessian(case.y[:n], case.z[:n], case.weight[:n])
    np.testing.assert_array_equal(few, [g[:n], h[:n]])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_memory_does_not_grow_with_the_rows(kind, kernels):
    if hasattr(kernels, "cuda"):
        pytest.skip("arrays are copied to the device and back")
    case = make_case(kind, n=450_000)
    case.loss.gradient_hessian(case.y[:9], case.z[:9])  # what is tabulated once
    tracemalloc.start()
    try:
        g, h = case.derivatives()
        peak = tracemalloc.get_traced_memory()[1]
        assert peak - g.nbytes - h.nbytes < 3e6
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        case.loss.loss(case.y, case.z, case.weight, loss_out=g if g.ndim == 1 else g[:, 0])
        assert tracemalloc.get_traced_memory()[1] - before < 3e6
    finally:
        tracemalloc.stop()


def test_eight_threads_share_a_loss(case):
    expected = case.derivatives()
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: case.derivatives(), range(32)):
            np.testing.assert_array_equal(result, expected)


# ---------------------------------------------------------------------------------------------------------------------
# Values that kernels refuse


def assert_refused(call, *parts):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - each part of the message is checked
        call()
    for part in parts:
        assert part in str(error.value)


def users_of_labels(case):
    z = case.z[:3]
    return [
        lambda y: case.loss(y, z),
        lambda y: case.loss.loss(y, z),
        lambda y: case.loss.gradient_hessian(y, z),
        lambda y: case.loss.log_loss(y, z),
    ]


def users_of_weights(case):
    y, z = case.y[:3], case.z[:3]
    return [
        lambda weight: case.loss(y, z, weight),
        lambda weight: case.loss.loss(y, z, weight),
        lambda weight: case.loss.gradient_hessian(y, z, weight),
        lambda weight: case.loss.log_loss(y, z, weight),
        lambda weight: case.loss.fit_intercept_only(y, weight),
    ]


@pytest.mark.parametrize(("bad", "shown"), [(-1, "-1"), (2, "2"), (1.5, "1.5"), (np.nan, "nan"), (np.inf, "inf")])
def test_refused_binary_labels(bad, shown):
    for use in users_of_labels(make_case("binary")):
        assert_refused(lambda use=use: use([0, 1, bad]), f"y_true holds {shown}", "[0, 1]", "FocalClassifier")


@pytest.mark.parametrize(
    ("bad", "shown"), [(-1, "-1"), (3, "3"), (0.5, "0.5"), (np.nan, "nan"), (np.inf, "inf"), (1e30, "1e+30")]
)
def test_refused_multiclass_labels(bad, shown):
    case = make_case("multiclass")
    for use in [*users_of_labels(case), case.loss.fit_intercept_only]:
        assert_refused(lambda use=use: use([0, 2, bad]), f"y_true holds {shown}", "integers 0 to 2", "FocalClassifier")


@within(position=[0, 4095, 4096, N - 1])
def test_a_wrong_label_is_found_in_every_block(case, position):
    y = case.y.copy()
    y[position] = 7
    assert_refused(lambda: case.derivatives(y_true=y), "y_true holds 7")


@within(bad=[-1.0, np.nan, np.inf, -np.inf])
def test_refused_weights(case, bad):
    for use in users_of_weights(case):
        assert_refused(lambda use=use: use([1.0, bad, 1.0]), f"sample_weight holds {bad}", ">= 0", "drop such rows")


# ---------------------------------------------------------------------------------------------------------------------
# Intercept, threads, speed


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("gamma", [1.3, 0.0])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_intercept_is_added_to_the_margins(n_outputs, gamma, order):
    rng = np.random.default_rng(0)
    if n_outputs == 1:
        loss = BinaryFocalLoss(gamma, alpha=(1.0, 3.0))
    else:
        loss = MulticlassFocalLoss(3, gamma, alpha=(1.0, 3.0, 2.0))
    z = np.asarray(rng.normal(size=(300,) if n_outputs == 1 else (300, 3)), order=order)
    y = rng.integers(0, loss.n_classes, 300)
    intercept = 0.7 if n_outputs == 1 else np.array([0.7, -0.2, 0.1])
    for ours, theirs in zip(
        loss.gradient_hessian(y, z, intercept=intercept), loss.gradient_hessian(y, z + intercept), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12 if gamma == 0 else 0)  # which adds weights in its own order
    found, expected = loss.loss(y, z, intercept=intercept), loss.loss(y, z + intercept)
    np.testing.assert_allclose(found, expected, rtol=1e-12 if gamma == 0 else 0)
    assert loss.log_loss(y, z, intercept=intercept) == loss.log_loss(y, z + intercept)
    with pytest.raises(ValueError, match="shape"):
        loss.loss(y, z, intercept=[1.0, 2.0])


@pytest.mark.parametrize("n_threads", [None, -1, 0, 2, 5])
def test_results_do_not_depend_on_threads(n_threads):
    rng = np.random.default_rng(0)
    loss, z, y = MulticlassFocalLoss(4), rng.normal(size=(40_000, 4)), rng.integers(0, 4, 40_000)
    for ours, theirs in zip(
        loss.gradient_hessian(y, z, n_threads=n_threads), loss.gradient_hessian(y, z, n_threads=1), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


# ---------------------------------------------------------------------------------------------------------------------
# Half precision: inputs of two bytes are read as they are, and never summed in them


def test_half_precision_is_not_summed_in_half_precision(case):
    loss = case.loss
    rng = np.random.default_rng(0)
    y = rng.integers(0, loss.n_classes, 20_000).astype(np.float16)
    z = rng.normal(size=(len(y), loss.n_outputs) if loss.n_outputs > 1 else len(y)).astype(np.float16)
    weight = rng.random(len(y)).astype(np.float16)
    halves, doubles = (y, z, weight), tuple(x.astype(np.float64) for x in (y, z, weight))
    for function in (loss, loss.log_loss):
        assert function(*halves) == function(*doubles)
    np.testing.assert_array_equal(loss.fit_intercept_only(y, weight), loss.fit_intercept_only(*doubles[::2]))
    np.testing.assert_array_equal(loss.predict_proba(z), loss.predict_proba(doubles[1]))
    for got, expected in zip(loss.gradient_hessian(*halves), loss.gradient_hessian(*doubles), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_mask_of_labels_is_seen_by_the_intercept():
    labels = np.ma.masked_array([0, 1, 1, 0], mask=[False, True, False, False])
    for loss in (BinaryFocalLoss(), MulticlassFocalLoss(2)):
        assert_refused(lambda loss=loss: loss.fit_intercept_only(labels), "y_true is a masked array with 1")


@pytest.mark.parametrize(
    ("rows", "compiled", "chosen", "warns"),
    [(6, False, None, True), (5, False, None, False), (6, True, None, False), (6, False, "numpy", False)],
    ids=["slow", "few rows", "compiled", "asked for"],
)
def test_many_rows_without_compiled_kernels_warn_once(monkeypatch, rows, compiled, chosen, warns):
    monkeypatch.setattr(losses, "_SLOW_ELEMENTS", 5)
    monkeypatch.setattr(losses, "is_compiled", lambda: compiled)
    monkeypatch.delenv("FOCAL_BOOST_KERNELS", raising=False)
    if chosen:
        monkeypatch.setenv("FOCAL_BOOST_KERNELS", chosen)
    losses._warn_of_numpy.cache_clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(2):
            BinaryFocalLoss().gradient_hessian(np.zeros(rows), np.zeros(rows))
    losses._warn_of_numpy.cache_clear()
    assert [str(w.message).split("which are")[0] for w in warned] == warns * [
        "gradients of more than 5 elements are computed by NumPy, since focal_boost was installed without its compiled "
        "kernels, "
    ]
