"""Focal loss on an NVIDIA GPU: one objective call, a training round, and the bytes that cross to the device.

Kernels against the copy of as many bytes on the same device in the same run, and whole calls, which besides wait for
the device to learn of bad labels; training rounds of XGBoost against its built-in objective, in turns, both with
CUDA's pool of memory (``use_cuda_async_pool``) and without; whole fits of FocalClassifier and XGBClassifier from host
memory; the NumPy objective, and gbdtCBL's under Py-Boost where both are installed. Prints each row as it is measured,
and writes the tables to results/gpu.md after each of them. Needs a GPU, CuPy and XGBoost with CUDA:

    python benchmarks/gpu.py                      # 1e5, 1e6 and 1e7 rows of 50 columns, about 7 minutes
    python benchmarks/gpu.py --rows 1000000 --seconds 120
    python benchmarks/gpu.py --dry                # without a GPU: does everything on tiny tables, times mean nothing
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _report import in_turns, machine, markdown_table, save

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss
from focal_boost.kernels import numpy as numpy_kernels

COLUMNS = 50
SETTINGS = {"max_depth": 6, "learning_rate": 0.1, "tree_method": "hist", "min_child_weight": 0.0, "max_bin": 256}
# Bytes of device memory that one entry needs at the least: margin in, gradient and curvature out, all float32.
BYTES_AN_ENTRY = 12


class Device:
    """A GPU, as far as the benchmark knows it."""

    # Filling them takes longer than it takes to launch a kernel.
    BUSY_BYTES = 2**28

    def __init__(self) -> None:
        from focal_boost.kernels import for_gpu

        self.kernels = for_gpu()
        self.cupy = self.kernels.arrays

    def name(self) -> str:
        """Say what it is."""
        properties = self.cupy.cuda.runtime.getDeviceProperties(self.cupy.cuda.runtime.getDevice())
        return f"{properties['name'].decode()}, CuPy {self.cupy.__version__}"

    def wait(self) -> None:
        """Wait until nothing runs on it."""
        self.cupy.cuda.runtime.deviceSynchronize()

    def seconds(self, call: Callable[[], Any], repeat: int) -> float:
        """Median time of a call, until the device has done all that it asked for."""
        return float(np.median(in_turns({"call": lambda: (call(), self.wait())}, repeat, 0.0)["call"]))

    def device_seconds(self, call: Callable[[], Any], repeat: int) -> float:
        """Median time that the device works on what a call starts, and on nothing else.

        The device is kept busy until all of it waits in the queue, so that no time of the host is in it. A call may
        start one kernel of focal_boost, of which this is the time, or something that does not wait for the device.
        """
        start, end = (self.cupy.cuda.Event() for _ in range(2))
        busy = self.cupy.empty(self.BUSY_BYTES, dtype=np.int8)
        find = self.kernels._kernel
        launched = 0

        def timed(launch: Callable[..., Any]) -> Callable[..., Any]:
            def launch_timed(*args: Any, **kwargs: Any) -> None:
                nonlocal launched
                launched += 1
                busy[...] = 1
                start.record()
                launch(*args, **kwargs)
                end.record()

            return launch_timed

        times = []
        call()
        self.kernels._kernel = lambda *name: timed(find(*name))
        try:
            for _ in range(repeat):
                launched = 0
                call()
                if not launched:
                    timed(call)()
                end.synchronize()
                times.append(self.cupy.cuda.get_elapsed_time(start, end) / 1e3)
        finally:
            self.kernels._kernel = find
        return float(np.median(times))


class DryDevice(Device):
    """The stand-in of the tests."""

    BUSY_BYTES = 1

    def name(self) -> str:
        """Say that it is none."""
        return "no device"


@contextlib.contextmanager
def device(dry: bool) -> Iterator[Device]:
    if dry:
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        import fake_cupy

        with fake_cupy.installed():
            yield DryDevice()
        return
    if reason := missing():
        sys.exit(f"benchmarks/gpu.py needs a GPU: {reason}. --dry checks the script without one.")
    yield Device()


def missing() -> str | None:
    """Why nothing can be measured here."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (pip install 'focal_boost[cuda]')"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA finds none ({error})"
    import xgboost

    return None if xgboost.build_info().get("USE_CUDA") else "XGBoost was built without CUDA (xgboost-cpu?)"


