"""Everything that can be wrong with what is passed to this package, as data: one row for each, with its error.

`test_bad_input` tries every row; docs/bad_input.md is made from `GROUPS` (scripts/bad_input_table.py). A row changes
one thing in a call that is fine otherwise: `change(library)` gives the arguments to replace, by name. Its error is
raised before any training.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import dask.array as da
import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse as sp
import xgboost as xgb
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from focal_boost import BinaryFocalLoss, FocalClassifier, MulticlassFocalLoss

N, FEATURES = 60, 4
BOTH = ("lightgbm", "xgboost")
LGB, XGB = BOTH[:1], BOTH[1:]


@dataclass(frozen=True)
class Row:
    """What is wrong, where, how to provoke it, and what the error says: the value, the problem, the way out."""

    name: str
    call: str  # fit, predict, objective or loss
    change: Callable[[str], dict[str, Any]]
    says: tuple[str, ...]  # regular expressions
    error: type[Exception] = ValueError
    libraries: tuple[str, ...] = BOTH

    def __str__(self) -> str:
        return f"{self.call}: {self.name}"


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, FEATURES))


def codes(n_classes: int = 2) -> np.ndarray:
    return np.digitize(numbers()[:, 0], {2: [0.0], 3: [-0.5, 0.5]}[n_classes])


def names(n_classes: int = 2) -> np.ndarray:
    return np.array(["no", "yes", "zoo"])[codes(n_classes)]


def dates() -> np.ndarray:
    return np.array(["2020-01-01", "2021-01-01"], "M8[D]")[codes()]


def frame() -> pd.DataFrame:
    return pd.DataFrame(numbers(), columns=list("abcd"))


def estimator(library: str, **params: Any) -> Any:
    if library == "lightgbm":
        return lgb.LGBMClassifier(**{"n_estimators": 3, "verbosity": -1, "n_jobs": 1, **params})
    return xgb.XGBClassifier(**{"n_estimators": 3, "n_jobs": 1, **params})


def with_value(array: np.ndarray, value: Any, row: int = 3) -> np.ndarray:
    changed = array.astype(np.result_type(array, type(value)) if isinstance(value, float) else object)
    changed[row] = value
    return changed


def new_strings(values, **options):
    """NumPy's own strings, which NumPy 1 does not have."""
    kind = getattr(np.dtypes, "StringDType", None)
    return np.array(values, kind(**options) if kind else object)


def missing(labels: Any, value: Any = None) -> list[Any]:
    return [value if row == 3 else label for row, label in enumerate(np.asarray(labels).tolist())]


def with_column(values: Any, kind: str) -> Any:
    """A table of Arrow or polars with such a column beside one of numbers."""
    columns = pl.DataFrame({"a": numbers()[:, 0], "b": values})
    return columns if kind == "polars" else columns.to_arrow()


def categories(kind: Any = str) -> pd.DataFrame:
    return frame().assign(b=pd.Categorical([kind(row % 3) for row in range(N)]))


def masked(array: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) == 7)


def on_gpu(shape: tuple[int, ...]) -> Any:
    """As much of an array of CuPy's as tells that it lies on a GPU."""
    interface = {"shape": shape, "typestr": "<f4", "data": (0, False), "version": 3, "stream": 1}
    kind = type("ndarray", (), {"__module__": "cupy", "__cuda_array_interface__": interface, "shape": shape})
    return kind()


def fit(name, says, change=None, *, error=ValueError, libraries=BOTH, **fixed):
    return Row(name, "fit", change or (lambda library: fixed), _parts(says), error, libraries)


def setting(name, says, *, error=ValueError, libraries=BOTH, also=None, **params):
    """A parameter of the inner estimator."""
    return Row(
        name,
        "fit",
        lambda library: {"estimator": estimator(library, **params), **(also or {})},
        _parts(says),
        error,
        libraries,
    )


def loss(name, says, *, error=ValueError, **fixed):
    return Row(name, "loss", lambda library: fixed, _parts(says), error, BOTH[:1])


def objective(name, says, change=None, *, error=ValueError, libraries=BOTH, **fixed):
    return Row(name, "objective", change or (lambda library: fixed), _parts(says), error, libraries)


def predict(name, says, change=None, *, error=ValueError, libraries=BOTH, **fixed):
    return Row(name, "predict", change or (lambda library: fixed), _parts(says), error, libraries)


def _parts(says):
    return (says,) if isinstance(says, str) else says


def fit_argument(lightgbm_name: str, xgboost_name: str):
    """The same argument of fit under each library's name."""
    return lambda value, **others: (
        lambda library: {
            (lightgbm_name if library == "lightgbm" else xgboost_name): value(library) if callable(value) else value,
            **others,
        }
    )


VALID = [(numbers()[:20], names()[:20])]
start = fit_argument("init_score", "base_margin")
eval_weight = fit_argument("eval_sample_weight", "sample_weight_eval_set")
eval_start = fit_argument("eval_init_score", "base_margin_eval_set")
earlier = fit_argument("init_model", "xgb_model")


def trained(library: str, n_classes: int = 2, features: int = FEATURES) -> FocalClassifier:
    return FocalClassifier(estimator(library)).fit(numbers()[:, :features], names(n_classes))


def ranker(library: str) -> Any:
    return lgb.LGBMRanker() if library == "lightgbm" else xgb.XGBRanker()


def regressor(library: str) -> Any:
    return lgb.LGBMRegressor() if library == "lightgbm" else xgb.XGBRegressor()


class NotAnEstimator:
    pass


def random_forest(library: str, scale_pos_weight: float | None = 3) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return xgb.XGBRFClassifier(n_estimators=3, n_jobs=1, scale_pos_weight=scale_pos_weight)


GAMMA = (r"not a finite number >= 0", "1.0 is the default")
ALPHA = (r"is not in \(0, 1\)", r"pass the pair \(w_0, w_1\)")
STEP = ("not a positive number", "such as 8.0, or None")
INSTANCE = ("is not an XGBClassifier, XGBRFClassifier or LGBMClassifier", "pass an instance")
DROP = "drop"
ONE_A_ROW = "one label a row"

