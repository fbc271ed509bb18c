"""The examples run, write what they promise, take a user's own table, and say what is wrong with it."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import fresh
import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")
pytest.importorskip("lightgbm")
pytest.importorskip("xgboost")

EXAMPLES = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


def in_fork(command, check):
    """`subprocess.run` of a program of Python, quicker: one test has the starts that this one spares the others."""
    executable, option, program, *arguments = command
    assert (executable, option, check) == (sys.executable, "-c", True)
    return fresh.run(program, *arguments, imported=fresh.BOOSTERS)


@pytest.fixture
def load(monkeypatch):
    """Import an example as if it were run as a script, with few rounds on one thread."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load_one(name, start=False):
        module = importlib.import_module(name)
        if "_elsewhere" in sys.modules and not start:
            monkeypatch.setattr(sys.modules["_elsewhere"], "subprocess", SimpleNamespace(run=in_fork))
        for settings, threads in (("SETTINGS", "n_jobs"), ("XGBOOST", "nthread"), ("LIGHTGBM", "num_threads")):
            if hasattr(module, settings):
                monkeypatch.setitem(getattr(module, settings), threads, 1)
        for constant, value in (("ROUNDS", 25), ("PATIENCE", 10), ("N_FOLDS", 2)):
            if hasattr(module, constant):
                monkeypatch.setattr(module, constant, value)
        for model in getattr(module, "MODELS", {}).values():
            getattr(model, "estimator", model).set_params(n_jobs=1, n_estimators=20)
        return module

    yield load_one
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def bundled(monkeypatch):
    monkeypatch.delenv("FOCAL_BOOST_DATA", raising=False)


def frame():
    rng = np.random.default_rng(0)
    amount = rng.normal(size=300)
    return pd.DataFrame(
        {
            "amount [EUR]": np.where(rng.random(300) < 0.1, np.nan, amount),
            "country": rng.choice(["AT", "PT", None], 300),
            "online": rng.random(300) < 0.5,
            "is_fraud": np.where(amount + rng.normal(size=300) > 1.8, "yes", "no"),
        }
    )


def write_csv(folder):
    frame().to_csv(folder / "own.csv", index=False)
    return ["--data", str(folder / "own.csv"), "--target", "is_fraud"]


def write_parquet(folder):
    pytest.importorskip("pyarrow")
    frame().to_parquet(folder / "own.parquet")
    return ["--data", str(folder / "own.parquet"), "--target", "is_fraud"]


def write_npz(folder):
    table = frame()
    np.savez(
        folder / "own.npz", X=table[["amount [EUR]", "online"]].to_numpy(dtype=float), y=table["is_fraud"] == "yes"
    )
    return ["--data", str(folder / "own.npz")]


def check_report(out, folder, models):
    for text in (
        "precision",
        "recall",
        "log loss, weighted",
        "textbook focal",
        "Than log loss: ",
        "Than focal_boost, gamma 0: ",
    ):
        assert text in out
    assert out.count("a fresh process without focal_boost gives the same predictions") == len(models)
    for library, model in models.items():
        assert (folder / model).stat().st_size > 0
        assert (folder / f"report_{library}.png").read_bytes().startswith(PNG)


def numbers(out, library):
    """Columns of the report by the name of the model, as numbers."""
    lines = out[out.index(f"\n{library} ") + 1 :].splitlines()[1:6]
    return {
        line[:22].strip(): [float(value.rstrip("%").replace(",", "")) for value in line[22:].split()] for line in lines
    }


def test_fraud_detection(load, tmp_path, capsys):
    load("fraud_detection", start=True).main(["--payments", "60000", "--output", str(tmp_path / "new" / "demo")])
    out = capsys.readouterr().out
    check_report(out, tmp_path / "new" / "demo", {"lightgbm": "model.txt", "xgboost": "model.json"})
    assert "Trained on days 30 to 75, stopped early on 83 to 92, judged on 100 to 129; 7 days between" in out
    share = float(re.search(r"where (.*)% are positive", out)[1])
    for library in ("LightGBM", "XGBoost"):
        rows = numbers(out, library)
        for precision, recall, value, by_risk, *_ in rows.values():
            assert min(precision, recall, value) > 30
            assert max(precision, recall, by_risk) < 100
        # Few rounds on few frauds; but weighted classes give probabilities that no round puts right.
        assert share / 2 < rows["focal_boost"][-1] < 2 * share
        assert rows["log loss, weighted"][-1] > 4 * share
        assert rows["focal_boost"][4] > rows["log loss, weighted"][4]


