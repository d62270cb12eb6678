"""How long `prepare` takes for large tables, and how much memory, beside pandas and scikit-learn doing the same work.

    python -m benchmarks.data [--rows 100000 1000000 10000000] [--formats csv parquet] [--without-peer]

Each measurement is a process of its own, on a file of 20 columns: 14 numbers, one of which lacks 5 % of its values, three
categories, a yes/no column, a date, and a target of two classes. Ours is the whole stage, with checks and report; the peer
reads the file, finds duplicate rows, splits by class without tearing them apart, fits medians, scales and categories on the
train rows, and writes each split as encoded float32 rows; it checks and reports nothing.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CATEGORIES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")
_CHUNK = 1_000_000


def main() -> int:
    """Print one Markdown row for each size and format."""
    parser = argparse.ArgumentParser(description="Time and memory of prepare on tables of 20 columns.")
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--formats", nargs="+", choices=["csv", "parquet"], default=["csv", "parquet"])
    parser.add_argument("--without-peer", action="store_true", help="measure ours alone")
    parser.add_argument("--measure", nargs=2, metavar=("WHO", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        who, file = options.measure
        return _measure(who, Path(file))
    print("| format | rows | file | prepare | peak memory | rows/s | pandas + scikit-learn | peak memory | ratio |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for form in options.formats:
        for rows in options.rows:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, f"table.{form}")
                _run(f"{rows}", file)  # in a process of its own, too: a child's peak begins with its parent's
                size = f"{file.stat().st_size / 1e6:,.0f} MB"
                ours = _run("prepare", file)
                cells = [form, f"{rows:,}", size, f"{ours['seconds']:.1f} s", f"{ours['peak_mb']:,.0f} MB"]
                cells.append(f"{rows / ours['seconds']:,.0f}")
                if not options.without_peer:
                    peer = _run("peer", file)
                    cells += [
                        f"{peer['seconds']:.1f} s",
                        f"{peer['peak_mb']:,.0f} MB",
                        f"{peer['seconds'] / ours['seconds']:.1f}",
                    ]
                print("| " + " | ".join(cells) + " |", flush=True)
    return 0


def write_table(file: Path, rows: int) -> None:
    """Write a table of 20 columns, made from a seed."""
    import polars as pl

    parts = []
    for start in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - start)
        part = file.with_name(f"part-{start:012d}.parquet")
        _rows(np.random.default_rng([7, start]), count).write_parquet(part)
        parts.append(part)
    frame = pl.scan_parquet(parts)
    if file.suffix == ".csv":
        frame.sink_csv(file)
    else:
        frame.sink_parquet(file)
    for part in parts:
        part.unlink()


def _rows(random: np.random.Generator, count: int) -> "pl.DataFrame":  # type: ignore[name-defined]  # noqa: F821
    import polars as pl

    numbers = {f"n{index}": random.normal(size=count).round(4) for index in range(14)}
    texts = {f"c{index}": np.array(CATEGORIES)[random.integers(0, len(CATEGORIES), count)] for index in range(3)}
    score = numbers["n1"] + 0.5 * numbers["n2"] + (texts["c0"] == "alpha") + random.normal(size=count)
    frame = pl.DataFrame(
        {
            **numbers,
            **texts,
            "member": np.where(random.random(count) < 0.3, "yes", "no"),
            "joined": (np.datetime64("2020-01-01") + random.integers(0, 1500, count)).astype(str),
            "bought": np.where(score > 0.5, "yes", "no"),
        }
    )
    lacking = pl.Series(random.random(count) < 0.05)
    return frame.with_columns(pl.when(~lacking).then(pl.col("n0")).alias("n0"))


def _run(who: str, file: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data", "--measure", who, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{who} on {file}: exit {done.returncode}\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(who: str, file: Path) -> int:
    if who.isdigit():
        write_table(file, int(who))
        print(json.dumps({}))
        return 0
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        started = time.perf_counter()
        (_prepare if who == "prepare" else _peer)(file, Path(folder))
        seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb}))
    return 0


def _prepare(file: Path, folder: Path) -> None:
    """Run the stage as `python -m pipeline prepare` does, without the digests of what it wrote."""
    from pipeline.config import load
    from pipeline.stages.prepare import run
    from pipeline.tracking import Tracker

    run(load(None, ["data={" + f"source: table, path: {file}, target: bought" + "}"]), out=folder, tracker=Tracker("prepare"))


def _peer(file: Path, folder: Path) -> None:
    """Do with pandas and scikit-learn what `prepare` does, but for checks and report."""
    import pandas as pd
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler

    frame = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
    target = (frame.pop("bought") == "yes").to_numpy().astype(np.int64)
    groups = pd.factorize(pd.util.hash_pandas_object(frame, index=False))[0]
    first = np.unique(groups, return_index=True)[1]
    rest, test = train_test_split(np.arange(len(first)), test_size=0.2, random_state=0, stratify=target[first])
    train, validation = train_test_split(rest, test_size=0.15 / 0.8, random_state=0, stratify=target[first][rest])
    frame["member"] = (frame["member"] == "yes").astype(np.float32)
    frame["joined"] = (pd.to_datetime(frame["joined"]) - pd.Timestamp(0)).dt.days.astype(np.float32)
    texts = [f"c{index}" for index in range(3)]
    numbers = [name for name in frame.columns if name not in texts]
    chosen = {"train": train, "validation": validation, "test": test}
    masks = {split: np.isin(groups, units) for split, units in chosen.items()}
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(frame.loc[masks["train"], texts])
    imputer = SimpleImputer(strategy="median").fit(frame.loc[masks["train"], numbers])
    StandardScaler().fit(imputer.transform(frame.loc[masks["train"], numbers]))
    for split, mask in masks.items():
        rows = np.hstack([frame.loc[mask, numbers].to_numpy(np.float32), encoder.transform(frame.loc[mask, texts])])
        np.save(folder / f"{split}.inputs.npy", rows.astype(np.float32))
        np.save(folder / f"{split}.targets.npy", target[mask])


if __name__ == "__main__":
    sys.exit(main())