PARAMETERS = [
    *(
        fit(f"gamma is {shown}", (rf"gamma={pattern}", *GAMMA), gamma=value)
        for shown, pattern, value in [
            ("negative", "-1", -1),
            ("NaN", "nan", np.nan),
            ("infinite", "inf", np.inf),
            ("a string", "'2'", "2"),
            ("a bool", "True", True),
            ("None", "None", None),
            ("complex", "1j", 1j),
        ]
    ),
    fit("gamma is too large for single precision", ("gamma=1000", "vanish", "1.0 is the default"), gamma=1000),
    *(
        fit(f"alpha is {value}", (f"alpha={value}", *ALPHA), alpha=value)
        for value in (0, 1, 0.0, 1.0, -0.5, 2.0, np.nan, True)
    ),
    fit("alpha is so small that the class is gone", ("alpha=1e-320", "single precision", "ratio"), alpha=1e-320),
    fit("alpha holds huge weights", (r"1e\+300", "infinity", "scale them"), alpha=(1e300, 1.0)),
    fit("alpha is an unknown string", ("alpha='heavy'", "'balanced'"), alpha="heavy"),
    fit("alpha is bytes", ("alpha=b'balanced'", "one positive weight per class"), alpha=b"balanced"),
    fit("alpha has too few weights", (r"alpha=\[1.0\] holds 1 weights", "2 classes", "one positive"), alpha=[1.0]),
    fit("alpha has too many weights", ("holds 3 weights", "2 classes", "one positive weight"), alpha=[1, 2, 3]),
    fit("alpha is two-dimensional", ("holds 2 weights", "one positive weight per class"), alpha=[[1, 2]]),
    *(
        fit(f"alpha holds {bad}", (rf"alpha=\[1, {bad}\]", "not a positive finite", "remove its rows"), alpha=[1, bad])
        for bad in (0, -2, np.nan, np.inf)
    ),
    fit("alpha holds a string", (r"alpha=\['a', 'b'\]", "no number", "positive weight"), alpha=["a", "b"]),
    fit("alpha is a set", ("alpha={1, 2}", "one positive weight per class"), alpha={1, 2}),
    fit("alpha is complex", ("alpha=1j", "one positive weight per class"), alpha=1j),
    fit("gamma is masked", ("gamma=masked", *GAMMA), gamma=np.ma.masked),
    fit("gamma is a bool of NumPy", ("gamma=.*True", *GAMMA), gamma=np.bool_(True)),
    fit("gamma of the classes are bools", ("gamma=True", *GAMMA), gamma=np.array([True, False])),
    fit("alpha of the classes are bools", ("holds something that is no number", "positive weight"), alpha=[True, True]),
    *(
        fit(
            f"validation_fraction is {value!r}",
            (f"validation_fraction={value!r} is not a number between 0 and 1", "0.1 holds out a tenth"),
            validation_fraction=value,
        )
        for value in (0, 1, -0.1, 1.5, np.nan, True, "0.1", 5)
    ),
    fit(
        "validation_fraction is less than a row a class",
        ("validation_fraction=0.001 cannot be held out of 60 rows", "another fraction, or pass an eval_set"),
        validation_fraction=0.001,
    ),
    fit(
        "validation_fraction of a random forest",
        ("trains one round", "leave validation_fraction out"),
        lambda library: {
            "estimator": random_forest(library, scale_pos_weight=None),
            "validation_fraction": 0.2,
        },
        libraries=XGB,
    ),
    fit("groups without validation_fraction", ("groups", "None: set it, e.g. 0.1"), groups=np.arange(N)),
    fit(
        "groups are too few",
        (r"groups has shape \(5,\)", "60 rows", "one group a row"),
        groups=np.arange(5),
        validation_fraction=0.2,
    ),
    fit(
        "groups are one group",
        ("cannot be held out", "n_splits=1", "pass an eval_set"),
        groups=np.zeros(N),
        validation_fraction=0.2,
    ),
    fit(
        "a class is in one group",
        ("holds out all rows of", "in one group", "pass an eval_set"),
        groups=names(),
        validation_fraction=0.2,
    ),
    fit("alpha is one number for three classes", ("alpha=0.3", "3 classes", "mapping"), alpha=0.3, y=names(3)),
    fit("alpha lacks a label", (r"\['no'\]", r"\['no', 'yes'\]", "give one for each"), alpha={"no": 1}),
    fit("alpha has an unknown label", ("'zoo'", "give one for each"), alpha={"no": 1, "yes": 2, "zoo": 3}),
    fit("alpha maps to a string", ("'x'", "no number", "positive weight"), alpha={"no": 1, "yes": "x"}),
    fit("alpha maps to a negative weight", ("-1", "not a positive finite"), alpha={"no": 1, "yes": -1}),
    fit(
        "alpha is balanced over a class without weight",
        ("'balanced'", r"\['yes'\]", "needs weight in every class"),
        alpha="balanced",
        sample_weight=(codes() == 0) * 1.0,
    ),
    *(
        fit(f"hessian is {value!r}", (f"hessian={value!r}".replace("[", r"\["), "'expected'.*'exact'"), hessian=value)
        for value in ("gauss", None, 1, ["expected"])
    ),
    *(
        fit(f"max_step is {value!r}", (f"max_step={value!r}".replace("[", r"\["), *STEP), max_step=value)
        for value in (0, -1.0, np.nan, "8", True, [8.0])
    ),
    fit("max_step is too small for single precision", ("max_step=1e-300", "overflows", "8.0"), max_step=1e-300),
    fit("gamma is an array of one", (r"gamma=array\(\[2.\]\)", "1 values", "2 classes"), gamma=np.array([2.0])),
    fit("gamma is of three classes", (r"gamma=\(1, 2, 3\)", "3 values", "2 classes"), gamma=(1, 2, 3)),
    fit("gamma is of other labels", ("gamma has values for.*zoo", "no.*yes", "one for each"), gamma={"zoo": 1.0}),
    fit("gamma of a class is negative", ("gamma=-1.0", *GAMMA), gamma={"no": 1.0, "yes": -1.0}),
    fit("the estimator is a class", INSTANCE, lambda library: {"estimator": type(estimator(library))}, error=TypeError),
    fit("the estimator is a string", ("'lightgbm'", *INSTANCE), error=TypeError, estimator="lightgbm"),
    fit("the estimator is another one", INSTANCE, error=TypeError, estimator=LogisticRegression()),
    fit("the estimator is no estimator", INSTANCE, error=TypeError, estimator=NotAnEstimator()),
    fit(
        "the estimator is a pipeline",
        INSTANCE,
        lambda library: {"estimator": make_pipeline(StandardScaler(), estimator(library))},
        error=TypeError,
    ),
    fit(
        "the estimator is a FocalClassifier",
        INSTANCE,
        lambda library: {"estimator": FocalClassifier(estimator(library))},
        error=TypeError,
    ),
    fit(
        "the estimator is a ranker",
        ("Ranker", "for classification", "pass one of XGB"),
        lambda library: {"estimator": ranker(library)},
        error=TypeError,
    ),
    fit(
        "the estimator is a regressor",
        ("Regressor", "for classification", "pass one of XGB"),
        lambda library: {"estimator": regressor(library)},
        error=TypeError,
    ),
    fit(
        "the estimator is a booster",
        ("Booster", "not an XGBClassifier|seem to be a scikit-learn estimator|pass an"),
        lambda library: {"estimator": trained(library).estimator_._Booster},
        error=TypeError,
    ),
]

