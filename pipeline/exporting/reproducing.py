"""`reproduce.sh`, beside the artifacts: makes them again elsewhere and compares bytes, or checks one of them against rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.artifacts import Model
from pipeline.exporting.parity import Tolerance
from serving.files import sha256_of

SCRIPT = "reproduce.sh"

_TEXT = """\
#!/bin/sh
# The artifacts of run {run}.
# config: sha256 {config}
#   (of the settings that train and export depend on, which stand in their manifest.json)
#
#   sh reproduce.sh
#       proves that no file beside this script changed, makes the artifacts again in a temporary folder, from the run's weights
#       and rows, proves on every validation row that they answer like the model, and compares them byte by byte; a TorchScript
#       file of other bytes must give the same answers to these rows. The command in there is
#       python -m pipeline export --run {run}
#   sh reproduce.sh check FILE ROWS.npy [ANSWERS]
#       prints what an artifact answers to rows, or compares with ANSWERS.npy or another artifact: an answer a passes against b
#       when |a - b| <= {allowed}; for ONNX, numpy and onnxruntime are enough. FILE may stand beside this script
#
# PYTHON names another interpreter than the project's .venv/bin/python, or `python` where there is none.
# Exit code 0: the same; 1: something differs or failed.
set -eu
run='{run}'
artifacts='{artifacts}'
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)
python=${{PYTHON:-python}}
[ -n "${{PYTHON:-}}" ] || [ ! -x "$project/.venv/bin/python" ] || python=$project/.venv/bin/python
case $python in
    /*) ;;
    */*) python=$(pwd)/$python ;;
esac
if ! command -v "$python" >/dev/null; then
    echo "reproduce.sh: there is no interpreter $python; name one by PYTHON=path" >&2
    exit 1
fi

check() {{
    "$python" - "$@" <<'END'
import json, sys
FILE, ROWS, *ANSWERS = sys.argv[1:]
ARTIFACTS = (".onnx", ".torchscript.pt", ".pt2")
BATCH = 1024  # rows answered at once


def runner(file):
    if not file.endswith(ARTIFACTS):
        sys.exit(f"reproduce.sh: {{file}}: the name must end in .onnx, .torchscript.pt or .pt2")
    if file.endswith(".onnx"):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it would log is raised, too
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda rows: session.run(None, {{session.get_inputs()[0].name: rows}})[0]
    import torch
    run = torch.jit.load(file, "cpu") if file.endswith(".torchscript.pt") else torch.export.load(file).module()
    return lambda rows: run(torch.from_numpy(rows)).detach().numpy()


def array(file):
    import numpy as np
    found = np.load(file, mmap_mode="r")
    if not isinstance(found, np.ndarray) or found.ndim == 0 or found.dtype.kind not in "fiub":
        raise ValueError(f"{{file}} is no array of numbers, one row each")
    if len(found) == 0:
        raise ValueError(f"{{file}} has no rows")
    return found


def answers(file, rows):
    import numpy as np
    run, starts = runner(file), range(0, len(rows), BATCH)
    return np.concatenate([run(np.array(rows[start : start + BATCH], np.float32)) for start in starts])


def compare(found, expected):
    import numpy as np
    if found.shape != expected.shape:
        sys.exit(f"reproduce.sh: {{FILE}} answers in shape {{found.shape}}, {{ANSWERS[0]}} has {{expected.shape}}")
    allowed = np.asarray({atol!r}) + {rtol!r} * np.abs(expected - np.asarray({center!r}))
    beyond = ~(np.abs(found - expected) <= allowed)
    print(f"{{len(found)}} rows, largest difference {{np.abs(found - expected).max():.3g}}")
    if beyond.any():
        row = int(np.argwhere(beyond)[0][0])
        sys.exit(f"reproduce.sh: row {{row}}: {{found[row].tolist()}}, expected {{expected[row].tolist()}}")


try:
    rows = array(ROWS)
    found = answers(FILE, rows)
    if not ANSWERS:
        print(*map(json.dumps, found.tolist()), sep="\\n")
    else:
        compare(found, answers(ANSWERS[0], rows) if ANSWERS[0].endswith(ARTIFACTS) else array(ANSWERS[0]))
except Exception as error:  # numpy and runtimes raise what they like on files that they cannot read
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    reason = lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]
    hint = "; PYTHON names the interpreter" if isinstance(error, ImportError) else ""
    sys.exit(f"reproduce.sh: {{FILE}}, {{ROWS}}: {{type(error).__name__}}: {{reason}}{{hint}}")
END
}}

