"""`reproduce.sh`, beside the artifacts: makes them again elsewhere and compares bytes, or checks one of them against rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.artifacts import Model
from serving.files import sha256_of

SCRIPT = "reproduce.sh"

_TEXT = """\
#!/bin/sh
# The artifacts of run {run}.
# config: sha256 {config}
#   (of the settings that train and export depend on, which stand in their manifest.json)
#
#   sh reproduce.sh
#       makes the artifacts again in a temporary folder, from the run's weights and rows, proves on every validation row
#       that they answer like the model, and compares them byte by byte; the command in there is
#       python -m pipeline export --run {run}
#   sh reproduce.sh check FILE ROWS.npy [ANSWERS.npy]
#       prints what an artifact answers to rows, or compares: an answer a passes against b when
#       |a - b| <= {atol:g} + {rtol:g} * |b|; for ONNX, numpy and onnxruntime are enough
#
# PYTHON names another interpreter than `python`. Exit code 0: the same; 1: something differs or failed.
set -eu
run='{run}'
artifacts='{artifacts}'
python=${{PYTHON:-python}}
here=$(cd "$(dirname "$0")" && pwd)

check() {{
    "$python" - "$@" <<'END'
import json, sys
import numpy as np
file, rows = sys.argv[1], np.load(sys.argv[2]).astype(np.float32)
if file.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = session.run(None, {{session.get_inputs()[0].name: rows}})[0]
elif file.endswith(".torchscript.pt"):
    import torch
    found = torch.jit.load(file)(torch.from_numpy(rows)).detach().numpy()
elif file.endswith(".pt2"):
    import torch
    found = torch.export.load(file).module()(torch.from_numpy(rows)).detach().numpy()
else:
    sys.exit(f"reproduce.sh: {{file}}: the name must end in .onnx, .torchscript.pt or .pt2")
if len(sys.argv) < 4:
    print(*map(json.dumps, found.tolist()), sep="\\n")
    sys.exit()
expected = np.load(sys.argv[3])
if found.shape != expected.shape:
    sys.exit(f"reproduce.sh: {{file}} answers in shape {{found.shape}}, {{sys.argv[3]}} has {{expected.shape}}")
beyond = ~(np.abs(found - expected) <= {atol!r} + {rtol!r} * np.abs(expected))
print(f"{{len(rows)}} rows, largest difference {{np.abs(found - expected).max():.3g}}")
if beyond.any():
    row = int(np.argwhere(beyond)[0][0])
    sys.exit(f"reproduce.sh: row {{row}}: {{found[row].tolist()}}, expected {{expected[row].tolist()}}")
END
}}

case ${{1:-}}-$# in
    -0) ;;
    check-3 | check-4)
        shift
        check "$@"
        exit
        ;;
    *)
        echo 'usage: sh reproduce.sh [check FILE ROWS.npy [ANSWERS.npy]]' >&2
        exit 1
        ;;
esac

project=$(cd "$here/../../.." && pwd)
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
    case $file in
        *.torchscript.pt) echo "$file: other bytes, as TorchScript numbers its classes by chance; it answers like the model" ;;
        *)
            echo "$file: other bytes"
            status=1
            ;;
    esac
done
exit $status
"""


def reproduction(model: Model, section: Mapping[str, Any], artifacts: Sequence[str], *, atol: float, rtol: float) -> bytes:
    """Return the script. section: of the export, as JSON-ready values; artifacts: names of its files, beside the script."""
    settings = {**model.manifest.config, "export": section}
    return _TEXT.format(
        run=model.folder.parent.name,
        config=sha256_of(msgspec.json.encode(settings, order="sorted")),
        artifacts=" ".join(artifacts),
        atol=atol,
        rtol=rtol,
    ).encode()
