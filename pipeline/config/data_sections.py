"""Where rows come from: one section for each kind of source, chosen by `data.source`."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Positive, Section, check_json, listed

Builtin = Literal["digits", "breast_cancer", "wine", "iris", "diabetes", "california_housing"]
Kind = Literal["number", "boolean", "category", "date", "ignore"]
ColumnKind = Kind | Annotated[str, Field(pattern=r"^date .*%")]  # the latter: a date, and how strptime reads it
DataTask = Literal["auto", "classification", "multilabel", "regression"]
Names = str | Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
MISSING_WORDS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?")


class BuiltinData(Section):
    """A data set of scikit-learn's; all but california_housing ship inside it."""

    source: Builtin = Field("digits", description="a data set of scikit-learn; california_housing is fetched once and kept")


class _Columns(Section):
    """What every source of tables shares."""

    source: str
    target: Names = Field(description="column to predict; a list: several numbers, or several yes/no labels")
    task: DataTask = Field("auto", description="what the target is; auto: read from its values")
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict,
        description="kind of a column, where it should not be read from its values, also date %d/%m/%Y; ignore leaves it out",
    )


class TableData(_Columns):
    """Rows of a CSV, TSV or Parquet file."""

    source: Literal["table"] = "table"
    path: str = Field(description="one file (.csv, .tsv, .txt, also .gz; .parquet), or a folder of Parquet files")
    validation_path: str | None = Field(None, description="a file of its own for the validation rows")
    test_path: str | None = Field(None, description="a file of its own for the test rows")
    delimiter: str = Field("auto", min_length=1, description="between the cells of a text file, such as ';'")
    quote: str = Field("auto", min_length=1, description="around cells of a text file; none: nothing is quoted")
    encoding: str = Field("auto", description="of a text file, such as utf-8 or latin-1")
    decimal: Literal["auto", ".", ","] = Field("auto", description="before the fraction of a number in a text file")
    missing: tuple[str, ...] = listed(MISSING_WORDS, "cells of a text file that mean: no value")


class OpenmlData(_Columns):
    """A table of openml.org, fetched once by scikit-learn and kept with its checksum."""

    source: Literal["openml"] = "openml"
    dataset: int | str = Field(description="id, or name, of the data set")
    version: Positive | None = Field(None, description="version of a named data set; null: the active one")
    target: Names | None = Field(  # type: ignore[assignment]  # the data set may name it
        None, description="column to predict; null: the one that the data set names"
    )


class ArraysData(Section):
    """Arrays of NumPy: tables, images, or rows of any shape."""

    source: Literal["arrays"] = "arrays"
    path: str = Field(description="an .npz file with inputs and targets, or an .npy file of inputs")
    targets_path: str | None = Field(None, description="an .npy file of targets, beside an .npy file of inputs")
    inputs: str = Field("auto", description="name of the inputs in the .npz file")
    targets: str = Field("auto", description="name of the targets in the .npz file")
    task: DataTask = Field("auto", description="what the targets are; auto: read from their values")
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict, description="kind of a column of (rows, columns): x0, x1, …; ignore leaves it out"
    )
    target: str = Field("target", description="what the target is called in answers and pictures")


class ImagesData(Section):
    """A folder of pictures: a folder for each class, or a file of labels."""

    source: Literal["images"] = "images"
    path: str = Field(description="folder; PNG, JPEG, WebP, BMP and GIF files")
    labels: str | None = Field(None, description="a CSV with a column of file names and one of labels; null: folder names")
    target: str = Field("label", description="what the target is called; with a file of labels: its column")
    task: DataTask = Field(
        "auto", description="what the labels are; auto: classes, or numbers where a labels file has fractions"
    )
    mode: Literal["auto", "L", "RGB"] = Field(
        "auto", description="L: gray; auto: gray where every picture that is looked at is"
    )
    size: Annotated[tuple[Positive, Positive], Field(strict=False)] | Literal["auto"] = Field(
        "auto", description="height and width that pictures are resized to; auto: the median of up to 200 pictures, 224 at most"
    )


class PythonData(Section):
    """Your own file: a function that returns a table, or inputs and targets."""

    source: Literal["python"] = "python"
    file: str = Field(description="path of one Python file")
    function: str = Field(
        "load", description="called as function(**args): a data frame, a dict of columns, or (inputs, targets)"
    )
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the function")
    target: Names = Field("target", description="column to predict; of arrays: what the target is called")
    task: DataTask = Field("auto", description="what the target is; auto: read from its values")
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict, description="kind of a column, also date %d/%m/%Y; ignore leaves it out"
    )

    @field_validator("args")
    @classmethod
    def _args_are_json(cls, args: dict[str, Any]) -> dict[str, Any]:
        check_json(args, "args")
        return args


DataConfig = Annotated[
    BuiltinData | TableData | OpenmlData | ArraysData | ImagesData | PythonData, Field(discriminator="source")
]