# Prints a line for each file beside this script that is not what export wrote, and then fails.
undamaged() {{
    "$python" - "$here" <<'END'
import hashlib, importlib.util, json, pathlib, sys
here = pathlib.Path(sys.argv[1])
try:
    makes = json.loads((here / "manifest.json").read_bytes())["makes"]
    recorded = {{name: record["sha256"] for name, record in makes.items()}}
except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    sys.exit(f"reproduce.sh: {{here / 'manifest.json'}}: cannot be read: {{type(error).__name__}}: {{error}}")
damaged = []
for name, expected in recorded.items():
    try:
        with (here / name).open("rb") as file:
            found = hashlib.sha256()
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as error:
        damaged.append(f"reproduce.sh: {{name}}: damaged: {{error.strerror}}, manifest.json says sha256 {{expected}}")
        continue
    if found.hexdigest() != expected:
        damaged.append(f"reproduce.sh: {{name}}: damaged: sha256 {{found.hexdigest()}}, manifest.json says {{expected}}")
if damaged:
    sys.exit("\\n".join(damaged))
if importlib.util.find_spec("torch") is None:
    sys.exit(f"reproduce.sh: {{sys.executable}} has no torch; run `make setup`, or name another interpreter by PYTHON=path")
END
}}

case ${{1:-}}-$# in
    -0) ;;
    check-3 | check-4)
        shift
        file=$1
        shift
        [ -e "$file" ] || [ ! -e "$here/$file" ] || file=$here/$file
        check "$file" "$@"
        exit
        ;;
    *)
        echo 'usage: sh reproduce.sh [check FILE ROWS.npy [ANSWERS]]' >&2
        exit 1
        ;;
esac

undamaged
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
trap 'exit 1' HUP INT TERM
# Everything but the runs is used where it is; the run is copied without its export, and no tracking server hears of it.
for entry in "$project"/*; do
    case ${{entry##*/}} in runs | mlflow.yaml | mlflow.db) ;; *) ln -s "$entry" "$again/" ;; esac
done
mkdir -p "$again/runs/$run"
for entry in "$project/runs/$run"/*; do
    case ${{entry##*/}} in
        export | quantize | benchmark | select) ;;
        prepare) ;;  # a link, which the command makes again
        *) cp -R "$entry" "$again/runs/$run/" ;;
    esac
done
echo 'tracking_uri: null' >"$again/mlflow.yaml"
(cd "$again" && PYTHONPATH="$project${{PYTHONPATH:+:$PYTHONPATH}}" "$python" -m pipeline export --run "$run")
status=0
for file in $artifacts; do
    if cmp -s "$here/$file" "$again/runs/$run/export/$file"; then
        echo "$file: the same bytes"
        continue
    fi
    echo "$file: other bytes"
    case $file in *.torchscript.pt) ;; *) status=1; continue ;; esac
    if check "$here/$file" "$again/runs/$run/prepare/validation.inputs.npy" "$again/runs/$run/export/$file"; then
        echo "$file: the same answers as the file made again; TorchScript numbers its classes by chance"
    else
        echo "$file: does not answer like the file made again"
        status=1
    fi
done
exit $status
"""


def reproduction(model: Model, section: Mapping[str, Any], artifacts: Sequence[str], tolerance: Tolerance) -> bytes:
    """Return the script. section: of the export, as JSON-ready values; artifacts: names of its files, beside the script."""
    settings = {**model.manifest.config, "export": section}
    center = tolerance.center or 0.0
    return _TEXT.format(
        run=model.folder.parent.name,
        config=sha256_of(msgspec.json.encode(settings, order="sorted")),
        artifacts=" ".join(artifacts),
        allowed=f"{_shown(tolerance.atol)} + {tolerance.rtol:g} * |{f'b - {_shown(center)}' if center else 'b'}|",
        atol=tolerance.atol,
        rtol=tolerance.rtol,
        center=center,
    ).encode()


def _shown(numbers: float | list[float]) -> str:
    """Return one number, or one for each output, short enough to read."""
    return f"[{', '.join(f'{one:g}' for one in numbers)}]" if isinstance(numbers, list) else f"{numbers:g}"
