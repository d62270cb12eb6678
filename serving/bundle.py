"""The bundle: the folder that is deployed, and everything needed to prove it before it answers.

    bundle.json      what the model is: schema, metrics with intervals, parity, lineage, and the digest of every other file
    <artifact>       ONNX or TorchScript, preprocessing inside the graph
    golden.json      requests with the answers that the evaluated model gave; replayed before the service reports ready
    reference.json   what the train rows looked like, for drift

`bundle.json` lists every other file with its sha256, is sealed by a sha256 of its own content, and its lineage must end in the
artifact that is there. A file that is missing, changed, added or a symbolic link makes the whole folder refused, before a
parser reads any of it.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from serving.errors import BundleError, CorruptFile
from serving.files import FileRecord, read_verified, sha256_of, write_atomic
from serving.schema import Schema

FORMAT_VERSION = 1
DESCRIPTION, GOLDEN, REFERENCE = "bundle.json", "golden.json", "reference.json"

Runtime = Literal["onnxruntime", "torchscript", "torch_export"]
Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]  # of ONNX Runtime: what computes
_UNPICKLED: Runtime = "torch_export"  # loading a file of it may run any code that the file brings along

# What msgspec raises: DecodeError and UnicodeDecodeError, which are ValueErrors, and RecursionError on deep nesting.
_UNREADABLE = (ValueError, RecursionError)


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """The model file of a bundle and what runs it.

    provider: the one that it was measured on; only ONNX has others than cpu. It is written where it is not cpu, so that bundles
    from before there were others keep their seal.
    """

    file: str
    runtime: Runtime
    precision: str
    provider: Provider = "cpu"

    @property
    def engine(self) -> str:
        """What runs it, in words: `onnxruntime`, or `onnxruntime on openvino`."""
        return self.runtime if self.provider == "cpu" else f"{self.runtime} on {self.provider}"


class Lineage(msgspec.Struct, frozen=True):
    """sha256 of each link of the chain from rows to artifact; `run` names the training run."""

    run: str
    data: str
    statistics: str
    checkpoint: str
    artifact: str


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `bundle.json`."""

    format_version: int
    name: str
    version: str
    created: str  # UTC, ISO 8601
    schema: Schema
    artifact: Artifact
    lineage: Lineage
    metrics: dict[str, Any]
    parity: dict[str, Any]
    files: dict[str, FileRecord]
    seal: str = ""  # sha256 of this very content with an empty seal: a flipped bit in a class label is found, too

    def sealed(self) -> "Description":
        """Return this description with its seal."""
        # Read back first: an int that was given for a float is a float after reading, and must give the same bytes.
        read = msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(self, seal="")), type=Description)
        return msgspec.structs.replace(self, seal=sha256_of(msgspec.json.encode(read)))


class Golden(msgspec.Struct, frozen=True):
    """Requests with the answers of the evaluated model.

    `inputs`: rows as a client sends them, cells of a table as people write them. `outputs`: (rows, outputs), probabilities or
    values. `pictures`: bytes of picture files (in JSON as base64), with their answers in `picture_outputs`. An answer `a`
    passes against `b` when |a - b| <= atol + rtol * |b - center|; atol: one number, or one for each output; center: one for
    each output, or nothing for 0.
    """

    inputs: list[Any]
    outputs: list[list[float]]
    atol: float | list[float]
    rtol: float
    center: list[float] = []
    pictures: list[bytes] = []
    picture_outputs: list[list[float]] = []


class Bundle:
    """A verified bundle folder; `read` returns the bytes of one of its files, checked against its digest."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`; raise BundleError or CorruptFile when it is not whole."""
        self.folder = folder
        self.description = _read_description(folder)
        _check_files(folder, self.description)
        if self.description.lineage.artifact != self.digest:
            raise BundleError(
                f"{folder / DESCRIPTION}: the lineage ends in artifact {self.description.lineage.artifact}, "
                f"but the bundle holds {self.digest}; export the run again"
            )

    @property
    def digest(self) -> str:
        """sha256 of the artifact: the identity of the model that answers."""
        return self.description.files[self.description.artifact.file].sha256

    def read(self, name: str) -> bytes:
        """Return the verified bytes of a file that `bundle.json` lists."""
        return read_verified(self.folder / name, self.description.files[name])

    def artifact(self) -> bytes:
        """Return the verified bytes of the model file."""
        return self.read(self.description.artifact.file)

    def golden(self) -> Golden:
        """Return the golden requests."""
        try:
            return msgspec.json.decode(self.read(GOLDEN), type=Golden)
        except _UNREADABLE as error:
            raise BundleError(f"{self.folder / GOLDEN}: {error}; export the run again") from error

    def reference(self) -> dict[str, Any]:
        """Return what the train rows looked like."""
        try:
            return msgspec.json.decode(self.read(REFERENCE), type=dict[str, Any])
        except _UNREADABLE as error:
            raise BundleError(f"{self.folder / REFERENCE}: {error}; export the run again") from error


def write_bundle(folder: Path, files: dict[str, bytes], **description: Any) -> None:
    """Write `files` and then `bundle.json`, whose presence means that the folder is whole.

    `description` holds the fields of Description except `format_version` and `files`. Raises BundleError for an artifact that
    no bundle may hold.
    """
    _refuse_unpickled(folder, description["artifact"])
    folder.mkdir(parents=True, exist_ok=True)
    records = {name: write_atomic(folder / name, payload) for name, payload in files.items()}
    whole = Description(format_version=FORMAT_VERSION, files=records, **description)
    write_atomic(folder / DESCRIPTION, msgspec.json.format(msgspec.json.encode(whole.sealed()), indent=2))


def _read_description(folder: Path) -> Description:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise BundleError(f"{folder}: no {DESCRIPTION} here, so this is not a bundle; make one with `make export`")
    payload = path.read_bytes()
    try:
        version = msgspec.json.decode(payload, type=dict[str, Any]).get("format_version")
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{path}: format_version is {version!r}, this service reads {FORMAT_VERSION}; use a matching service"
            )
        description = msgspec.json.decode(payload, type=Description)
    except _UNREADABLE as error:
        raise BundleError(f"{path}: {error}; export the run again") from error
    if description.seal != description.sealed().seal:
        raise CorruptFile(path, recorded=description.seal, found=description.sealed().seal)
    _refuse_unpickled(folder, description.artifact)
    return description


def _refuse_unpickled(folder: Path, artifact: Artifact) -> None:
    if artifact.runtime == _UNPICKLED:
        raise BundleError(
            f"{folder / DESCRIPTION}: {artifact.file} is a torch.export program, which torch loads by unpickling, so that a "
            "file from elsewhere may run any code; a bundle holds ONNX or TorchScript: export with export.bundle=onnx"
        )


def _check_files(folder: Path, description: Description) -> None:
    for name in description.files:
        if name in {"", ".."} or Path(name).name != name:
            raise BundleError(f"{folder / DESCRIPTION}: `files` lists {name!r}, which is not a plain file name")
    expected = {DESCRIPTION, *description.files}
    for needed in (description.artifact.file, GOLDEN, REFERENCE):
        if needed not in description.files:
            raise BundleError(f"{folder / DESCRIPTION}: `files` does not list {needed}; export the run again")
    for entry in sorted(folder.iterdir()):
        if entry.name not in expected:
            raise BundleError(f"{entry}: not listed in {DESCRIPTION}; a bundle holds nothing but its own files, remove it")
        if entry.is_symlink() or not entry.is_file():
            raise BundleError(f"{entry}: must be a plain file, not a link or a folder")
    for name, record in description.files.items():
        read_verified(folder / name, record)
