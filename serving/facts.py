"""What a codec knows of the model that it decodes for, and how much a request may ask of it."""

from dataclasses import dataclass
from math import prod

from serving.bundle import Bundle, Description
from serving.columns import Encoder
from serving.images import MAX_PIXELS
from serving.schema import Schema


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask; more is refused before anything is computed.

    body_bytes: as sent and after inflation. values: of all its rows together. rows: how many. answers: numbers that the model
    returns for all rows together; with `rows` they bound the reply, which a few kB of compressed rows would make gigabytes.
    depth: of nested JSON. pixels: of one picture; a request may hold what takes as long as eight such JPEGs. strict: whether
    values outside the trained range and unseen categories are refused with their place, instead of being answered and counted
    as drift.
    """

    body_bytes: int = 16 * 2**20
    values: int = 4_000_000
    rows: int = 100_000
    answers: int = 2_000_000
    depth: int = 32
    pixels: int = MAX_PIXELS
    strict: bool = False

    def most_rows(self, schema: Schema) -> int:
        """Return how many rows of a model one request may hold; a single one always, whatever the number of its answers."""
        return min(self.values // prod(schema.shape), self.rows, max(1, self.answers // schema.outputs))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as its codecs see it."""

    description: Description
    digest: str
    encoder: Encoder | None
    limits: Limits

    @classmethod
    def of(cls, bundle: Bundle, limits: Limits) -> "ModelFacts":
        """Read them from a verified bundle."""
        schema = bundle.description.schema
        return cls(bundle.description, bundle.digest, None if schema.plain else Encoder(schema), limits)

    @property
    def schema(self) -> Schema:
        """What a row and an answer are."""
        return self.description.schema

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and digest, as every reply carries them."""
        return {"name": self.description.name, "version": self.description.version, "digest": self.digest}
