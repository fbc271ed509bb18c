"""Peak memory of training on a table that is read in pieces, with focal loss and with the built-in objective.

Every way of reading and every objective has a process of its own, on the same files, in turns; what counts is the
resident memory beyond that of the process once it has imported the library. The readers are those of
examples/larger_than_memory.py. Prints the table and writes it to results/memory.md with a picture:

    python benchmarks/memory.py                    # a million rows, about three minutes on two cores
    python benchmarks/memory.py --rows 10000000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import RESULTS, machine, markdown_table, save

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from larger_than_memory import COLUMNS, ROUNDS, WAYS, files_in, in_own_process, write


def measure(library: str, way: str, folder: Path, turns: int) -> dict[str, float]:
    """Medians of the peaks of both objectives and of their difference turn by turn, in bytes."""
    peaks: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(turns):
        for focal in peaks:
            result = in_own_process(library, way, folder, focal=focal)
            peaks[focal].append(result.peak)
    built_in, focal = np.array(peaks[False]), np.array(peaks[True])
    return {
        "built_in": float(np.median(built_in)),
        "focal": float(np.median(focal)),
        "difference": float(np.median(focal - built_in)),
        "log_loss": result.log_loss,
    }


def picture(labels: list[str], results: list[dict[str, float]], table_bytes: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axis = plt.subplots(figsize=(9, 0.5 * len(labels) + 1.5), constrained_layout=True)
    place = np.arange(len(labels))
    axis.barh(place - 0.2, [r["built_in"] / 1e6 for r in results], 0.38, color="#999999", label="built-in objective")
    axis.barh(place + 0.2, [r["focal"] / 1e6 for r in results], 0.38, color="#0072B2", label="focal loss")
    axis.axvline(table_bytes / 1e6, color="black", linewidth=1, label="the features as float32")
    axis.set_yticks(place, labels)
    axis.invert_yaxis()
    axis.set(xlabel="peak resident memory of training, MB", title="Memory by way of reading")
    axis.legend(frameon=False)
    RESULTS.mkdir(exist_ok=True)
    fig.savefig(RESULTS / "memory.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the table is written (default: a temporary folder)")
    options = parser.parse_args()
    header = ["", "built-in, MB", "focal, MB", "difference, bytes a row", "log loss"]
    rows, results = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        files = files_in(folder)
        write(files, options.rows)
        table_bytes = files.X.stat().st_size
        for library, ways in WAYS.items():
            for way in ways:
                r = measure(library, way, folder, options.turns)
                results.append(r)
                rows.append(
                    [
                        f"{library}, {way}",
                        f"{r['built_in'] / 1e6:.0f}",
                        f"{r['focal'] / 1e6:.0f}",
                        f"{r['difference'] / options.rows:.1f}",
                        f"{r['log_loss']:.6f}",
                    ]
                )
                print(" ".join(rows[-1]), flush=True)
    table = markdown_table(header, rows)
    picture([row[0] for row in rows], results, table_bytes)
    text = [
        "# Memory",
        f"Command: `python benchmarks/memory.py {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
        machine(),
        f"{options.rows:,} rows of {COLUMNS} float32 columns, {table_bytes / 1e6:.0f} MB; {ROUNDS} rounds, one thread. "
        "Peak resident memory from the import of the library to the end of training, each in a process of its own; "
        "pieces of XGBoost's external memory are files, of which the system keeps in memory what it likes.",
        "The log loss is that of the focal model's probabilities on the first rows: equal within a library where the "
        "same bins are found.",
        table,
        "![memory](memory.png)",
    ]
    print("\n" + table)
    save("memory", "\n\n".join(text))


if __name__ == "__main__":
    main()
