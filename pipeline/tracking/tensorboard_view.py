"""The folder that TensorBoard is pointed at: `<run>/<stage>` for every stage of every run that has event files.

TensorBoard follows links, so below `runs` itself it would find each latest run twice, and a training would change its name when
`train.partial` becomes `train`. The view has links of its own, each run once and under one name from its first epoch on.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

_EVERY_S = 2.0


def show_runs(root: Path, arguments: Sequence[str] = ()) -> int:
    """Run TensorBoard over the runs below `root`, new ones too, until it or we are stopped; return its exit code.

    arguments: options of TensorBoard, such as `--port 6006`.
    """
    with TemporaryDirectory(prefix="slipway-tensorboard-") as folder:
        link_stages(root, Path(folder))
        process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", folder, *arguments])
        try:
            while process.poll() is None:
                link_stages(root, Path(folder))
                time.sleep(_EVERY_S)
        except KeyboardInterrupt:  # Ctrl-C, and what the command line makes of a polite kill
            return 0
        finally:
            process.terminate()
            process.wait()
        return process.returncode


def link_stages(root: Path, view: Path) -> None:
    """Make `view/<run>/<stage>` name each stage's event files, at work or done, and nothing that is gone."""
    wanted = {view / run / stage: folder for (run, stage), folder in _event_folders(root).items()}
    for link in view.glob("*/*"):
        if link not in wanted:
            link.unlink()
    for link, folder in wanted.items():
        if not link.is_symlink() or link.readlink() != folder:
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(folder)


def _event_folders(root: Path) -> dict[tuple[str, str], Path]:
    """Return (run, stage) → folder of event files; of a stage that is made again, the one at work."""
    found: dict[tuple[str, str], Path] = {}
    for folder in sorted(root.glob("*/*/tensorboard")):  # `train` sorts before `train.partial`
        run = folder.parent.parent
        stage, _, state = folder.parent.name.partition(".")
        if not run.is_symlink() and state in {"", "partial"}:
            found[run.name, stage] = folder.resolve()
    return found
