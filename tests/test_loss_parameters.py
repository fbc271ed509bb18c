"""A loss is a value with parameters, and refuses arrays that it cannot take: what no set of kernels has a part in."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from test_loss_arrays import assert_refused, read_only, users_of_labels, users_of_weights
from test_losses import N, case

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["case"]

LOSSES = [
    BinaryFocalLoss(),
    BinaryFocalLoss(0.0, 0.25, "exact", None),
    BinaryFocalLoss(3.5, (0.5, 2.0), max_step=4.0),
    BinaryFocalLoss((1.0, 4.0)),
    BinaryFocalLoss(link="focal"),
    MulticlassFocalLoss(3),
    MulticlassFocalLoss(2, 1.5, (0.5, 2.0), hessian="exact", max_step=None),
    MulticlassFocalLoss(3, (0.0, 2.0, 0.5), link="focal"),
]
all_losses = pytest.mark.parametrize("loss", LOSSES, ids=str)


@all_losses
@pytest.mark.parametrize("duplicate", [lambda loss: pickle.loads(pickle.dumps(loss)), copy.copy, copy.deepcopy])
def test_copies_are_equal_and_work(loss, duplicate):
    twin = duplicate(loss)
    assert twin == loss
    assert hash(twin) == hash(loss)
    z = np.random.default_rng(0).normal(0, 3, (10, loss.n_outputs))
    y = np.arange(10) % 2
    np.testing.assert_array_equal(twin.gradient_hessian(y, z), loss.gradient_hessian(y, z))


@all_losses
def test_repr_builds_the_loss_again(loss):
    assert eval(repr(loss)) == loss


def test_repr_names_every_parameter():
    assert repr(BinaryFocalLoss(1)) == (
        "BinaryFocalLoss(gamma=1.0, alpha=None, hessian='expected', max_step=8.0, link='logit')"
    )
    assert repr(MulticlassFocalLoss(3, np.array([0, 2, 0.5]), alpha=[1, 2, 3], link="focal")) == (
        "MulticlassFocalLoss(n_classes=3, gamma=(0.0, 2.0, 0.5), alpha=(1.0, 2.0, 3.0), hessian='expected', "
        "max_step=8.0, link='focal')"
    )


def test_losses_differ_by_their_parameters():
    assert len(set(LOSSES)) == len(LOSSES)
    assert BinaryFocalLoss(2) == BinaryFocalLoss(np.float64(2.0), max_step=8)
    assert BinaryFocalLoss([1, 4]) == BinaryFocalLoss(np.array([1.0, 4.0])) == BinaryFocalLoss((1, 4.0))
    assert BinaryFocalLoss(alpha=[1, 2]) == BinaryFocalLoss(alpha=np.array([1.0, 2.0]))
    assert MulticlassFocalLoss(2) != BinaryFocalLoss()
    assert MulticlassFocalLoss(3) != MulticlassFocalLoss(4)
    assert MulticlassFocalLoss(np.int64(3)) == MulticlassFocalLoss(3)


@all_losses
def test_losses_cannot_be_changed(loss):
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.gamma = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        del loss.alpha


def test_a_loss_does_not_keep_the_callers_weights():
    alpha = np.array([0.5, 2.0, 1.0])
    loss = MulticlassFocalLoss(3, alpha=alpha)
    before = loss.loss([0, 1, 2], np.zeros((3, 3)))
    alpha[:] = 100.0
    np.testing.assert_array_equal(loss.loss([0, 1, 2], np.zeros((3, 3))), before)


@all_losses
def test_numbers_of_classes_and_outputs(loss):
    z = np.zeros(4) if loss.n_outputs == 1 else np.zeros((4, loss.n_outputs))
    assert loss.predict_proba(z).shape == (4, loss.n_classes)
    assert np.size(loss.fit_intercept_only([0, 1])) == loss.n_outputs


# ---------------------------------------------------------------------------------------------------------------------
# Errors: the message names the value and the way out


constructors = pytest.mark.parametrize(
    "construct", [BinaryFocalLoss, lambda **given: MulticlassFocalLoss(3, **given)], ids=["binary", "multiclass"]
)


@constructors
@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf"), True, "2", None, 1j])
def test_refused_gamma(construct, gamma):
    assert_refused(lambda: construct(gamma=gamma), f"gamma={gamma!r}", ">= 0", "1.0 is the default")


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf"), True, "2", None, 101.0])
def test_refused_gamma_of_one_class(bad):
    for construct, gamma in ((BinaryFocalLoss, (1.0, bad)), (lambda g: MulticlassFocalLoss(3, g), [1.0, bad, 0.0])):
        assert_refused(lambda construct=construct, gamma=gamma: construct(gamma), "gamma=", repr(bad))


@pytest.mark.parametrize("gamma", [(), [2.0], (1.0, 2.0, 3.0, 4.0), [[1.0, 2.0]]], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_refused_lengths_of_gamma(n_classes, gamma):
    construct = BinaryFocalLoss if n_classes == 2 else lambda gamma: MulticlassFocalLoss(3, gamma)
    assert_refused(lambda: construct(gamma), f"gamma={gamma!r}", f"{n_classes} classes")


@constructors
@pytest.mark.parametrize("gamma", [{0: 1.0, 1: 2.0}, {1.0, 2.0}])
def test_refused_kinds_of_gamma(construct, gamma):
    assert_refused(lambda: construct(gamma=gamma), f"gamma={gamma!r}")


@constructors
@pytest.mark.parametrize("link", ["Logit", "log", None, True, 1])
def test_refused_link(construct, link):
    assert_refused(lambda: construct(link=link), f"link={link!r}", "'logit'", "'focal'")


@constructors
@pytest.mark.parametrize("hessian", ["Expected", "fisher", None, 1])
def test_refused_hessian(construct, hessian):
    assert_refused(lambda: construct(hessian=hessian), f"hessian={hessian!r}", "'expected'", "'exact'")


@constructors
@pytest.mark.parametrize("max_step", [0, -1.0, float("nan"), True, "8", [8.0]])
def test_refused_max_step(construct, max_step):
    assert_refused(lambda: construct(max_step=max_step), f"max_step={max_step!r}", "8.0", "None")


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0, -0.25, 2.0, float("nan"), True, False])
def test_refused_binary_alpha(alpha):
    assert_refused(lambda: BinaryFocalLoss(alpha=alpha), f"alpha={alpha!r}", "(0, 1)", "pair (w_0, w_1)")


@constructors
@pytest.mark.parametrize("alpha", ["balanced", {0: 1.0, 1: 2.0}, {1.0, 2.0}])
def test_refused_kinds_of_alpha(construct, alpha):
    assert_refused(lambda: construct(alpha=alpha), f"alpha={alpha!r}", "one positive weight per class", "FocalCl")


def test_multiclass_alpha_is_not_a_number():
    assert_refused(lambda: MulticlassFocalLoss(3, alpha=0.25), "alpha=0.25", "one positive weight per class")


@pytest.mark.parametrize("alpha", [(), (1.0,), (1.0, 2.0, 3.0, 4.0), [[1.0, 2.0]]], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_refused_lengths_of_alpha(n_classes, alpha):
    construct = BinaryFocalLoss if n_classes == 2 else lambda alpha: MulticlassFocalLoss(3, alpha=alpha)
    assert_refused(lambda: construct(alpha=alpha), f"alpha={alpha!r}", f"one each for {n_classes} classes")


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_refused_class_weights(bad):
    assert_refused(lambda: BinaryFocalLoss(alpha=(1.0, bad)), repr(bad), "not a positive", "remove its rows")
    assert_refused(lambda: MulticlassFocalLoss(3, alpha=(1.0, bad, 1.0)), repr(bad), "not a positive")


@pytest.mark.parametrize("n_classes", [1, 0, -3, 2.0, "3", True, None])
def test_refused_numbers_of_classes(n_classes):
    assert_refused(lambda: MulticlassFocalLoss(n_classes), f"n_classes={n_classes!r}", "integer >= 2")


def users_of_margins(loss, y):
    return [
        lambda z: loss(y, z),
        lambda z: loss.loss(y, z),
        lambda z: loss.gradient_hessian(y, z),
        lambda z: loss.predict_proba(z),
        lambda z: loss.log_loss(y, z),
    ]


@pytest.mark.parametrize("dtype", [object, str, complex])
def test_refused_dtypes_of_margins(case, dtype):
    z = case.z[:4].astype(dtype)
    for use in users_of_margins(case.loss, case.y[:4]):
        assert_refused(lambda use=use: use(z), f"raw_prediction has dtype {z.dtype}", "pass float32 or float64")


@pytest.mark.parametrize("shape", [(), (4, 2), (4, 1, 1)])
def test_refused_shapes_of_binary_margins(shape):
    users = users_of_margins(BinaryFocalLoss(), np.zeros(4))
    if shape == (4, 2):
        del users[3]  # predict_proba sees no labels: these may be the margins of two
    for use in users:
        assert_refused(lambda use=use: use(np.zeros(shape)), f"has shape {shape}", "shape (n,)", "MulticlassFocalLoss")


@pytest.mark.parametrize("shape", [(), (12,), (4, 2), (4, 4), (3, 4), (4, 3, 1)])
def test_refused_shapes_of_multiclass_margins(shape):
    for use in users_of_margins(MulticlassFocalLoss(3), np.zeros(4)):
        assert_refused(lambda use=use: use(np.zeros(shape)), f"has shape {shape}", "shape (n, 3)", "reshaped")


def test_refused_dtypes_of_labels(case):
    y = np.array(["a", "b", "a"])
    for use in [*users_of_labels(case), case.loss.fit_intercept_only]:
        assert_refused(lambda use=use: use(y), f"y_true has dtype {y.dtype}", "FocalClassifier", "LabelEncoder")


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 2)])
def test_refused_shapes_of_labels(case, shape):
    for use in users_of_labels(case):
        assert_refused(lambda use=use: use(np.zeros(shape)), f"y_true has shape {shape}", "3 rows", "one label a row")


@pytest.mark.parametrize("bad", [-1, 2, np.nan, np.inf])
def test_refused_binary_labels_of_an_intercept(bad):
    assert_refused(lambda: BinaryFocalLoss().fit_intercept_only([0, 1, bad]), str(bad), "[0, 1]")


def test_refused_dtypes_of_weights(case):
    for use in users_of_weights(case):
        assert_refused(lambda use=use: use(["a", "b", "c"]), "sample_weight has dtype <U1", "real numbers")


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 1)])
def test_refused_shapes_of_weights(case, shape):
    for use in users_of_weights(case):
        assert_refused(
            lambda use=use: use(np.ones(shape)), f"sample_weight has shape {shape}", "3 rows", "one weight a row"
        )


def test_weights_must_not_all_be_zero(case):
    y, z = case.y[:3], case.z[:3]
    for use in (case.loss, case.loss.log_loss, lambda y, _, weight: case.loss.fit_intercept_only(y, weight)):
        assert_refused(lambda use=use: use(y, z, np.zeros(3)), "sample_weight is zero in every row", "at least one")


def test_there_is_no_mean_of_no_rows(case):
    assert_refused(lambda: case.loss([], case.z[:0]), "raw_prediction has no rows")
    assert_refused(lambda: case.loss.log_loss([], case.z[:0]), "raw_prediction has no rows")
    assert_refused(lambda: case.loss.fit_intercept_only([]), "y_true has no rows")


@pytest.mark.parametrize("name", ["gradient_out", "hessian_out", "loss_out"])
def test_refused_outputs(case, name):
    use = case.loss.loss if name == "loss_out" else case.loss.gradient_hessian
    shape = (N,) if name == "loss_out" else case.z.shape
    for out, shown in ((np.zeros(shape, int), "int64"), ([0.0] * N, "list"), (np.zeros(shape, np.float16), "float16")):
        assert_refused(lambda out=out: use(case.y, case.z, **{name: out}), name, "float32 or float64", shown)
    short = np.zeros(shape)[1:]
    assert_refused(lambda: use(case.y, case.z, **{name: short}), f"{name} has shape {short.shape}", "must agree")
    frozen = read_only(np.zeros(shape))
    assert_refused(lambda: use(case.y, case.z, **{name: frozen}), f"{name} is read-only", "written to")
    margins = case.z if shape == case.z.shape else case.z[:, 0]
    assert_refused(lambda: use(case.y, case.z, **{name: margins[::-1]}), f"{name} overlaps raw_prediction", "its own")


def test_parameters_that_are_left_out():
    defaults = {"gamma": 1.0, "alpha": None, "hessian": "expected", "max_step": 8.0, "link": "logit"}
    assert BinaryFocalLoss() == BinaryFocalLoss(**defaults)
    assert MulticlassFocalLoss(3) == MulticlassFocalLoss(3, **defaults)
    assert repr(BinaryFocalLoss()) == repr(BinaryFocalLoss(**defaults))
