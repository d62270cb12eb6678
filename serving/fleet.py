"""The models of one worker: the live one, a canary that answers some, a shadow that answers nobody.

    fleet = Fleet(bundle, settings, make_codecs)
    model = fleet.route(request_id)             # NotReady while there is none
    fleet.swap(folder, seal)                    # load beside, verify, warm up, replay golden requests, flip; or refuse

A request holds the model that it was routed to, so a model that was swapped out ends with its last request.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from serving.bundle import Bundle
from serving.engine import Engine
from serving.errors import BundleError, NotFound, NotReady, ServingError, first_line, without_folder
from serving.exchange import Codec
from serving.facts import ModelFacts
from serving.predictor import Predictor
from serving.schema import Schema
from serving.settings import Settings

CodecsOf = Callable[[ModelFacts], dict[str, Codec]]
_STEPS = 10_000  # of a percentage
_SHOWN = 100  # characters
_log = logging.getLogger("slipway.serving")


class Loaded:
    """One bundle, verified, loaded, warmed up and proven: nothing else ever answers."""

    def __init__(self, bundle: Bundle, settings: Settings, make_codecs: CodecsOf) -> None:
        """Load the artifact and replay its golden requests; raises BundleError when an answer is not the evaluated model's."""
        self.facts = ModelFacts.of(bundle, settings.limits)
        self.codecs = make_codecs(self.facts)
        self.golden = bundle.golden()
        self.reference = bundle.reference()
        predictor = Predictor.from_bundle(bundle, threads=settings.threads)
        predictor.check(self.golden)
        shape = self.facts.schema.shape
        self.engine = Engine(predictor.predict, shape, batch_rows=settings.batch_rows, wait_s=settings.wait_s)
        # Prepared once: every reply names the model that gave it.
        self.headers = [(f"x-model-{key}", _header(self.facts.identity[key])) for key in ("version", "digest")]

    @property
    def digest(self) -> str:
        """sha256 of the artifact."""
        return self.facts.digest


class Fleet:
    """Which model answers which request."""

    def __init__(self, bundle: Bundle, settings: Settings, make_codecs: CodecsOf, *, seal: str) -> None:
        """Load what the settings name; a live model that fails leaves the service alive and unready, with its reason.

        seal: of the bundle that the other workers serve.
        """
        self._settings, self._make_codecs = settings, make_codecs
        self._swapping = threading.Lock()
        self.draining = False
        self.refused: str | None = None  # why the last swap was refused
        self.unready: str | None = None
        self.description = bundle.description
        self.digest = bundle.digest
        self.live: Loaded | None = None
        try:
            _refuse_changed(bundle, seal)
            self.live = self._load(bundle)
        except ServingError as error:
            self.unready = without_folder(error, bundle.folder)
            _log.error("not ready: %s", error)
        self.canary = self._beside(settings.canary, "canary")
        self.shadow = self._beside(settings.shadow, "shadow")
        self._canary_steps = round(settings.percent / 100 * _STEPS) if self.canary else 0

    def route(self, request_id: str, version: str | None = None) -> Loaded:
        """Return the model that answers: the version that is asked for, or for an id always the same.

        Raises NotReady while there is none, NotFound where the version has just been swapped out.
        """
        if version is not None:
            return self._of_version(version)
        if self._canary_steps and crc32(request_id.encode()) % _STEPS < self._canary_steps:
            assert self.canary is not None
            return self.canary
        if self.live is None:
            raise NotReady("the model is not ready; GET /readyz says why", retry_after=5)
        return self.live

    def _of_version(self, version: str) -> Loaded:
        for model in (self.live, self.canary):
            if model is not None and model.facts.description.version == version:
                return model
        raise NotFound(f"no version {version[:_SHOWN]!r} here; GET /info describes the model that is served")

    def role(self, model: Loaded) -> str:
        """Return the role in which a model answers, as metrics name it."""
        return "canary" if model is self.canary else "live"

    def models(self) -> dict[str, Loaded]:
        """Return what is loaded, by role."""
        found = {"live": self.live, "canary": self.canary, "shadow": self.shadow}
        return {role: model for role, model in found.items() if model is not None}

    def swap(self, folder: Path, seal: str) -> None:
        """Make the bundle in `folder` the live one. Raises a ServingError, and changes nothing, when it is not fit to be.

        seal: of the bundle that was ordered; another one at that place is refused.
        """
        with self._swapping:
            try:
                bundle = Bundle(folder)
                _refuse_changed(bundle, seal)
                _refuse_other_schema(self.description.schema, bundle.description.schema)
                model = self._load(bundle)
            except ServingError as error:
                self.refused = without_folder(error, folder)
                _log.debug("swap refused: %s", error)  # whoever ordered it says so aloud, once for all workers
                raise
            before, self.live = self.live, model  # one assignment: a request sees the old model or the new one
            self.description, self.digest = bundle.description, bundle.digest
            self.unready = self.refused = None
            if before is not None:
                before.engine.close()

    def close(self) -> None:
        """End the threads of all models."""
        for model in self.models().values():
            model.engine.close()

    def _load(self, bundle: Bundle) -> Loaded:
        try:
            return Loaded(bundle, self._settings, self._make_codecs)
        except ServingError:
            raise
        except Exception as error:  # whatever a runtime raises on a model that does not do what its bundle says
            raise BundleError(f"the model cannot be run: {first_line(error)}") from error

    def _beside(self, folder: Path | None, role: str) -> Loaded | None:
        if folder is None:
            return None
        try:
            bundle = Bundle(folder.resolve())
            _refuse_other_schema(self.description.schema, bundle.description.schema)
            return self._load(bundle)
        except ServingError as error:
            _log.error("no %s: %s", role, error)
            self.refused = f"{role}: {without_folder(error, folder.resolve())}"
            return None


def _refuse_changed(bundle: Bundle, seal: str) -> None:
    if bundle.description.seal != seal:
        raise BundleError(f"{bundle.folder}: the bundle changed after this service chose it; reload to serve what is there now")


def _refuse_other_schema(old: Schema, new: Schema) -> None:
    """Raise BundleError where a client of the old model would not be understood by the new one, or not understand it."""

    def seen(schema: Schema) -> tuple[object, ...]:
        columns = tuple((feature.name, feature.kind, feature.nullable) for feature in schema.features)
        return schema.task, schema.kind, schema.shape, schema.classes, schema.targets, schema.picture, columns

    names = ("task", "kind", "shape", "classes", "targets", "picture", "columns")
    for name, before, after in zip(names, seen(old), seen(new), strict=True):
        if before != after:
            raise BundleError(
                f"clients would break: {name} of the new bundle: {str(after)[:_SHOWN]}, of the one that is served: "
                f"{str(before)[:_SHOWN]}; start another service for it, and move clients over"
            )


def _header(text: str) -> str:
    return text.encode("ascii", "replace").decode()
