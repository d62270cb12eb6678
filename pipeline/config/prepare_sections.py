"""How rows are checked, split and turned into what a network takes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.section import LARGEST_SEED, Fraction, Positive, Section

SplitBy = Literal["auto", "random", "stratified", "grouped", "time", "column", "files"]
Normalization = Literal["standard", "minmax", "robust", "quantile", "none"]
CheckName = Literal["leak", "identifier", "mixed_types", "broken_images"]  # those that can FAIL, and be in order


class PrepareConfig(Section):
    """How rows are split and normalized."""

    split: SplitBy = Field(
        "auto", description="auto: files if there are any, else stratified: each class, or range of values, in its share"
    )
    split_column: str | None = Field(
        None, description="the group (grouped), the time (time), or train, validation, test (column) of each row; no feature"
    )
    validation_fraction: Fraction = Field(0.15, description="share of all rows that chooses the epoch and proves the export")
    test_fraction: Fraction = Field(0.2, description="share of all rows that only `evaluate` reads")
    split_seed: int = Field(
        0,
        ge=0,
        le=LARGEST_SEED,
        description="seed of the split, apart from `seed`, so that runs with other seeds compare on the same rows",
    )
    duplicates: Literal["together", "anywhere"] = Field(
        "together", description="rows with the same, or nearly the same, inputs land in one split, or anywhere"
    )
    near_duplicates: Annotated[float, Field(ge=0, lt=1)] = Field(
        1e-4, description="numbers this close, in standard deviations of their column, count as the same; 0: only equal ones"
    )
    normalize: Normalization = Field(
        "standard", description="fitted on train rows alone; for each column of a table, for each channel of an image"
    )
    normalize_target: Literal["standard", "log", "none"] = Field(
        "standard", description="regression only; undone inside the model, so answers keep the target's unit"
    )
    categories: Literal["auto", "onehot", "embedding"] = Field(
        "auto", description="how categories reach the network; auto: one-hot up to onehot_most of them, else embeddings"
    )
    onehot_most: Positive = Field(16, description="see categories")
    rare_below: Positive = Field(2, description="categories with fewer train rows count as unseen, so that unseen is learned")
    most_categories: Positive = Field(10_000, description="of a column; rarer ones count as unseen")
    missing: Literal["seen", "allowed", "refused"] = Field(
        "seen", description="where a value may be missing: in columns that lack one somewhere, in all, in none"
    )
    fewest_per_class: Positive = Field(10, description="the check few_rows warns of classes with fewer rows")
    allow: tuple[CheckName, ...] = Field(
        (), strict=False, description="checks whose FAIL is known and in order: it becomes a warning"
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> "PrepareConfig":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction add up to 1 or more, which leaves no row to train on")
        needs = self.split in {"grouped", "time", "column"}
        if needs and self.split_column is None:
            raise ValueError(f"split: {self.split} needs prepare.split_column, the column that it goes by")
        if self.split_column is not None and not needs:
            raise ValueError(
                f"split_column: {self.split_column!r} is for split grouped, time or column, and split is {self.split}"
            )
        return self
