"""The bare session: rows a second at each batch size, as JSON.

python -m benchmarks.serving.apps.raw SECONDS SIZE SIZE …
"""

import json
import sys
import time

import numpy as np

from benchmarks.serving.apps.session import load


def main() -> None:
    """Call the model with random rows for SECONDS at each size."""
    run, seconds = load(), float(sys.argv[1])
    generator, found = np.random.default_rng(0), {}
    for size in map(int, sys.argv[2:]):
        rows = generator.uniform(0, 16, (size, 3, 32, 32)).astype(np.float32)
        run(rows)
        calls, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            run(rows)
            calls += 1
        found[size] = calls * size / passed
    print(json.dumps(found))


if __name__ == "__main__":
    main()
