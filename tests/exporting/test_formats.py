"""An export is one file with a dynamic batch and raw input, or a refusal in one line."""

import io
import json
import sys
import zipfile
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from pipeline.config.choice_sections import Format
from pipeline.errors import GateRefused
from pipeline.exporting.formats import RUNTIME, SUFFIX, Way, export, with_metadata, write
from pipeline.models.deployable import Deployable, preprocessed_shape
from pipeline.models.embeddings import Embedded
from pipeline.models.mlp import Mlp
from pipeline.models.resnet import Resnet
from pipeline.training.deployed import deployable_of
from serving import runtimes
from tests.conftest import ROOT, Finished
from tests.exporting.test_messy_table import INPUTS

FORMATS = list(SUFFIX)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_takes_raw_rows_in_batches_of_any_size(form: Format, finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    inputs, _ = finished.prepared.split("validation")
    payload = export(deployable, torch.from_numpy(inputs[:2]), form)
    run = runtimes.load(payload, RUNTIME[form])
    for size in (1, 2, 5, len(inputs)):
        with torch.no_grad():
            expected = deployable(torch.from_numpy(inputs[:size])).numpy()
        np.testing.assert_allclose(run(inputs[:size]), expected, atol=1e-5)


def test_onnx_is_one_file_with_named_input_output_and_batch(finished: Finished) -> None:
    model = onnx.load_from_string(finished.exported.read("train-fp32.onnx"))
    (source,), (target,) = model.graph.input, model.graph.output
    assert (source.name, target.name) == ("inputs", "outputs")
    assert source.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert all(not tensor.external_data for tensor in model.graph.initializer)


class Branches(nn.Module):
    """Takes another path for large values: a tracer would keep only one of them."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * 2 if inputs.sum() > 0 else inputs - 1


@pytest.mark.parametrize("way", ["torch.onnx.export", "torch.jit.trace", "torch.export.export"])
def test_a_branch_on_data_is_refused_instead_of_frozen(way: Way) -> None:
    with pytest.raises(GateRefused, match="cannot be written as .*: .*branch that depends on the values") as caught:
        write(Branches().eval(), torch.ones(2, 3), way)
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_that_cannot_be_traced_becomes_torchscript_by_its_code_and_keeps_both_branches() -> None:
    statistics = {"inputs": {"shift": 0.5, "scale": 2.0}, "target": {"shift": 0.0, "scale": 3.0}}
    deployable = Deployable(Branches(), task="regression", statistics=statistics).eval()
    run = runtimes.load(export(deployable, torch.ones(2, 3), "torchscript"), "torchscript")
    generator = np.random.default_rng(0)
    sides = set()
    for size in (1, 2, 3, 4, 5, 6, 7, 8):
        rows = generator.normal(0.5, 2, (size, 3)).astype(np.float32)
        sides.add(bool(rows.sum() > 0.5 * rows.size))
        np.testing.assert_allclose(run(rows), deployable(torch.from_numpy(rows)).numpy(), rtol=1e-5, atol=1e-6)
    assert sides == {True, False}, "the rows go both ways"


class Unscriptable(nn.Module):
    """Takes a branch on data in Python that no compiler takes."""

    def forward(self, inputs: Tensor) -> Tensor:
        by_name = {"twice": lambda rows: rows * 2}
        return by_name["twice"](inputs) if inputs.sum() > 0 else inputs


def test_what_neither_way_can_write_is_refused_with_the_reason_in_one_line() -> None:
    with pytest.raises(GateRefused, match="cannot be written as torchscript: .*branch that depends on the values") as caught:
        export(Unscriptable().eval(), torch.ones(2, 3), "torchscript")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_tells_neither_where_it_was_made_nor_a_row_that_it_was_made_with(form: Format, finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    example = torch.full((2, 4), 0.123456789)
    payload = export(deployable, example, form, metadata={"classes": ["a"]})
    parts = [payload]
    if payload[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            parts = [archive.read(entry) for entry in archive.infolist()]
    assert all(part for part in parts)
    for needle in (str(ROOT).encode(), sys.prefix.encode(), b"site-packages", np.float32(0.123456789).tobytes()):
        assert not any(needle in part for part in parts), needle


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_two_exports_of_one_model_give_the_same_bytes(form: Format, finished: Finished) -> None:
    first, second = (
        export(deployable_of(finished.prepared, finished.model), torch.rand(2, 4), form, metadata={"b": 1, "a": 2})
        for _ in range(2)
    )
    assert first == second


METADATA = {"format_version": 1, "classes": ["Zürich", "b"], "digests": {"data": "0" * 64}}


def test_metadata_stands_in_each_file_where_its_format_has_a_place_for_it(finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    files = {form: export(deployable, torch.ones(2, 4), form, metadata=METADATA) for form in SUFFIX}
    props = {entry.key: json.loads(entry.value) for entry in onnx.load_from_string(files["onnx"]).metadata_props}
    assert props == {f"slipway.{key}": value for key, value in METADATA.items()}
    script, program = {"slipway.json": ""}, {"slipway.json": ""}
    torch.jit.load(io.BytesIO(files["torchscript"]), _extra_files=script)
    torch.export.load(io.BytesIO(files["torch_export"]), extra_files=program)
    assert json.loads(script["slipway.json"]) == json.loads(program["slipway.json"]) == METADATA


def test_metadata_can_be_given_to_a_file_that_another_tool_wrote_and_replaces_what_it_had(finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    plain = export(deployable, torch.ones(2, 4), "onnx", metadata={"classes": ["old"]})
    given = with_metadata(plain, "onnx", METADATA)
    assert given == export(deployable, torch.ones(2, 4), "onnx", metadata=METADATA)
    for old in ({}, {"classes": ["old"]}):
        script = export(deployable, torch.ones(2, 4), "torchscript", metadata=old)
        found = {"slipway.json": ""}
        module = torch.jit.load(io.BytesIO(with_metadata(script, "torchscript", METADATA)), _extra_files=found)
        assert json.loads(found["slipway.json"]) == METADATA
        assert torch.equal(module(torch.ones(2, 4)), torch.jit.load(io.BytesIO(script))(torch.ones(2, 4)))


def net_of(name: str) -> tuple[Deployable, tuple[int, ...]]:
    """Return a whole model with a shape of its rows: a network with batch normalization, and a table with all there is."""
    if name == "table":
        deployable = Deployable(
            nn.Identity(), task="regression", statistics={"inputs": INPUTS, "target": {"shift": 1.0, "scale": 2.0}}
        )
        tables = deployable.normalize.embeddings
        dense = preprocessed_shape(deployable.normalize, (6,))[0] - len(tables) + sum(width for _, width in tables)
        deployable.net = Embedded(Mlp((dense,), 1, hidden=[8]), tables)
        return deployable.eval(), (6,)
    statistics = {"inputs": {"shift": 0.5, "scale": 2.0}, "target": {"shift": 0.0, "scale": 1.0}}
    return Deployable(Resnet((8, 8), 3, channels=[8], blocks=1), task="classification", statistics=statistics).eval(), (8, 8)


@pytest.mark.parametrize("name", ["resnet", "table"])
def test_onnx_is_as_simple_as_the_optimizer_can_make_it(name: str) -> None:
    deployable, shape = net_of(name)
    model = onnx.load_from_string(export(deployable, torch.zeros(2, *shape), "onnx"))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not {"Identity", "Dropout", "Constant", "Shape", "BatchNormalization"} & set(kinds)
    again = optimizer.optimize(model)
    assert Counter(node.op_type for node in again.graph.node) == kinds
    initializers = [bytes(tensor.raw_data) + str(tensor.dims).encode() for tensor in model.graph.initializer]
    assert len(set(initializers)) == len(initializers), "no weight twice"


class Fixed(nn.Module):
    """Works for two rows only."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(2, 3) @ torch.ones(3, 1)


def test_a_model_that_takes_only_one_batch_size_is_refused_by_onnx() -> None:
    with pytest.raises(GateRefused, match="cannot be written as onnx"):
        export(Fixed(), torch.ones(2, 3), "onnx")