CONFLICTS = [
    setting("scale_pos_weight", ("scale_pos_weight=5", "alpha"), scale_pos_weight=5),
    fit(
        "scale_pos_weight of a forest",
        ("scale_pos_weight=3", "alpha"),
        lambda library: {"estimator": random_forest(library)},
        libraries=XGB,
    ),
    setting("is_unbalance", ("is_unbalance=True", "alpha"), is_unbalance=True),
    setting("class_weight of a library without it", ("class_weight", "alpha"), libraries=XGB, class_weight="balanced"),
    setting(
        "class_weight and alpha",
        ("given twice", r"alpha=\[1, 2\].*class_weight='balanced'", "keep alpha"),
        libraries=LGB,
        class_weight="balanced",
        also={"alpha": [1, 2]},
    ),
    setting("class_weight is unknown", ("'heavy'", "'balanced'"), libraries=LGB, class_weight="heavy"),
    setting("class_weight of other labels", ("no.*yes.*not in class_weight"), libraries=LGB, class_weight={"zoo": 3}),
    setting(
        "an objective of its own", ("objective='cross_entropy|reg:", "own"), objective="cross_entropy", libraries=LGB
    ),
    setting("an objective function", ("objective=<function", "own"), objective=lambda y, z: (z, z)),
    setting("num_class", ("num_class=3", "comes from y", "leave it out"), num_class=3),
    setting("boosting_type rf", ("boosting_type='rf'", "XGBRFClassifier"), libraries=LGB, boosting_type="rf"),
    setting("boosting rf", ("boosting='rf'", "XGBRFClassifier"), libraries=LGB, boosting="rf"),
    setting("a metric of raw scores", ("metric='rmse'", "auc", "function"), libraries=LGB, metric="rmse"),
    setting("a metric of many classes", ("'auc_mu'", "no metric of 2", "auc'"), libraries=LGB, metric="auc_mu"),
    setting(
        "a metric that is a function",
        ("metric=<function", "eval_metric of fit"),
        error=TypeError,
        libraries=LGB,
        metric=lambda y, z: ("m", 0.0, False),
    ),
    fit(
        "an eval_metric of raw scores",
        ("eval_metric='binary_error'", "auc", "function"),
        libraries=LGB,
        eval_metric="binary_error",
    ),
    fit(
        "an eval_metric that is a number",
        ("eval_metric=3", "name of a metric"),
        error=TypeError,
        libraries=LGB,
        eval_metric=3,
    ),
    setting(
        "early stopping without eval_set (parameter)",
        ("early_stopping_rounds=3", "no eval_set", r"pass eval_set=\[\(X_val, y_val\)\]"),
        early_stopping_rounds=3,
    ),
    fit(
        "early stopping without eval_set (callback)",
        ("EarlyStopping", "no eval_set", "pass eval_set="),
        libraries=LGB,
        callbacks=[lgb.early_stopping(3, verbose=False)],
    ),
    setting(
        "early stopping without eval_set (callback)",
        ("EarlyStopping", "no eval_set", "pass eval_set="),
        libraries=XGB,
        callbacks=[xgb.callback.EarlyStopping(rounds=3)],
    ),
    *(
        setting(
            f"base_score is {value!r}",
            (f"base_score={value!r}", "between 0 and 1", "leave it out"),
            libraries=XGB,
            base_score=value,
        )
        for value in (1.5, 0.0, -0.1, np.nan, "half")
    ),
    setting(
        "base_score for two labels, of one",
        (r"base_score=\[0.1, 0.2\]", "between 0 and 1", "leave it out"),
        libraries=XGB,
        base_score=[0.1, 0.2],
    ),
    setting(
        "base_score for another number of classes",
        (r"base_score=\[0.1, 0.2\]", "each of 3 classes", "leave it out"),
        libraries=XGB,
        base_score=[0.1, 0.2],
        also={"y": names(3)},
    ),
    setting("n_jobs is a string", ("n_threads='two'", "not an integer", "None"), libraries=LGB, n_jobs="two"),
    setting("n_jobs is a fraction", ("n_threads=1.5", "not an integer", "None"), n_jobs=1.5),
    fit(
        "callbacks are no list",
        ("callbacks=3", "not a list", "early_stopping"),
        error=TypeError,
        libraries=LGB,
        callbacks=3,
    ),
    fit("an argument of fit that nobody knows", "speed", error=TypeError, speed=3),
]