def test_own_table_by_days(load, tmp_path, capsys):
    rng = np.random.default_rng(0)
    table = pd.concat([frame()] * 4).assign(
        paid=pd.Timestamp("2024-03-01") + pd.to_timedelta(np.sort(rng.random(1200)) * 60, "D")
    )
    table.to_csv(tmp_path / "own.csv", index=False)
    arguments = ["--data", str(tmp_path / "own.csv"), "--target", "is_fraud", "--time", "paid", "--delay", "3"]
    load("fraud_detection").main([*arguments, "--library", "lightgbm", "--alerts", "2", "--output", str(tmp_path)])
    out = capsys.readouterr().out
    assert "Trained on days 0 to 29, stopped early on 33 to 38, judged on 42 to 59; 3 days between" in out
    assert "Budget: 2 alerts a day" in out
    assert "by risk" not in out
    check_report(out, tmp_path, {"lightgbm": "model.txt"})
    assert "give a table of more days" in refusal(load, capsys, [*arguments, "--delay", "25"])
    assert "--time amount [EUR] is empty in" in refusal(load, capsys, [*arguments, "--time", "amount [EUR]"])
    assert "--time is_fraud: write dates as in" in refusal(
        load, capsys, [*arguments, "--target", "online", "--time", "is_fraud"]
    )


@pytest.mark.parametrize(
    ("write", "library"), [(write_csv, "lightgbm"), (write_parquet, "xgboost"), (write_npz, "lightgbm")]
)
def test_own_table(load, tmp_path, capsys, library, write):
    options = ["--library", library, "--gamma", "1", "--alpha", "balanced", "--output", str(tmp_path)]
    load("fraud_detection").main([*write(tmp_path), *options])
    out = capsys.readouterr().out
    positive = int((frame()["is_fraud"] == "yes").sum())
    assert f"300 rows, {positive} positive" in out
    check_report(out, tmp_path, {library: "model.txt" if library == "lightgbm" else "model.json"})


