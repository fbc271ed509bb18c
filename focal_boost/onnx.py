"""A fitted FocalClassifier as an ONNX graph that answers with class probabilities.

The trees are converted by onnxmltools; sigmoid or softmax follows them in double precision. Importing this module tells
skl2onnx of FocalClassifier, so that ``skl2onnx.to_onnx`` converts a Pipeline that ends in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from focal_boost._adapter import library_of
from focal_boost.classifier import FocalClassifier
from focal_boost.model_selection import FocalClassifierCV

try:
    import onnx
    import onnxmltools  # noqa: F401
    import skl2onnx
    from onnx import TensorProto, helper
except ImportError as _error:
    raise ImportError("conversion to ONNX needs more packages: pip install 'focal_boost[onnx]'") from _error

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["to_onnx"]

_OPSET, _ML_OPSET = 17, 3


def to_onnx(model: Any) -> ModelProto:
    """Convert a fitted FocalClassifier to ONNX.

    Parameters
    ----------
    model : FocalClassifier, FocalClassifierCV, or a search of scikit-learn whose best estimator is a FocalClassifier
        Of trees on numbers where nothing but NaN is missing: no categorical splits, linear leaves, leaves of several
        values, or dart of XGBoost.

    Returns
    -------
    onnx.ModelProto
        Input ``X``, float32 of shape (n, n_features), NaN where a value is missing. Outputs ``margins``, double of
        shape (n, 1) or (n, K), and ``probabilities``, double of shape (n, K). The labels are in the metadata under
        ``classes``. With early stopping, the rounds up to the best one.

    Raises
    ------
    TypeError
        If it is another model; a Pipeline is converted by ``skl2onnx.to_onnx`` once this module is imported.
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
    model = _whole(model)
    margins = [None, model.loss_.n_outputs]
    graph = helper.make_graph(
        list(_nodes(model, "X", "margins", "probabilities", lambda name: name)),
        "focal_boost",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, model.n_features_in_])],
        [
            helper.make_tensor_value_info("margins", TensorProto.DOUBLE, margins),
            helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, len(model.classes_)]),
        ],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, producer_name="focal_boost", ir_version=8)
    helper.set_model_props(proto, {"classes": str(model.classes_.tolist())})
    onnx.checker.check_model(proto)
    return proto


def _whole(model: Any) -> FocalClassifier:
    """The fitted classifier of one column of labels that a model is, or that a search has found best."""
    if not isinstance(model, FocalClassifier):
        model = getattr(model, "best_estimator_", model)
    if not isinstance(model, FocalClassifier):
        raise TypeError(
            f"model is a {type(model).__name__}, not a FocalClassifier: convert a Pipeline that ends in one by "
            "skl2onnx.to_onnx(pipeline, X[:1])"
        )
    check_is_fitted(model)
    if isinstance(model.classes_, list):
        raise ValueError(
            f"the model has {len(model.classes_)} columns of labels, which the graph does not express: train a model a "
            "label with sklearn.multioutput.MultiOutputClassifier and convert each"
        )
    return model


def _nodes(
    model: FocalClassifier, features: str, margins: str, probabilities: str, name: Callable[[str], str]
) -> list[Any]:
    """Nodes from features, float32, to margins and probabilities; `name` makes the names of what is between unique."""
    trees, outputs = library_of(model.estimator_).onnx_trees(model.estimator_, model.n_features_in_)
    raw, positive, opposite, negative = map(name, ("raw", "positive", "opposite", "negative"))
    node = helper.make_node
    nodes = [
        _margins_node(trees, outputs, model.loss_.n_outputs, features, raw),
        node("Cast", [raw], [margins], to=TensorProto.DOUBLE),
    ]
    if model.loss_.n_outputs > 1:
        return [*nodes, node("Softmax", [margins], [probabilities], axis=1)]
    return [
        *nodes,
        node("Sigmoid", [margins], [positive]),
        node("Neg", [margins], [opposite]),
        node("Sigmoid", [opposite], [negative]),
        node("Concat", [negative, positive], [probabilities], axis=1),
    ]


def _margins_node(trees: Any, outputs: list[int], n_outputs: int, features: str, raw: str) -> Any:
    """The converter's classifier as a regressor: the same trees, whose sums are the margins.

    Which output a tree adds to is taken from the booster: the converter numbers two classes in its own way, and knows
    of one tree a round and class only.
    """
    (ensemble,) = (node for node in trees.graph.node if node.op_type == "TreeEnsembleClassifier")
    found = {one.name: helper.get_attribute_value(one) for one in ensemble.attribute}
    kept = {name: value for name, value in found.items() if name.startswith("nodes_")}
    targets = {name.replace("class_", "target_"): value for name, value in found.items() if name.startswith("class_")}
    targets["target_ids"] = [outputs[tree] for tree in targets["target_treeids"]]
    base = list(found.get("base_values", []))
    kept["nodes_modes"] = [mode.decode() for mode in kept["nodes_modes"]]
    node = helper.make_node(
        "TreeEnsembleRegressor", [features], [raw], domain="ai.onnx.ml", n_targets=n_outputs, **kept, **targets
    )
    if base:
        node.attribute.append(helper.make_attribute("base_values", base[-n_outputs:]))
    return node


# ---------------------------------------------------------------------------------------------------------------------
# skl2onnx


def _set_shapes(operator: Any) -> None:
    skl2onnx.common.shape_calculator.calculate_linear_classifier_output_shapes(operator)
    # In single precision for all features: maps from labels, which skl2onnx makes of it, are of no other.
    shape = operator.outputs[1].type.shape
    operator.outputs[1].type = skl2onnx.common.data_types.FloatTensorType(shape)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Put a classifier into a graph of skl2onnx: its most probable label, and the probabilities."""
    model = _whole(operator.raw_operator)
    label, proba = operator.outputs
    features, margins, exact, best, labels = map(
        scope.get_unique_variable_name, ("features", "margins", "exact", "best", "labels")
    )
    nodes = [
        helper.make_node("Cast", [operator.inputs[0].full_name], [features], to=TensorProto.FLOAT),
        *_nodes(model, features, margins, exact, scope.get_unique_variable_name),
        helper.make_node("Cast", [exact], [proba.full_name], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", [exact], [best], axis=1, keepdims=0),
        helper.make_node("Gather", [labels, best], [label.full_name]),
    ]
    is_text = model.classes_.dtype.kind in "UO"
    values = [str(one).encode() for one in model.classes_] if is_text else model.classes_.astype(np.int64)
    container.add_initializer(labels, TensorProto.STRING if is_text else TensorProto.INT64, [len(values)], values)
    for node in nodes:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        version = _ML_OPSET if node.domain else None
        container.add_node(
            node.op_type, list(node.input), list(node.output), op_domain=node.domain, op_version=version, **attributes
        )


for _kind in (FocalClassifier, FocalClassifierCV):
    skl2onnx.update_registered_converter(
        _kind,
        f"FocalBoost{_kind.__name__}",
        _set_shapes,
        _convert,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]},
        overwrite=True,
    )