LABELS = [
    fit("y is None", ("requires y", "None"), y=None),
    fit("y holds NaN", ("Input y contains NaN", DROP), y=with_value(codes(), np.nan)),
    fit("y holds infinity", ("Input y contains infinity", DROP), y=with_value(codes(), np.inf)),
    fit("y holds None", ("y holds None in row 3", DROP), y=with_value(names(), None)),
    fit(
        "y holds NaN among strings",
        ("y holds nan in row 3", DROP),
        y=np.where(np.arange(N) == 3, np.nan, names().astype(object)),
    ),
    fit(
        "y holds NaT", ("Input y contains NaT", DROP), y=np.where(np.arange(N) == 3, np.datetime64("NaT", "D"), dates())
    ),
    fit(
        "y holds a missing category", ("y holds nan in row 0", DROP), y=pd.Series(pd.Categorical([None, *names()[1:]]))
    ),
    fit(
        "y holds a missing nullable integer",
        ("y holds <NA> in row 0", DROP),
        y=pd.Series(pd.array([None, *codes()[1:]], dtype="Int64")),
    ),
    fit("y holds a null of polars", ("y holds None in row 0", DROP), y=pl.Series([None, *names()[1:].tolist()])),
    *(
        fit(f"y is {shown}, one missing", (rf"y holds {value} in row 3", DROP), y=labels)
        for shown, value, labels in [
            ("a list of strings with a NaN", "nan", missing(names(), np.nan)),
            ("objects with the NA of pandas", "<NA>", with_value(names(), pd.NA)),
            ("strings of pandas", "<NA>", pd.Series(missing(names()), dtype="string")),
            ("strings of Arrow in pandas", "<NA>", pd.Series(missing(names()), dtype="string[pyarrow]")),
            ("categories made of strings", "<NA>", pd.Series(missing(names()), dtype="string").astype("category")),
            ("booleans of pandas", "<NA>", pd.Series(missing(codes() == 1), dtype="boolean")),
            ("whole numbers of Arrow in pandas", "<NA>", pd.Series(missing(codes()), dtype="int64[pyarrow]")),
            ("booleans of polars", "None", pl.Series(missing(codes() == 1))),
            ("an array of Arrow", "None", pa.array(missing(names()))),
            ("a dictionary of Arrow", "None", pa.array(missing(names())).dictionary_encode()),
            ("a column of one label a row", "None", [[label] for label in missing(names())]),
            ("NumPy's new strings", "nan", new_strings(missing(names(), np.nan), na_object=np.nan)),
            ("decimals", r"Decimal\('NaN'\)", [Decimal(str(label)) for label in missing(codes(), np.nan)]),
            ("timestamps", "NaT", with_value(dates().astype(object), pd.NaT)),
        ]
    ),
    fit(
        "y has two columns, one missing",
        ("Input y contains NaN", DROP),
        y=with_value(np.column_stack([codes(), codes()]) * 1.0, np.nan),
    ),
    *(
        fit(f"y is {shown}", ("Unknown label type: y holds", "convert them, for instance to str"), y=labels)
        for shown, labels in [
            ("decimals", [Decimal(label) for label in codes().tolist()]),
            ("dates of Python", dates().tolist()),
            ("intervals", pd.cut(numbers()[:, 0], 2)),
            ("periods", pd.Series(pd.PeriodIndex(dates(), freq="Y"))),
        ]
    ),
    fit("y is lazy", ("LazyFrame", r"pass y\.collect\(\)"), error=TypeError, y=pl.LazyFrame({"y": names()})),
    fit("y holds strings and numbers", ("'yes'.*3", "no order", "convert all"), y=with_value(names(), 3)),
    fit("y holds strings and bytes", ("b'a'", "no order", "convert all"), y=with_value(names(), b"a")),
    fit("y is bytes", ("bytes is not supported", "Convert"), error=TypeError, y=np.array([b"a", b"b"])[codes()]),
    fit(
        "y has two columns",
        (r"shape \(60, 2\)", "MultiOutputClassifier"),
        y=np.column_stack([codes(), codes()]),
        libraries=("lightgbm",),
    ),
    fit("y is a scalar", (r"shape \(\)", ONE_A_ROW), y=3),
    fit("y is a generator", (r"shape \(\)", ONE_A_ROW), lambda library: {"y": (label for label in names().tolist())}),
    fit("y is a mapping", (r"shape \(\)", ONE_A_ROW), y={"no": 1}),
    fit("y is sparse", ("Sparse data was passed for y", "toarray"), error=TypeError, y=sp.csr_matrix(codes()[:, None])),
    fit("y is continuous", ("Unknown label type: continuous", r"y holds -?\d\.\d+", "make classes"), y=numbers()[:, 1]),
    fit("y is complex", ("Complex data not supported: y", "make classes"), y=codes() + 0j),
    fit("y has integers of more than 64 bits", (r"1.18059e\+21", "64 bits", "strings"), y=[2**70] * 30 + [1] * 30),
    fit("y is a masked array", ("y is a masked array with 1", "drop their rows"), y=masked(codes())),
    fit("y has one class", (r"only one class, \['no'\]", "at least two", "check the filter"), y=["no"] * N),
    fit("y is empty", ("y has no rows", ONE_A_ROW[:9]), y=[]),
    fit("y is too short", ("y has 59 labels", "X has 60 rows", ONE_A_ROW), y=names()[:59]),
    fit("there is one row", ("only one class", "at least two"), X=numbers()[:1], y=names()[:1]),
    fit(
        "the weights leave one class",
        (r"only one class, \['no'\]", "weight above 0", "at least two"),
        sample_weight=(codes() == 0) * 1.0,
    ),
]

WEIGHTS = [
    *(
        fit(
            f"a weight is {value}",
            (f"sample_weight holds {value:g}", "finite and >= 0", DROP),
            sample_weight=with_value(np.ones(N), value),
        )
        for value in (-1.0, np.nan, np.inf, -np.inf)
    ),
    fit("all weights are zero", ("sample_weight is zero in every row", "at least one"), sample_weight=np.zeros(N)),
    fit(
        "weights are too few",
        (r"sample_weight has shape \(59,\)", "60 rows", "one weight a row"),
        sample_weight=np.ones(59),
    ),
    fit("weights are a column", (r"shape \(60, 1\)", "one weight a row"), sample_weight=np.ones((N, 1))),
    fit(
        "weights are strings",
        ("sample_weight has .* holds .*'a'", "real numbers", "one a row"),
        sample_weight=["a"] * N,
    ),
    fit(
        "weights are numbers in strings",
        ("has .* holds .*'1'", "real numbers"),
        sample_weight=["1"] * N,
    ),
    fit(
        "weights are a word",
        ("sample_weight has .* holds .*'balanced'", "real numbers"),
        sample_weight="balanced",
    ),
    fit("weights are complex", ("sample_weight has .* holds .*1j", "real numbers"), sample_weight=np.full(N, 1j)),
    fit(
        "weights are dates",
        ("has dtype datetime64.* holds", "real numbers"),
        sample_weight=np.zeros(N, "M8[D]"),
    ),
    fit(
        "weights are a mapping",
        ("and holds {'no': 1}", "real numbers"),
        sample_weight={"no": 1},
    ),
    fit("weights are None inside", ("sample_weight holds nan", DROP), sample_weight=[None] * N),
    fit("weights are masked", ("sample_weight is a masked array", "drop"), sample_weight=masked(np.ones(N))),
    fit(
        "weights overflow single precision", (r"1e\+300", "single precision", "scale"), sample_weight=np.full(N, 1e300)
    ),
    fit(
        "weights underflow single precision", ("1e-300", "single precision", "scale"), sample_weight=np.full(N, 1e-300)
    ),
]

MARGINS = [
    fit("start margins are too few", (r"has shape \(5,\)", r"\(60,\)", "one margin each"), start(np.zeros(5))),
    fit("start margins of three classes for two", (r"shape \(60, 3\)", r"\(60,\)"), start(np.zeros((N, 3)))),
    fit(
        "start margins of two classes for three",
        (r"shape \(60, 2\)", r"\(60, 3\)"),
        start(np.zeros((N, 2)), y=names(3)),
    ),
    fit("start margins hold NaN", ("holds nan", "finite", "0 is no opinion"), start(with_value(np.zeros(N), np.nan))),
    fit("start margins hold infinity", ("holds inf", "finite"), start(with_value(np.zeros(N), np.inf))),
    fit("start margins are strings", ("holds .*'a'", "real numbers"), start(["a"] * N)),
    fit("start margins are complex", ("holds .*1j", "real numbers"), start(np.full(N, 1j))),
    fit(
        "start margins of an eval_set are too few",
        (r"\[0\] has shape \(5,\)", r"\(20,\)"),
        eval_start([np.zeros(5)], eval_set=VALID),
    ),
    fit("start margins of no eval_set", ("no eval_set", "both or neither"), eval_start([np.zeros(5)])),
]