def refusal(load, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        load("fraud_detection").main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_missing_file(load, tmp_path, capsys):
    error = refusal(load, capsys, ["--data", str(tmp_path / "none.csv"), "--target", "y"])
    assert "none.csv: there is no such file" in error


def test_unknown_target(load, tmp_path, capsys):
    error = refusal(load, capsys, [*write_csv(tmp_path)[:2], "--target", "fraud"])
    assert "--target fraud is not a column of own.csv" in error
    assert "is_fraud" in error


def test_target_left_out(load, tmp_path, capsys):
    assert "--target is missing: name one of" in refusal(load, capsys, write_csv(tmp_path)[:2])


def test_target_of_many_values(load, tmp_path, capsys):
    table = frame()
    table["is_fraud"] = np.arange(300) % 3
    table.to_csv(tmp_path / "own.csv")
    error = refusal(load, capsys, ["--data", str(tmp_path / "own.csv"), "--target", "is_fraud"])
    assert "3 distinct values (0, 1, 2)" in error


def test_target_with_gaps(load, tmp_path, capsys):
    error = refusal(load, capsys, [*write_csv(tmp_path)[:2], "--target", "amount [EUR]"])
    assert "is empty in" in error


def test_unknown_format(load, tmp_path, capsys):
    (tmp_path / "own.xlsx").touch()
    error = refusal(load, capsys, ["--data", str(tmp_path / "own.xlsx"), "--target", "y"])
    assert "'.xlsx' are not known" in error


def test_npz_without_labels(load, tmp_path, capsys):
    np.savez(tmp_path / "own.npz", X=np.zeros((3, 1)))
    assert "not ['y']" in refusal(load, capsys, ["--data", str(tmp_path / "own.npz")])


def test_too_few_positives(load, tmp_path, capsys):
    np.savez(tmp_path / "own.npz", X=np.zeros((50, 1)), y=np.arange(50) < 2)
    assert "the rarest class has 2 rows" in refusal(load, capsys, ["--data", str(tmp_path / "own.npz")])


@pytest.mark.parametrize(("option", "value"), [("--alpha", "2"), ("--alpha", "heavy"), ("--gamma", "-1")])
def test_parameter_out_of_domain(load, tmp_path, capsys, option, value):
    assert value in refusal(load, capsys, [*write_npz(tmp_path), option, value])


@pytest.mark.usefixtures("bundled")
def test_anomaly_detection(load, capsys):
    load("anomaly_detection").main(["--repeats", "1", "--budgets", "5", "40"])
    out = capsys.readouterr().out
    for text in ("12 positive", "found in 40", "no model", "At LightGBM's defaults, focal, gamma 1 is "):
        assert text in out


@pytest.mark.usefixtures("bundled")
def test_multiclass(load, capsys):
    load("multiclass").main(["--rounds", "5"])
    out = capsys.readouterr().out
    for text in ("4 classes", "macro-F1", "recall of large_amount (38 rows)", "Best log loss: "):
        assert text in out


@pytest.mark.usefixtures("bundled")
def test_native_api(load, tmp_path, capsys):
    load("native_api").main(["--output", str(tmp_path)])
    out = capsys.readouterr().out
    for text in ("xgb.cv ", "xgb.train ", "lgb.cv ", "lgb.train ", "of a constant"):
        assert text in out
    assert out.count("a fresh process without focal_boost gives the same predictions") == 2
    assert (tmp_path / "xgboost.json").exists()
    assert (tmp_path / "lightgbm.txt").exists()


def test_larger_than_memory(load, monkeypatch, capsys):
    module = load("larger_than_memory")
    if "forkserver" in multiprocessing.get_all_start_methods():
        # Processes as fresh as those that are spawned, but for what is imported.
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(["focal_boost.lightgbm", "focal_boost.xgboost"])
        monkeypatch.setattr(module, "get_context", lambda method: server)
    module.main(["--rows", "12000"])
    out = capsys.readouterr().out
    assert "12,000 rows, 20 columns, 1.0 MB of features" in out
    ways = {line.split()[0]: line.split()[1:] for line in out.splitlines() if " MB " in line and "rows" not in line}
    assert list(ways) == ["DMatrix", "QuantileDMatrix", "ExtMemQuantileDMatrix", "array", "Sequence", "two_round"]
    for peak, _, log_loss, difference in ways.values():
        assert float(peak) > 0
        assert 0.05 < float(log_loss) < 0.2
        assert float(difference) == 0


@pytest.mark.filterwarnings("ignore")  # Dask's own, of ports
def test_dask_cluster(load, monkeypatch, capsys):
    pytest.importorskip("distributed", reason="distributed is not installed")
    module = load("dask_cluster")
    monkeypatch.setattr(module, "PAYMENTS", 20_000)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2000)
    module.main()
    out = capsys.readouterr().out
    assert re.search(r"7,\d+ rows in 4 chunks on 2 workers, \d\.\d+% fraud", out)
    for text in ("log loss of all validation rows 0.", "predict_proba is lazy: dask.array<", "differ by 0"):
        assert text in out


def test_loss_shapes(load, tmp_path, capsys):
    load("loss_shapes").main(["--output", str(tmp_path / "new")])
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:-3]}
    assert rows["0"] == ["1.000"] * 4 + ["1.00"]  # the log loss
    assert rows["2"][:2] == ["0.669", "0.848"]
    assert 1.5 < float(rows["2"][-1]) < 2
    for name in ("row_weight.png", "loss_shapes.png"):
        assert (tmp_path / "new" / name).read_bytes().startswith(PNG)
    for options, message in ((["0", "-1"], "gamma=-1"), (["0"] * 7, "at most 6")):
        with pytest.raises(SystemExit):
            load("loss_shapes").main(["--output", str(tmp_path), "--gammas", *options])
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("bundled")
def test_ensembles(load, capsys):
    load("ensembles").main(["--library", "lightgbm"])
    out = capsys.readouterr().out
    for text in ("bagging of focal", "voting, ", "stacking, ", "calibrated focal", "routed past a scaler"):
        assert text in out
    assert ("\nSMOTE, focal" in out) == (find_spec("imblearn") is not None)