def make_loss(k: int, gamma: float = 2.0, link: Any = "logit") -> Any:
    return BinaryFocalLoss(gamma, link=link) if k == 2 else MulticlassFocalLoss(k, gamma, link=link)


def draw(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A table with signal in half of the columns, and labels; the rarest class has about 3 % of the rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, COLUMNS), dtype=np.float32)
    score = X[:, :25] @ rng.normal(size=25).astype(np.float32) + rng.logistic(size=n).astype(np.float32) * 2
    edges = [0.97] if k == 2 else np.linspace(0.45, 0.97, k - 1)
    return X, np.digitize(score, np.quantile(score, edges))


# ---------------------------------------------------------------------------------------------------------------------
# One call


def copy_bandwidth(on: Device, n_bytes: int) -> float:
    """Bytes a second of a copy within the device that reads and writes so many in all.

    As many as the objective: what fits into the cache of the device is copied, and computed, at more than the speed of
    its memory.
    """
    source = on.cupy.zeros(n_bytes // 8, dtype=np.float32)
    target = on.cupy.empty_like(source)

    def copy() -> None:
        target[...] = source

    return n_bytes / on.device_seconds(copy, 20)


def objective_table(on: Device, sizes: list[int], classes: list[int]) -> str:
    rows = []
    for n in sizes:
        for k in classes:
            rng = np.random.default_rng(0)
            shape = (n,) if k == 2 else (n, k)
            entries = int(np.prod(shape))
            y = rng.integers(0, k, n).astype(np.float32)
            z = rng.normal(0.0, 3.0, shape).astype(np.float32)
            y_there, z_there = on.kernels.asarray(y), on.kernels.asarray(z)
            out = [on.cupy.empty_like(z_there) for _ in range(2)]
            least = BYTES_AN_ENTRY * entries + 4 * n  # labels too
            bandwidth = copy_bandwidth(on, least)
            for link, gamma in ((link, gamma) for link in ("logit", "focal") for gamma in (1.0, 1.5, 2.0)):
                loss = make_loss(k, gamma, link)

                def call() -> None:
                    loss.gradient_hessian(y_there, z_there, None, *out)  # noqa: B023

                seconds = on.device_seconds(call, 20)
                some = slice(0, min(n, 20_000))
                begin = time.perf_counter()
                numpy_derivatives(loss, y[some], z[some])
                plain = (time.perf_counter() - begin) / len(y[some])
                rows.append(
                    [
                        f"{'binary' if k == 2 else f'K = {k}'}, {n:,} rows, {link}, gamma {gamma:g}",
                        f"{seconds / entries * 1e9:.4f}",
                        f"{least / seconds / 1e9:.0f}",
                        f"{bandwidth / 1e9:.0f}",
                        f"{100 * least / seconds / bandwidth:.0f} %",
                        f"{(whole := on.seconds(call, 20)) * 1e6:.0f}",
                        f"{plain * n / whole:.0f}",
                    ]
                )
                print(" ".join(rows[-1]), flush=True)
    header = ["expected curvature", "ns an entry", "GB/s", "copy, GB/s", "share of the copy", "microseconds a call",
              "NumPy, times as long"]  # fmt: skip
    return markdown_table(header, rows)


def numpy_derivatives(loss: Any, y: np.ndarray, z: np.ndarray) -> None:
    numpy_kernels.run("derivatives", loss._parameters, y, z, None, (np.empty_like(z), np.empty_like(z)))


# ---------------------------------------------------------------------------------------------------------------------
# Training


def trainers(X: Any, y: np.ndarray, k: int, place: str) -> dict[str, Callable[[int], Any]]:
    """Ways to train a number of rounds; `X` lies where training is."""
    import xgboost as xgb

    from focal_boost.xgboost import FocalObjective, train

    loss = make_loss(k)
    focal = FocalObjective(loss, loss.fit_intercept_only(y))
    data = xgb.QuantileDMatrix(X, y)
    params = {**SETTINGS, "device": place, **focal.params}

    def on_host(margins: np.ndarray, dtrain: Any) -> Any:
        # Not through focal itself, which would find the booster that calls it, and compute where that trains.
        outputs = [np.empty_like(margins) for _ in range(2)]
        gradient, hessian, fill = focal._prepared(dtrain.get_label(), margins, None, outputs, None)
        fill(margins)
        return gradient, hessian

    def pooled(call: Callable[[int], Any]) -> Callable[[int], Any]:
        def run(rounds: int) -> Any:
            with xgb.config_context(use_cuda_async_pool=True):
                return call(rounds)

        return run

    ways = {
        "built-in": lambda rounds: xgb.train(params, data, rounds),
        "train": lambda rounds: train(params, data, rounds, obj=focal),
        "xgboost.train": lambda rounds: xgb.train(params, data, rounds, obj=focal),
        "on the processor": lambda rounds: xgb.train(params, data, rounds, obj=on_host),
    }
    if place == "cuda":
        ways |= {f"{name}, pool": pooled(ways[name]) for name in ("built-in", "train")}
    return ways


def timed(
    on: Device, calls: dict[str, Callable[[int], Any]], rounds: int, turns: int, seconds: float
) -> dict[str, np.ndarray]:
    """Seconds of each call in each turn: so many turns, or as many as fit into the time, at least one."""
    begin = time.perf_counter()
    for call in calls.values():
        call(2)  # data are binned, kernels compiled, memory pools filled
    on.wait()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns):
        start = time.perf_counter()
        if turn and start - begin + sum(values[-1] for values in times.values()) > seconds:
            break
        for name, call in calls.items():
            before = time.perf_counter()
            call(rounds)
            on.wait()
            times[name].append(time.perf_counter() - before)
    return {name: np.array(values) for name, values in times.items()}