CATEGORICAL = pl.Series(["x"] * N, dtype=pl.Categorical)

FEATURES_ROWS = [
    fit("X is None", ("2D array", "None"), X=None),
    fit("X has one dimension", ("Expected 2D array, got 1D", "Reshape"), X=numbers()[:, 0]),
    fit("X has three dimensions", ("dim 3", "dim <= 2"), X=numbers()[:, :, None]),
    fit("X has no rows", (r"0 sample\(s\)", "minimum of 1"), X=numbers()[:0]),
    fit("X has no columns", (r"0 feature\(s\)", "minimum of 1"), X=numbers()[:, :0]),
    fit("X has too few rows", ("y has 60 labels", "X has 59 rows"), X=numbers()[:59]),
    fit("X holds words", ("strings", "numeric"), X=np.full((N, 4), "a")),
    fit("X holds numbers in strings", ("strings", "numeric"), X=numbers().astype(str)),
    fit("X holds a word among objects", ("could not convert string to float: 'a'"), X=with_value(numbers(), "a")),
    fit("X is complex", ("Complex data not supported: X has dtype complex128", "real and imaginary"), X=numbers() + 1j),
    fit(
        "X is sparse and complex",
        ("Complex data not supported: X has dtype complex128", "real and imaginary"),
        X=sp.csr_matrix(numbers() + 1j),
    ),
    fit("X holds dates", ("X has dtype datetime64", "convert them"), X=numbers().astype("M8[s]")),
    fit("X is ragged", ("inhomogeneous|sequence"), X=[[1, 2], [3]] * 30),
    fit("X is a mapping", ("2D array", "Reshape"), X={"a": numbers()[:, 0]}),
    fit("X is structured", ("Expected 2D array", "Reshape"), X=np.zeros(N, dtype=[("a", "f4"), ("b", "f4")])),
    fit(
        "X is on a GPU",
        ("X is a cupy.ndarray", "GPU", "LightGBM reads host memory", r"X\.get\(\)"),
        error=TypeError,
        libraries=LGB,
        X=on_gpu((N, FEATURES)),
    ),
    fit("X is a masked array", ("X is a masked array with 1", "numpy.nan"), X=masked(numbers())),
    fit(
        "X holds infinity",
        ("X holds infinity", "missing values are NaN"),
        libraries=XGB,
        X=with_value(numbers(), np.inf),
    ),
    fit(
        "X holds what single precision does not",
        ("too large for single precision", "replace"),
        libraries=XGB,
        X=with_value(numbers(), 1e300),
    ),
    fit(
        "sparse X holds infinity",
        ("X holds infinity", "replace"),
        libraries=XGB,
        X=sp.csr_matrix(with_value(numbers(), np.inf)),
    ),
    fit("a frame without rows", (r"0 sample\(s\)", "at least one row"), X=frame()[:0]),
    fit("a frame with a column of strings", ("a.*str|object", "encode it|must be int, float"), X=frame().assign(a="x")),
    fit(
        "a frame with a column of dates",
        ("a.*datetime64", "encode it|must be int, float"),
        X=frame().assign(a=pd.Timestamp(0)),
    ),
    fit("a frame of complex numbers", ("complex", "encode it|must be int, float"), X=frame() + 1j),
    fit(
        "a frame with names of two types",
        ("string names", "convert"),
        error=TypeError,
        X=frame().set_axis(["a", 1, "b", 2], axis=1),
    ),
    fit(
        "a frame with a name that LightGBM refuses",
        ("'b,c'", "refuses", "rename"),
        libraries=LGB,
        X=frame().set_axis(["a", "b,c", "d", "e"], axis=1),
    ),
    fit(
        "a frame with a name that XGBoost refuses",
        ("feature_names", r"may not contain"),
        libraries=XGB,
        X=frame().set_axis(["a", "b<", "d", "e"], axis=1),
    ),
    *(
        fit(f"X is {shown}", ("Expected 2D array, got 1D array", "Reshape"), X=values)
        for shown, values in [
            ("a series of pandas", frame()["a"]),
            ("a series of polars", pl.Series(numbers()[:, 0])),
            ("an array of Arrow", pa.array(numbers()[:, 0])),
            ("a chunked array of Arrow", pa.chunked_array([numbers()[:, 0]])),
        ]
    ),
    *(
        fit(f"X is {shown}", (says, "pass "), error=TypeError, X=values)
        for shown, says, values in [
            ("lazy", "LazyFrame", pl.LazyFrame({"a": numbers()[:, 0]})),
            ("a reader of Arrow", "RecordBatchReader", pa.table({"a": numbers()[:, 0]}).to_reader()),
            ("lazy in Dask", "whose rows are not there yet.*compute", da.from_array(numbers())),
            ("XGBoost's own", "DMatrix", xgb.DMatrix(numbers())),
            ("LightGBM's own", "Dataset", lgb.Dataset(numbers())),
        ]
    ),
    fit("a frame without columns", (r"0 feature\(s\)", "at least one column"), X=frame()[[]]),
    fit("an Arrow table without rows", (r"0 sample\(s\)", "at least one row"), X=with_column(0, "arrow")[:0]),
    *(
        fit(
            f"a table of {kind} with a column of {shown}",
            ("column 'b' of X has dtype", "takes numbers", "encode it, or leave it out"),
            X=with_column(values, kind),
        )
        for kind in ("polars", "Arrow")
        for shown, values in [
            ("strings", ["x"] * N),
            ("dates", [date(2024, 1, 1)] * N),
            ("durations", [timedelta(days=1)] * N),
            ("decimals", [Decimal("1.5")] * N),
            ("nothing but nulls", [None] * N),
            ("lists", [[1]] * N),
            ("bytes", [b"x"] * N),
        ]
    ),
    *(
        fit(
            f"a frame of pandas with a column of {shown}",
            ("column 'b' of X has dtype", "takes numbers", "encode it, or leave it out"),
            libraries=libraries,
            X=frame().assign(b=values),
        )
        for shown, values, libraries in [
            ("strings of Arrow", pd.Series(["x"] * N, dtype="string[pyarrow]"), BOTH),
            ("numbers of Arrow", pd.Series(numbers()[:, 0], dtype="double[pyarrow]"), LGB),
            ("objects", pd.Series(numbers()[:, 0], dtype=object), BOTH),
            ("durations", pd.Timedelta(1, "D"), BOTH),
            ("periods", pd.Series(pd.PeriodIndex(dates(), freq="Y")), BOTH),
        ]
    ),
    fit(
        "a polars frame with categories",
        ("b.*Categorical|Categorical.*b", "encode it|Use `polars.Enum`"),
        X=with_column(CATEGORICAL, "polars"),
    ),
    fit(
        "categories without enable_categorical",
        ("'b'.*category", "enable_categorical"),
        lambda library: {"estimator": estimator(library, enable_categorical=False), "X": categories()},
        libraries=XGB,
    ),
    fit(
        "categories that are floats",
        ("'b'.*category", "categories that are no floats"),
        lambda library: {"estimator": estimator(library, enable_categorical=True), "X": categories(float)},
        libraries=XGB,
    ),
]