def test_multilabel(load, monkeypatch, capsys):
    module = load("multilabel")
    monkeypatch.setitem(module.SETTINGS, "n_estimators", 10)
    module.main([])
    out = capsys.readouterr().out
    for text in ("6,000 rows", "stolen_card 3.4%", "focal, a tree a label", "focal, vector leaves", "a model a label"):
        assert text in out


def test_soft_labels(load, capsys):
    load("soft_labels").main(["--annotators", "3"])
    out = capsys.readouterr().out
    assert "400 positive" in out
    # Shares tell more than votes, in both libraries.
    losses = {line[:28].strip(): [float(value) for value in line[28:].split()] for line in out.splitlines()[-4:]}
    assert all(np.less(losses["share who said yes"], losses["majority"]))


@pytest.mark.usefixtures("bundled")
def test_tune_with_optuna(load, capsys):
    pytest.importorskip("optuna", reason="tuning needs Optuna")
    load("tune_with_optuna").main(["--trials", "12"])
    out = capsys.readouterr().out
    assert "100 positive" in out
    studies = re.findall(r"(.*): 12 trials, (\d+) of them pruned; best validation log loss (\S+)\n", out)
    assert [name for name, *_ in studies] == ["gamma 0", "gamma tuned"]
    assert sum(int(pruned) for _, pruned, _ in studies) > 0
    assert float(studies[1][2]) <= float(studies[0][2])  # it starts from the best of the first
    assert out.rstrip().endswith((" here.", " would."))


@pytest.mark.usefixtures("bundled")
def test_cost_threshold(load, capsys):
    load("cost_threshold").main(["--miss", "100", "--alarm", "5", "--budget", "0.03"])
    out = capsys.readouterr().out
    rules = {line[:42].strip(): line[42:].split() for line in out.splitlines()[-5:]}
    assert float(rules["alarm / (alarm + miss) = 0.048"][0]) < float(rules["flag nothing"][0])
    (budget,) = [values for name, values in rules.items() if name.startswith("tuned for the budget")]
    assert 0 < float(budget[1].rstrip("%")) < 6


def test_scores_of_thresholds_by_hand(load):
    module = load("cost_threshold")
    y, flagged = np.array([True, True, False, False]), np.array([1, 0, 1, 0])
    assert module.cost(y, flagged, miss=10.0, alarm=2.0) == pytest.approx((10 + 2) / 4)
    assert module.found_within(y, flagged, budget=0.5) == 0.5
    assert module.found_within(y, flagged, budget=0.4) == -0.5


