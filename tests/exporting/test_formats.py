"""An export is one file with a dynamic batch and raw input, or a refusal in one line."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import GateRefused
from pipeline.exporting.formats import RUNTIME, SUFFIX, export
from pipeline.training.deployed import deployable_of
from serving import runtimes
from tests.conftest import Finished

FORMATS = list(SUFFIX)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_takes_raw_rows_in_batches_of_any_size(form: str, finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    inputs, _ = finished.prepared.split("validation")
    payload = export(deployable, torch.from_numpy(inputs[:2]), form)  # type: ignore[arg-type]  # a literal, in a sweep
    run = runtimes.load(payload, RUNTIME[form])  # type: ignore[index]
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


@pytest.mark.parametrize("form", FORMATS)
def test_a_branch_on_data_is_refused_instead_of_frozen(form: str) -> None:
    with pytest.raises(GateRefused, match=f"cannot be written as {form}: .*branch that depends on the values") as caught:
        export(Branches(), torch.ones(2, 3), form)  # type: ignore[arg-type]
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) == 1


class Fixed(nn.Module):
    """Works for two rows only."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(2, 3) @ torch.ones(3, 1)


def test_a_model_that_takes_only_one_batch_size_is_refused_by_onnx() -> None:
    with pytest.raises(GateRefused, match="cannot be written as onnx"):
        export(Fixed(), torch.ones(2, 3), "onnx")