EVAL_SETS = [
    fit("eval_set is a number", ("eval_set=3", r"pass eval_set=\[\(X_val, y_val\)\]"), eval_set=3),
    fit("eval_set is a mapping", ("eval_set={'a': 1}", "pass eval_set="), eval_set={"a": 1}),
    fit("eval_set is a string", ("eval_set='abc'", "pass eval_set="), eval_set="abc"),
    fit("eval_set holds None", (r"eval_set\[0\] is not a pair", "pass eval_set="), eval_set=[None]),
    fit("eval_set holds an array", (r"eval_set\[0\] is not a pair", "pass eval_set="), eval_set=[numbers()]),
    fit(
        "eval_set holds a triple",
        (r"eval_set\[1\] is not a pair", "pass"),
        eval_set=[VALID[0], (*VALID[0], np.ones(20))],
    ),
    fit("eval_set has no labels", (r"y of eval_set\[0\]|shape \(\)", ONE_A_ROW), eval_set=[(numbers(), None)]),
    fit("eval_set has no features", ("2D array", "None"), eval_set=[(None, names())]),
    fit(
        "eval_set has too few labels",
        (r"y of eval_set\[0\] has 5 labels", "20 rows", ONE_A_ROW),
        eval_set=[(VALID[0][0], names()[:5])],
    ),
    fit("eval_set has too few features", ("2 features.*expecting 4"), eval_set=[(numbers()[:, :2], names())]),
    fit(
        "eval_set has an unseen label",
        (r"eval_set\[0\] hold \['zoo'\]", r"\['no', 'yes'\]", "remove those rows"),
        eval_set=[(numbers(), names(3))],
    ),
    fit(
        "eval_set has encoded labels",
        (r"hold \[0, 1\]|hold \[1, 0\]", r"\['no', 'yes'\]"),
        eval_set=[(numbers(), codes())],
    ),
    fit("eval_set has missing labels", (r"y of eval_set\[0\] holds None", DROP), eval_set=[(numbers(), [None] * N)]),
    fit(
        "eval_set has a missing label of pandas",
        (r"y of eval_set\[0\] holds <NA> in row 3", DROP),
        eval_set=[(numbers(), pd.Series(missing(names()), dtype="string"))],
    ),
    fit(
        "eval_set is one-dimensional",
        (r"got 1D array.*X of eval_set\[0\] is a pandas.Series", "Reshape"),
        eval_set=[(frame()["a"], names())],
    ),
    fit("eval_set has continuous labels", ("continuous", "make classes"), eval_set=[(numbers(), numbers()[:, 1])]),
    fit(
        "eval_set has labels in two columns",
        (r"shape \(60, 2\)", ONE_A_ROW),
        eval_set=[(numbers(), np.column_stack([names(), names()]))],
    ),
    fit("eval_set has no rows", (r"no rows", "one label for each row"), eval_set=[(numbers()[:0], names()[:0])]),
    fit(
        "eval_set is complex",
        (r"Complex data not supported: X of eval_set\[0\] has dtype complex128", "real and imaginary"),
        eval_set=[(numbers() + 1j, names())],
    ),
    fit("eval_set and eval_X", ("given twice", "keep one"), eval_set=VALID, eval_X=VALID[0][0], eval_y=VALID[0][1]),
    fit("eval_X without eval_y", ("eval_y is None", "pass both"), eval_X=VALID[0][0]),
    fit("eval_y without eval_X", ("eval_X is None", "pass both"), eval_y=VALID[0][1]),
    fit(
        "eval_X and eval_y of different lengths",
        ("eval_X holds 2 sets, but eval_y 1", "same length"),
        eval_X=(VALID[0][0],) * 2,
        eval_y=(VALID[0][1],),
    ),
    fit(
        "weights of an eval_set are too few",
        (r"\[0\] has shape \(5,\)", "20 rows"),
        eval_weight([np.ones(5)], eval_set=VALID),
    ),
    fit(
        "weights of an eval_set are negative", (r"\[0\] holds -1", ">= 0"), eval_weight([-np.ones(20)], eval_set=VALID)
    ),
    fit(
        "weights of an eval_set are NaN",
        (r"\[0\] holds nan", "finite"),
        eval_weight([np.full(20, np.nan)], eval_set=VALID),
    ),
    fit(
        "weights of an eval_set are zero",
        (r"\[0\] is zero in every row", "at least one"),
        eval_weight([np.zeros(20)], eval_set=VALID),
    ),
    fit(
        "weights of more eval_sets than there are",
        ("2 entries", "1 pairs", "one for each"),
        eval_weight([np.ones(20)] * 2, eval_set=VALID),
    ),
    fit(
        "weights of an eval_set are no list",
        ("is a ndarray", "not a list with one array"),
        eval_weight(np.ones(20), eval_set=VALID),
    ),
    fit(
        "weights of an eval_set with an unknown number",
        ("entry for 4", "from 0 on"),
        libraries=LGB,
        eval_set=VALID,
        eval_sample_weight={4: np.ones(20)},
    ),
    fit("weights of no eval_set", ("no eval_set", "both or neither"), eval_weight([np.ones(20)])),
]

