"""A fitted FocalClassifier as an ONNX graph that answers with posterior probabilities.

The trees are converted by onnxmltools. The posterior map follows them as ordinary nodes in double precision, in the
logarithmic form of `focal_boost.kernels.numpy`, so that it is exact at margins of any size.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from focal_boost._adapter import library_of

if TYPE_CHECKING:
    import onnx

    from focal_boost.classifier import FocalClassifier

__all__ = ["to_onnx"]

_OPSET, _ML_OPSET = 17, 3


def to_onnx(model: FocalClassifier) -> onnx.ModelProto:
    """Convert a fitted FocalClassifier to ONNX.

    Parameters
    ----------
    model : FocalClassifier
        Of trees on numbers: no categorical splits, linear leaves or dart of XGBoost.

    Returns
    -------
    onnx.ModelProto
        Input ``X``, float32 of shape (n, n_features), NaN where a value is missing. Outputs ``margins``, double of
        shape (n, 1) or (n, K), and ``probabilities``, double of shape (n, K): the posterior, or sigma or softmax of
        the margins for ``posterior=False``. The labels are in the metadata under ``classes``. With early stopping,
        the rounds up to the best one.

    Raises
    ------
    ImportError
        If onnx or onnxmltools is not installed: ``pip install 'focal_boost[onnx]'``.
    ValueError
        If the model has something that the graph cannot express.

    Notes
    -----
    Leaves are kept and summed in float32. Thresholds of LightGBM are rounded down to float32, which decides the same
    for each float32 value.

    Examples
    --------
    >>> import numpy as np
    >>> from lightgbm import LGBMClassifier
    >>> from focal_boost import FocalClassifier
    >>> from focal_boost.onnx import to_onnx
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> model = FocalClassifier(LGBMClassifier(n_estimators=5, verbosity=-1)).fit(X, y)
    >>> [output.name for output in to_onnx(model).graph.output]
    ['margins', 'probabilities']
    """
    try:
        import onnx
        import onnxmltools  # noqa: F401
    except ImportError as error:
        raise ImportError("conversion to ONNX needs more packages: pip install 'focal_boost[onnx]'") from error
    check_is_fitted(model)
    if isinstance(model.classes_, list):
        raise ValueError(
            f"the model has {len(model.classes_)} columns of labels, which the graph does not express: train a model a "
            "label with sklearn.multioutput.MultiOutputClassifier and convert each"
        )
    convert = {"focal_boost.xgboost": _convert_xgboost, "focal_boost.lightgbm": _convert_lightgbm}
    trees, outputs = convert[library_of(model.estimator_).__name__](model)
    loss = model.loss_
    nodes = _Nodes()
    nodes.append(_margins_node(trees, outputs, loss.n_outputs))
    nodes.add("Cast", ["raw"], "margins", to=onnx.TensorProto.DOUBLE)
    if loss.n_outputs == 1:
        logit = _binary_logit(nodes, loss) if model.posterior else "margins"
        nodes.add("Sigmoid", [logit], "positive")
        nodes.add("Sigmoid", [nodes.add("Neg", [logit])], "negative")
        nodes.add("Concat", ["negative", "positive"], "probabilities", axis=1)
    else:
        logits = _log_posterior(nodes, loss) if model.posterior else "margins"
        nodes.add("Softmax", [logits], "probabilities", axis=1)
    return _finish(nodes, model)


def _finish(nodes: _Nodes, model: Any) -> Any:
    import onnx
    from onnx import helper

    graph = helper.make_graph(
        nodes.found,
        "focal_boost",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, model.n_features_in_])],
        [
            helper.make_tensor_value_info("margins", onnx.TensorProto.DOUBLE, [None, model.loss_.n_outputs]),
            helper.make_tensor_value_info("probabilities", onnx.TensorProto.DOUBLE, [None, len(model.classes_)]),
        ],
        nodes.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, producer_name="focal_boost", ir_version=8)
    helper.set_model_props(proto, {"classes": str(model.classes_.tolist())})
    onnx.checker.check_model(proto)
    return proto


# ---------------------------------------------------------------------------------------------------------------------
# Trees


def _convert_xgboost(model: Any) -> tuple[Any, list[int]]:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster, best = model.estimator_.get_booster(), model.best_iteration_
    kind = model.estimator_.booster
    if kind not in (None, "gbtree"):
        raise ValueError(f"the estimator has booster={kind!r}, whose weights ONNX trees do not have; train gbtree")
    if "c" in (booster.feature_types or []):
        raise ValueError("the booster has categorical features, which are not converted: encode them as numbers")
    booster = booster[: best + 1] if best is not None else booster.copy()
    booster.feature_names = booster.feature_types = None  # the converter knows features by number
    shape = [None, model.n_features_in_]
    trees = convert_xgboost(booster, initial_types=[("X", FloatTensorType(shape))], target_opset=15)
    learner = json.loads(booster.save_raw("json"))["learner"]
    return trees, learner["gradient_booster"]["model"]["tree_info"]


def _convert_lightgbm(model: Any) -> tuple[Any, list[int]]:
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    from focal_boost._lightgbm_text import round_thresholds

    booster = lightgbm.Booster(model_str=round_thresholds(model.estimator_.booster_))
    shape = [None, model.n_features_in_]
    trees = convert_lightgbm(booster, initial_types=[("X", FloatTensorType(shape))], target_opset=15, zipmap=False)
    outputs = booster.num_model_per_iteration()
    return trees, [tree % outputs for tree in range(booster.num_trees())]


def _margins_node(trees: Any, outputs: list[int], n_outputs: int) -> Any:
    """The converter's classifier as a regressor: the same trees, whose sums are the margins.

    Which output a tree adds to is taken from the booster: the converter numbers two classes in its own way, and knows
    of one tree a round and class only.
    """
    from onnx import helper

    (ensemble,) = (node for node in trees.graph.node if node.op_type == "TreeEnsembleClassifier")
    found = {one.name: helper.get_attribute_value(one) for one in ensemble.attribute}
    kept = {name: value for name, value in found.items() if name.startswith("nodes_")}
    targets = {name.replace("class_", "target_"): value for name, value in found.items() if name.startswith("class_")}
    targets["target_ids"] = [outputs[tree] for tree in targets["target_treeids"]]
    base = list(found.get("base_values", []))
    kept["nodes_modes"] = [mode.decode() for mode in kept["nodes_modes"]]
    node = helper.make_node(
        "TreeEnsembleRegressor", ["X"], ["raw"], domain="ai.onnx.ml", n_targets=n_outputs, **kept, **targets
    )
    if base:
        node.attribute.append(helper.make_attribute("base_values", base[-n_outputs:]))
    return node


# ---------------------------------------------------------------------------------------------------------------------
# Posterior


class _Nodes:
    """A list of nodes that grows; each method returns the name of what it computes."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.constants: list[Any] = []

    def append(self, node: Any) -> None:
        self.found.append(node)

    def add(self, kind: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = name or f"v{len(self.found)}"
        self.found.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def log1p(self, x: str) -> str:
        """log(1 + x) for x >= 0 by Goldberg's quotient, exact to rounding also where 1 + x is 1."""
        one = self.constant(1.0)
        u = self.add("Add", [x, one])
        less = self.add("Sub", [u, one])
        none = self.add("Equal", [less, self.constant(0.0)])
        safe = self.add("Where", [none, one, less])
        quotient = self.add("Div", [self.add("Mul", [self.add("Log", [u]), x]), safe])
        return self.add("Where", [none, x, quotient])

    def ratio(self, numerator: str, small: str) -> str:
        """Quotient of two numbers that underflow together, 1 in the limit."""
        zero, one = self.constant(0.0), self.constant(1.0)
        none = self.add("Equal", [small, zero])
        return self.add("Where", [none, one, self.add("Div", [numerator, self.add("Where", [none, one, small])])])


def _binary_logit(nodes: _Nodes, loss: Any) -> str:
    """Nodes of `focal_boost.kernels.numpy.binary_posterior_logit`."""
    one, gamma = nodes.constant(1.0), nodes.constant(loss.gamma)
    x = nodes.add("Abs", ["margins"])
    e = nodes.add("Exp", [nodes.add("Neg", [x])])
    cost_big = nodes.log1p(e)
    cost_small = nodes.add("Add", [x, cost_big])
    big = nodes.add("Div", [one, nodes.add("Add", [one, e])])
    small = nodes.add("Mul", [e, big])
    rho_small = nodes.add("Div", [cost_small, big])
    rho_big = nodes.ratio(cost_big, small)

    def term(probability: str, rho: str) -> str:
        return nodes.log1p(nodes.add("Mul", [gamma, nodes.add("Mul", [probability, rho])]))

    far = nodes.add("Mul", [nodes.constant(loss.gamma + 1.0), x])
    odd = nodes.add("Sub", [nodes.add("Add", [far, term(small, rho_small)]), term(big, rho_big)])
    w0, w1 = loss._class_weight
    return nodes.add("Add", [nodes.add("Mul", [odd, nodes.add("Sign", ["margins"])]), nodes.constant(np.log(w0 / w1))])


def _log_posterior(nodes: _Nodes, loss: Any) -> str:
    """Nodes of `focal_boost.kernels.numpy.multiclass_log_posterior`: log p - gamma log q - log(1 + gamma p a / q).

    The complement q of each class is the sum of the other exponentials, as a logarithm taken without that class.
    """
    k = loss.n_classes
    gamma = nodes.constant(loss.gamma)
    # (n, K, K): row k holds the margins of the other classes, and next to nothing in its own place
    own = nodes.constant(np.where(np.eye(k, dtype=bool), -1e300, 0.0)[None])
    spread = nodes.add("Unsqueeze", ["margins", nodes.constant([1], np.int64)])
    others = nodes.add("ReduceLogSumExp", [nodes.add("Add", [spread, own])], axes=[2], keepdims=0)
    d = nodes.add("Sub", ["margins", others])  # the logit of p
    e = nodes.add("Exp", [nodes.add("Neg", [nodes.add("Abs", [d])])])
    low = nodes.log1p(e)
    zero = nodes.constant(0.0)
    a = nodes.add("Add", [nodes.add("Max", [nodes.add("Neg", [d]), zero]), low])
    b = nodes.add("Add", [nodes.add("Max", [d, zero]), low])
    p = nodes.add("Sigmoid", [d])
    q = nodes.add("Exp", [nodes.add("Neg", [b])])
    rho = nodes.ratio(a, q)
    bent = nodes.log1p(nodes.add("Mul", [gamma, nodes.add("Mul", [p, rho])]))
    logits = nodes.add("Sub", [nodes.add("Sub", [nodes.add("Mul", [gamma, b]), a]), bent])
    weights = nodes.constant(np.log(loss._class_weight)[None])
    return nodes.add("Sub", [logits, weights])