def bytes_a_round(k: int) -> dict[str, int]:
    """Bytes of margins and gradients a row that cross between host and device in a round, from what each way copies."""
    margins = 4 * (1 if k == 2 else k)
    labels = 4
    return {
        "built-in": 0,
        "built-in, pool": 0,
        "train": 2 * margins,
        "train, pool": 2 * margins,
        "xgboost.train": 2 * margins + labels,
        "on the processor": margins + 2 * margins,
    }


def training_table(
    on: Device, sizes: list[int], classes: list[int], rounds: int, turns: int, place: str, seconds: float
) -> str:
    end, rows = time.perf_counter() + seconds, []
    cases = [(n, k) for n in sizes for k in classes]
    # What is left is shared out by the number of rows and outputs.
    work = [n * (1 if k == 2 else k) for n, k in cases]
    for i, (n, k) in enumerate(cases):
        begin = time.perf_counter()
        share = (end - begin) * work[i] / sum(work[i:])
        X, y = draw(n, k)
        if place == "cuda":
            X = on.kernels.asarray(X)
        calls = trainers(X, y, k, place)
        times = timed(on, calls, rounds, turns, share - (time.perf_counter() - begin))
        crossing = bytes_a_round(k)
        for name, measured in times.items():
            ratio = measured / times["built-in"]
            rows.append(
                [
                    f"{'binary' if k == 2 else f'K = {k}'}, {n:,} rows, {name}",
                    f"{float(np.median(measured)) / rounds * 1e3:.2f}",
                    f"{float(np.median(ratio)):.3f}",
                    f"{np.quantile(ratio, 0.25):.2f}-{np.quantile(ratio, 0.75):.2f}",
                    str(len(measured)),
                    str(crossing[name]),
                ]
            )
            print(" ".join(rows[-1]), flush=True)
        # The device's memory for the next, larger one.
        del X, calls
    header = ["", "ms a round", "built-in = 1", "quartiles", "turns", "bytes a row between host and device"]
    return markdown_table(header, rows)