EARLIER_MODELS = [
    fit("an earlier model that is a number", ("model=3", "pass a Booster"), earlier(3), error=TypeError),
    fit(
        "an earlier model that is not there",
        ("nowhere", "is not there", "pass the path"),
        earlier("nowhere"),
        error=FileNotFoundError,
    ),
    fit(
        "an earlier model that is not fitted",
        ("not fitted yet", "Call 'fit'"),
        earlier(lambda library: FocalClassifier(estimator(library))),
    ),
    fit(
        "an earlier model of other classes",
        (r"\['no', 'yes', 'zoo'\]", r"\['no', 'yes'\]", "make them equal"),
        earlier(lambda library: trained(library, 3)),
    ),
    fit(
        "an earlier model of other features",
        ("n_features_in_ 2", "has 4", "make them equal"),
        earlier(lambda library: trained(library, features=2)),
    ),
    fit(
        "an earlier model of the other library",
        ("model of another library: (LGBM|XGB)Classifier", "continue one of the same library"),
        earlier(lambda library: trained(BOTH[library == "lightgbm"])),
    ),
]

PREDICTIONS = [
    predict("too few features", ("2 features", "expecting 4"), X=numbers()[:, :2]),
    predict("too many features", ("8 features", "expecting 4"), X=np.hstack([numbers(), numbers()])),
    predict("one dimension", ("Expected 2D array", "Reshape"), X=numbers()[0]),
    predict("three dimensions", ("dim 3", "dim <= 2"), X=numbers()[None]),
    predict("no rows", (r"0 sample\(s\)", "minimum of 1"), X=numbers()[:0]),
    predict("None", ("2D array", "None"), X=None),
    predict(
        "complex numbers",
        ("Complex data not supported: X has dtype complex128", "real and imaginary"),
        X=numbers() + 1j,
    ),
    predict("strings", ("strings", "numeric"), X=numbers().astype(str)),
    predict("a word among objects", ("'a'", "convert"), X=with_value(numbers(), "a")),
    predict("dates", ("dtype datetime64", "convert them"), X=numbers().astype("M8[s]")),
    predict(
        "an array on a GPU",
        ("X is a cupy.ndarray", "X.get"),
        error=TypeError,
        libraries=LGB,
        X=on_gpu((N, FEATURES)),
    ),
    predict("a masked array", ("masked array", "numpy.nan"), X=masked(numbers())),
    predict(
        "columns in another order", ("feature names should match", "same order"), train=frame(), X=frame()[list("dcba")]
    ),
    predict(
        "columns of other names", ("names unseen at fit time", "z"), train=frame(), X=frame().rename(columns={"a": "z"})
    ),
    predict("a frame without rows", (r"0 sample\(s\)", "at least one row"), train=frame(), X=frame()[:0]),
    predict(
        "a column of strings", ("a.*str|object", "encode it|must be int, float"), train=frame(), X=frame().assign(a="x")
    ),
    predict(
        "a polars column of strings",
        ("'a'.*String", "encode it"),
        libraries=LGB,
        train=pl.DataFrame({"a": numbers()[:, 0]}),
        X=pl.DataFrame({"a": ["x"] * N}),
    ),
    predict(
        "a category that was not in training",
        ("column 1 of X.* holds the category '3'", "make it missing"),
        libraries=XGB,
        change=lambda library: {
            "estimator": estimator(library, enable_categorical=True),
            "train": categories(),
            "X": categories(lambda row: str(row + 1)),
        },
    ),
    predict(
        "numbers in the place of categories",
        ("column 1 of X.* has another type than in training", "same categories"),
        libraries=XGB,
        change=lambda library: {
            "estimator": estimator(library, enable_categorical=True),
            "train": categories(),
            "X": frame(),
        },
    ),
    predict("lazy rows", ("LazyFrame", r"X\.collect\(\)"), error=TypeError, X=pl.LazyFrame({"a": numbers()[:, 0]})),
    predict("a series", ("Expected 2D array, got 1D", "Reshape"), X=frame()["a"]),
    predict(
        "start margins of other rows",
        (r"base_margin has shape \(5,\)", r"\(60,\)"),
        libraries=XGB,
        X=numbers(),
        base_margin=np.zeros(5),
    ),
    predict("raw_score", ("raw_score=True", "leave it out"), error=TypeError, X=numbers(), raw_score=True),
    predict("output_margin", ("output_margin=True", "leave it out"), error=TypeError, X=numbers(), output_margin=True),
    predict("pred_leaf", ("pred_leaf=True", "predict of estimator_"), error=TypeError, X=numbers(), pred_leaf=True),
    predict(
        "an argument that nobody knows",
        ("speed=3 is none of the arguments", "iteration", "leave it out"),
        error=TypeError,
        X=numbers(),
        speed=3,
    ),
    predict("before fit", ("not fitted yet", "Call 'fit'"), X=numbers(), train=None),
]

SHARED = np.zeros(200)
LOSSES = [
    loss(
        "outputs that are the same array",
        ("gradient_out overlaps hessian_out", "an array of its own"),
        gradient_out=SHARED[:60],
        hessian_out=SHARED[:60],
    ),
    loss(
        "outputs that overlap",
        ("gradient_out overlaps hessian_out", "of its own"),
        gradient_out=SHARED[:60],
        hessian_out=SHARED[30:90],
    ),
    loss(
        "an output that overlaps the margins",
        ("hessian_out overlaps raw_prediction", "of its own"),
        raw_prediction=SHARED[:60],
        hessian_out=SHARED[1:61],
    ),
    loss(
        "an output that is the labels",
        ("gradient_out overlaps y_true", "of its own"),
        y_true=SHARED[:60],
        gradient_out=SHARED[:60],
    ),
    loss(
        "an output that is the weights",
        ("gradient_out overlaps sample_weight", "of its own"),
        sample_weight=SHARED[:60],
        gradient_out=SHARED[:60],
    ),
    *(
        loss(f"n_threads is {value!r}", (f"n_threads={value!r}", "not an integer", "None for all"), n_threads=value)
        for value in (1.5, "2", True)
    ),
    loss("masked labels", ("y_true is a masked array", "drop"), y_true=masked(codes())),
    loss("masked weights", ("sample_weight is a masked array", "drop"), sample_weight=masked(np.ones(N))),
    loss("masked margins", ("raw_prediction is a masked array", "drop"), raw_prediction=masked(np.zeros(N))),
    loss("dates as margins", ("dtype datetime64", "pass float32 or float64"), raw_prediction=np.zeros(N, "M8[s]")),
    loss("an intercept that is a word", ("intercept='low'", "not a margin", "fit_intercept_only"), intercept="low"),
    loss("an intercept that is NaN", ("intercept=nan", "not finite", "fit_intercept_only"), intercept=np.nan),
    loss("an intercept of two labels", ("has 2 margins", r"shape \(60,\)", "fit_intercept_only"), intercept=[0.0, 1.0]),
]

