"""What the benchmarks share: timing in turns, the machine's name, memory bandwidth, tables in Markdown."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import focal_boost

RESULTS = Path(__file__).parent / "results"


def in_turns(calls: dict[str, Callable[[], object]], repeat: int, seconds: float = 1.0) -> dict[str, np.ndarray]:
    """Seconds of each call in each of at least `repeat` turns, every call once a turn, after one turn not counted.

    Turns go on until each call has had about `seconds`; calls that are slow by themselves get `repeat` turns.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    while len(next(iter(times.values()))) < repeat or time.perf_counter() - start < seconds:
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    return {name: np.array(values) for name, values in times.items()}


def machine() -> str:
    """Processor, instruction set in use, cores and versions, in a line or two."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    config = focal_boost.show_config(mode="dicts") or {}
    versions = []
    for package in ("numpy", "xgboost", "xgboost-cpu", "lightgbm"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{model}, {config['cpus']} processors, kernels: {config['kernels']} ({config['dispatch']}); "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def copy_bandwidth(bytes_moved: int = 1 << 29) -> float:
    """Bytes a second that one thread reads and writes when it copies an array far larger than the caches."""
    source = np.ones(bytes_moved // 16)
    target = np.empty_like(source)
    times = in_turns({"copy": lambda: np.copyto(target, source)}, repeat=5, seconds=0.0)["copy"]
    return 2 * source.nbytes / float(np.median(times))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table in Markdown with aligned columns, first column left, others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("| " + " | ".join(cells) + " |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def save(name: str, text: str) -> Path:
    """Write a report into the folder of results and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text + "\n")
    print(f"\n{path}")
    return path