def fit_table(on: Device, sizes: list[int], classes: list[int], rounds: int, turns: int, place: str) -> str:
    """Whole fits from tables in host memory, which are binned and brought to the device in both."""
    from xgboost import XGBClassifier

    from focal_boost import FocalClassifier

    rows = []
    for n, k in ((n, k) for n in sizes if n <= 1_000_000 for k in classes):
        X, y = draw(n, k)
        inner = XGBClassifier(n_estimators=rounds, device=place, **SETTINGS)
        calls = {
            "XGBClassifier": lambda: inner.fit(X, y),  # noqa: B023
            "FocalClassifier": lambda: FocalClassifier(inner, gamma=2.0).fit(X, y),  # noqa: B023
        }
        times = in_turns({name: lambda call=call: (call(), on.wait()) for name, call in calls.items()}, turns, 0.0)
        ratio = times["FocalClassifier"] / times["XGBClassifier"]
        seconds = [f"{float(np.median(values)):.3f}" for values in times.values()]
        spread = f"{np.quantile(ratio, 0.25):.2f}-{np.quantile(ratio, 0.75):.2f}"
        rows.append(
            [f"{'binary' if k == 2 else f'K = {k}'}, {n:,} rows", *seconds, f"{float(np.median(ratio)):.3f}", spread]
        )
        print("fit:", " ".join(rows[-1]), flush=True)
    return markdown_table(
        ["fit from host memory", "XGBClassifier, s", "FocalClassifier, s", "ratio", "quartiles"], rows
    )


def peer_table(n: int, rounds: int) -> str | None:
    """Py-Boost with gbdtCBL's focal loss and with its own log loss; None where they are not installed."""
    try:
        from gbdtCBL.pyboost import FLLoss
        from py_boost import GradientBoosting
    except ImportError:
        return None
    X, y = draw(n, 2)
    calls = {
        "Py-Boost, gbdtCBL's focal loss": lambda: GradientBoosting(FLLoss(2.0), ntrees=rounds, verbose=0).fit(X, y),
        "Py-Boost, log loss": lambda: GradientBoosting("bce", ntrees=rounds, verbose=0).fit(X, y),
    }
    times = in_turns(calls, 3, 0.0)
    rows = [[name, f"{float(np.median(seconds)) / rounds * 1e3:.2f}"] for name, seconds in times.items()]
    return markdown_table([f"binary, {n:,} rows", "ms a round"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--turns", type=int, default=5, help="at most")
    parser.add_argument("--seconds", type=float, default=400.0, help="after which no further turn begins")
    parser.add_argument("--dry", action="store_true", help="tiny tables, no GPU, nothing is written")
    options = parser.parse_args()
    if options.dry:
        options.rows, options.rounds, options.turns = [1000], 2, 1
    with device(options.dry) as on:
        place = "cpu" if options.dry else "cuda"
        begin = time.perf_counter()
        parts = [
            "# On a GPU",
            f"Command: `python benchmarks/gpu.py {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
            f"{on.name()}; {machine()}",
            objective_table(on, options.rows, options.classes),
        ]
        report(parts, options.dry)
        left = options.seconds - (time.perf_counter() - begin)
        parts += [
            f"Training: {COLUMNS} columns on the device, {options.rounds} rounds, medians of turns.",
            training_table(on, options.rows, options.classes, options.rounds, options.turns, place, left),
            fit_table(on, options.rows, options.classes, options.rounds, options.turns, place),
        ]
        report(parts, options.dry)
        peers = None if options.dry else peer_table(min(options.rows), options.rounds)
    if peers:
        report([*parts, peers], options.dry)


def report(parts: list[str], dry: bool) -> None:
    print("\n" + "\n\n".join(parts), flush=True)
    if not dry:
        save("gpu", "\n\n".join(parts))


if __name__ == "__main__":
    main()