OBJECTIVES = [
    objective("the loss is a string", ("loss='focal'", "pass one of them"), error=TypeError, loss="focal"),
    objective("the loss is a class", ("loss=<class", "pass one of them"), error=TypeError, loss=BinaryFocalLoss),
    objective("the intercept is infinite", ("intercept=inf", "not finite", "fit_intercept_only"), intercept=np.inf),
    objective("the intercept is a word", ("intercept='low'", "not a margin"), intercept="low"),
    objective("the intercept is complex", ("intercept=1j", "not a margin"), intercept=1j),
    objective("the intercept is a matrix", (r"shape \(1, 3\)", "fit_intercept_only"), intercept=np.zeros((1, 3))),
    objective(
        "the intercept is of three labels",
        (r"shape \(3,\)", "MultiOutputClassifier"),
        intercept=np.zeros(3),
        libraries=("lightgbm",),
    ),
    objective("the intercept is of one class", (r"shape \(\)", r"\(3,\)"), loss=MulticlassFocalLoss(3), intercept=0.5),
    objective("n_threads is a string", ("n_threads='two'", "not an integer"), n_threads="two"),
    objective("n_threads is a fraction", ("n_threads=1.5", "not an integer"), n_threads=1.5),
    *(
        objective(f"scale is {value!r}", (f"scale={value!r}", "not a positive number", "1.0 leaves"), scale=value)
        for value in (0, -1.0, np.nan, np.inf, "2", True)
    ),
    objective(
        "margins of three classes for two", (r"shape \(60, 3\)", "MulticlassFocalLoss"), margins=np.zeros((N, 3))
    ),
    objective(
        "margins of two classes for three",
        (r"shape \(60, 2\)", r"\(n, 3\)"),
        loss=MulticlassFocalLoss(3),
        margins=np.zeros((N, 2)),
    ),
    objective(
        "margins of three classes in one vector",
        (r"shape \(180,\)", "reshaped"),
        loss=MulticlassFocalLoss(3),
        margins=np.zeros(3 * N),
    ),
    objective("margins are objects", ("dtype object", "pass float32 or float64"), margins=np.zeros(N, object)),
    objective("margins are complex", ("dtype complex128", "pass float32"), margins=np.zeros(N, complex)),
    objective("labels beyond the classes", ("y_true holds 2", r"\[0, 1\]", "FocalClassifier"), labels=np.full(N, 2.0)),
    objective("labels that are strings", ("y_true has dtype <U3", "LabelEncoder"), labels=names()),
    objective("labels that are NaN", ("y_true holds nan", "FocalClassifier"), labels=np.full(N, np.nan)),
    objective("labels that are too few", (r"shape \(5,\)", "60 rows", ONE_A_ROW), labels=np.zeros(5)),
    objective("weights that are negative", ("sample_weight holds -1", ">= 0", DROP), weights=-np.ones(N)),
    objective("weights that are strings", ("dtype <U1 and holds .*'a'", "real numbers"), weights=np.full(N, "a")),
    objective("weights that are too few", (r"shape \(5,\)", "one weight a row"), weights=np.ones(5)),
]

GROUPS = {
    "Parameters of FocalClassifier": PARAMETERS,
    "Settings of the booster": CONFLICTS,
    "Labels": LABELS,
    "Sample weights": WEIGHTS,
    "Start margins": MARGINS,
    "Features": FEATURES_ROWS,
    "Evaluation sets": EVAL_SETS,
    "Models to continue": EARLIER_MODELS,
    "Predictions": PREDICTIONS,
    "Losses": LOSSES,
    "Objectives": OBJECTIVES,
}
ROWS = [row for rows in GROUPS.values() for row in rows]

# What looks wrong and is not: a fit with these arguments trains.
FINE = {
    "a fitted estimator is cloned": lambda library: {"estimator": estimator(library).fit(numbers(), codes())},
    "None is LGBMClassifier": lambda library: {"estimator": None},
    "labels as bool": lambda library: {"y": codes().astype(bool)},
    "labels as float16": lambda library: {"y": codes().astype(np.float16)},
    "labels at the end of 64 bits": lambda library: {"y": codes().astype(np.uint64) * np.uint64(2**64 - 1)},
    "labels that are dates": lambda library: {"y": dates()},
    "labels as objects that are whole numbers": lambda library: {"y": codes().astype(object)},
    "labels as objects that are bool": lambda library: {"y": (codes() == 1).astype(object)},
    "labels as whole numbers of pandas": lambda library: {"y": pd.Series(codes(), dtype="Int64")},
    "labels as an array of Arrow": lambda library: {"y": pa.array(names())},
    "labels as categories of polars": lambda library: {"y": pl.Series(names(), dtype=pl.Enum(["no", "yes"]))},
    "labels as NumPy's new strings": lambda library: {"y": new_strings(names())},
    "gamma in an array without dimensions": lambda library: {"gamma": np.array(2.0)},
    "alpha in an array without dimensions": lambda library: {"alpha": np.array(0.3), "y": codes()},
    "a validation_fraction": lambda library: {"validation_fraction": 0.2},
    "a validation_fraction and a class of one row": lambda library: {
        "validation_fraction": 0.2,
        "y": with_value(names(), "zoo"),
    },
    "an Arrow batch": lambda library: {"X": pa.RecordBatch.from_pydict({"a": numbers()[:, 0]})},
    "features in the other order of bytes": lambda library: {"X": numbers().astype(">f8")},
    "features as objects with the NA of pandas": lambda library: {"X": with_value(numbers(), pd.NA)},
    "a masked array without a mask": lambda library: {"X": np.ma.masked_array(numbers())},
    "features as float16": lambda library: {"X": numbers().astype(np.float16)},
    "features as bool": lambda library: {"X": numbers() > 0},
    "features as objects that are numbers": lambda library: {"X": numbers().astype(object)},
    "features as lists": lambda library: {"X": numbers().tolist()},
    "sparse whole numbers": lambda library: {"X": sp.dok_array((numbers() > 0).astype(int))},
    "weights as bool": lambda library: {"sample_weight": np.arange(N) % 3 > 0},
    "weights as one number": lambda library: {"sample_weight": 2.0},
    "weights as objects that are numbers": lambda library: {"sample_weight": np.ones(N).astype(object)},
    "a class whose weights are zero": lambda library: {"y": names(3), "sample_weight": (codes(3) > 0) * 1.0},
    "an empty eval_set": lambda library: {"eval_set": []},
    "an infinite max_step": lambda library: {"max_step": np.inf},
    "two rows": lambda library: {"X": numbers()[:2], "y": ["a", "b"]},
}