def run_script(name, *arguments):
    """Output of an example in a process of its own: its workers import it as people's clusters do."""
    paths = [str(EXAMPLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    script = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_spark_barrier():
    pytest.importorskip("pyspark", reason="pyspark is in the extra `recipes`, for `make examples-all`")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs a Java runtime")
    out = run_script("spark_barrier")
    for text in ("{0: 3900, 1: 100}", "focal loss: largest difference from one machine", "built-in log loss: largest"):
        assert text in out
    assert "FocalClassifier on Spark: the same 4,000 probabilities as here" in out


def test_ray_train():
    pytest.importorskip("ray", reason="ray is in the extra `recipes`, for `make examples-all`")
    out = run_script("ray_train")
    assert "{0: 3900, 1: 100}" in out
    for library in ("XGBoost", "LightGBM"):
        assert f"{library}, focal loss: " in out
        assert f"{library}, built-in log loss: " in out


def test_track_with_mlflow(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is in the extra `recipes`, for `make examples-all`")
    out = run_script("track_with_mlflow", "--output", str(tmp_path))
    assert "classifier: same probabilities: True" in out
    assert "booster: probabilities, equal to 0.0e+00" in out or "e-16" in out


def test_metrics_by_hand(load):
    data = load("_data")
    y = np.array([0, 1, 0, 1])
    assert data.hits_within(y, np.array([0.1, 0.9, 0.5, 0.5]), 2) == 1.5
    assert data.hits_within(y, np.zeros(4), 9) == 2
    assert data.row_log_loss(y, np.array([0.5, 0.0, 0.0, 1.0])) == pytest.approx([np.log(2), -np.log(1e-15), 0, 0])
    assert data.expected_calibration_error(y, np.array([0.2, 0.7, 0.2, 0.7]), 2) == pytest.approx(0.25)


def test_features_of_payments(load):
    """A window counted by hand, for payments here and there."""
    payments = load("_payments")
    simulated = payments.simulate(30_000)
    table, fraud = payments.features(simulated), simulated[list(payments.KINDS[1:])].any(axis=1)
    assert simulated["time"].is_monotonic_increasing
    assert 0.004 < fraud.mean() < 0.02
    assert (simulated.loc[simulated["large_amount"] & ~simulated["stolen_card"], "amount"] > 220).all()
    for row in range(5, len(simulated), len(simulated) // 20):
        ago = simulated["time"][row] - simulated["time"]
        for days in payments.WINDOWS:
            of_customer = (simulated["customer"] == simulated["customer"][row]) & (ago >= 0) & (ago < days)
            assert table[f"customer_payments_{days}d"][row] == of_customer.sum()
            mean = simulated["amount"][of_customer].mean()
            assert table[f"customer_mean_amount_{days}d"][row] == pytest.approx(mean)
            at_terminal = (simulated["terminal"] == simulated["terminal"][row]) & (ago >= 7) & (ago < 7 + days)
            assert table[f"terminal_payments_{days}d"][row] == at_terminal.sum()
            share = fraud[at_terminal].mean() if at_terminal.any() else 0
            assert table[f"terminal_fraud_share_{days}d"][row] == pytest.approx(share, abs=1e-9)


def test_judged_by_hand(load):
    module = load("fraud_detection")
    y, day, amount = np.array([1, 0, 0, 1]), np.array([3, 3, 5, 5]), np.array([10.0, 10.0, 90.0, 40.0])
    proba = np.array([0.4, 0.3, 0.9, 0.8])
    judged = module.Judged(y, day, amount, {"log loss": proba})
    assert judged.caught("log loss", 1).tolist() == [1, 0]
    assert judged.caught("log loss", 2).tolist() == [1, 1]
    assert judged.value_caught(proba * amount, 1).tolist() == [10, 0]
    assert judged.saved(proba, 3.5).tolist() == [10 - 3.5, -3.5 + 40 - 3.5]


@pytest.mark.data
@pytest.mark.parametrize(
    ("example", "arguments", "name"),
    [
        ("native_api", ["--output"], "mammography"),
        ("anomaly_detection", ["--repeats", "1"], "smtp_kdd"),
        ("multiclass", ["--rounds", "3"], "thyroid0387"),
        ("ensembles", ["--gamma", "1"], "mammography"),
    ],
)
def test_real_table(load, tmp_path, capsys, example, arguments, name):
    folder = os.environ.get("FOCAL_BOOST_DATA")
    if not folder:
        pytest.skip("FOCAL_BOOST_DATA is not set: it names the folder of the evaluation tables")
    if not Path(folder, f"{name}.npz").exists():
        pytest.skip(f"{folder} has no {name}.npz")
    load(example).main([*arguments, str(tmp_path)] if arguments[-1] == "--output" else arguments)
    assert f"Table {name}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("example", "packages", "promised"),
    [
        ("save_and_load", [], ["same probabilities: True", "read by LightGBM alone, same probabilities: True"]),
        (
            "continue_training",
            [],
            ["LGBMClassifier: 25 + 25 rounds", "XGBClassifier: 25 + 25 rounds", "25 more with it"],
        ),
        ("explain", ["shap"], ["contributions add up to the margins", "log-odds", "largest contributions"]),
        (
            "deploy",
            ["onnxruntime", "onnxmltools", "treelite"],
            ["model.onnx: probabilities equal", "Treelite: probabilities equal"],
        ),
        ("track_with_mlflow", ["mlflow"], ["same probabilities: True", "booster: probabilities, equal to"]),
    ],
)
@pytest.mark.usefixtures("bundled")
@pytest.mark.filterwarnings("ignore")  # of the packages that are imported
def test_life_of_a_model(load, tmp_path, capsys, monkeypatch, example, packages, promised):
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with_output = example in ("save_and_load", "deploy", "track_with_mlflow")
    for _ in range(2 if with_output else 1):  # a second run finds what the first one left
        load(example).main(["--output", str(tmp_path)] if with_output else [])
        out = capsys.readouterr().out
        for text in promised:
            assert text in out
