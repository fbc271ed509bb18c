"""A fitted FocalClassifier as an ONNX graph that answers with class probabilities.

The trees are converted by onnxmltools; sigmoid or softmax follows them in double precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        shape (n, 1) or (n, K), and ``probabilities``, double of shape (n, K). The labels are in the metadata under
        ``classes``. With early stopping, the rounds up to the best one.

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
    trees, outputs = library_of(model.estimator_).onnx_trees(model.estimator_, model.n_features_in_)
    n_outputs = model.loss_.n_outputs
    node = onnx.helper.make_node
    nodes = [
        _margins_node(trees, outputs, n_outputs),
        node("Cast", ["raw"], ["margins"], to=onnx.TensorProto.DOUBLE),
    ]
    if n_outputs == 1:
        nodes += [
            node("Sigmoid", ["margins"], ["positive"]),
            node("Neg", ["margins"], ["opposite"]),
            node("Sigmoid", ["opposite"], ["negative"]),
            node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
        ]
    else:
        nodes.append(node("Softmax", ["margins"], ["probabilities"], axis=1))
    return _finish(nodes, model)


def _finish(nodes: list[Any], model: Any) -> Any:
    import onnx
    from onnx import helper

    graph = helper.make_graph(
        nodes,
        "focal_boost",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, model.n_features_in_])],
        [
            helper.make_tensor_value_info("margins", onnx.TensorProto.DOUBLE, [None, model.loss_.n_outputs]),
            helper.make_tensor_value_info("probabilities", onnx.TensorProto.DOUBLE, [None, len(model.classes_)]),
        ],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, producer_name="focal_boost", ir_version=8)
    helper.set_model_props(proto, {"classes": str(model.classes_.tolist())})
    onnx.checker.check_model(proto)
    return proto


# ---------------------------------------------------------------------------------------------------------------------
# Trees


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
