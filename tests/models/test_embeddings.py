"""Categories as learned vectors: one for each code, nothing for what was never seen, and no lookup beyond the table."""

import pytest
import torch
from torch import nn

from pipeline.models.embeddings import Embedded
from pipeline.models.registry import CUSTOM, Architecture, build
from pipeline.training.flat import FlatParameters
from pipeline.training.weights import dump, load

TABLES = ((4, 2), (6, 3))  # 2 and 4 categories


def embedded() -> Embedded:
    torch.manual_seed(0)
    return Embedded(nn.Identity(), TABLES)


def test_codes_become_the_rows_of_their_tables_behind_the_dense_values() -> None:
    net = embedded()
    first, second = (table.weight for table in net.tables)
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    found = net(torch.tensor([[0.5, 3.0, 1.0]]))
    torch.testing.assert_close(found, torch.cat([torch.tensor([0.5]), first[3], second[1]]).unsqueeze(0))


def test_a_category_that_no_train_row_had_says_nothing_before_and_after_training() -> None:
    net = Embedded(nn.Linear(5 + 1, 1), TABLES)
    for table in net.tables:
        assert isinstance(table, nn.Embedding)
        assert not table.weight[[0, -1]].any(), "neither unseen nor missing says anything yet"
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        net(torch.tensor([[0.5, 3.0, 1.0], [0.1, 1.0, 5.0]])).sum().backward()
        optimizer.step()
    for table in net.tables:
        assert isinstance(table, nn.Embedding)
        assert table.weight[0].tolist() == [0.0] * table.embedding_dim
        assert table.weight[1].abs().sum() > 0


@pytest.mark.parametrize("code", [-1.0, -1e30, 99.0, 1e30, float("nan"), float("inf"), -float("inf")])
def test_a_code_that_no_table_has_is_taken_for_its_nearest_and_never_fails(code: float) -> None:
    found = embedded()(torch.tensor([[0.5, code, code]]))
    assert found.shape == (1, 6)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("name", ["mlp", CUSTOM])
def test_any_table_model_is_built_for_the_values_and_the_vectors_and_saved_with_its_tables(name: str) -> None:
    source = b"""
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], outputs)
    def forward(self, inputs):
        return self.layer(inputs)
"""
    args = {"hidden": [7]} if name == "mlp" else {"class": "Net", "args": {}}
    architecture = Architecture(name, (3 + 2,), 2, args, TABLES)
    net = build(architecture, source=source)
    assert isinstance(net, Embedded)
    assert next(p.shape[1] for p in net.net.parameters() if p.ndim == 2) == 3 + 2 + 3
    rows = torch.tensor([[0.1, 0.2, 0.3, 1.0, 4.0], [0.4, 0.5, 0.6, 0.0, 5.0]])
    again = load(dump(architecture, net.state_dict()), source=source)
    torch.testing.assert_close(again(rows), net.eval()(rows))


def test_vectors_are_trained_through_the_flat_buffers() -> None:
    net = build(Architecture("mlp", (3,), 1, {"hidden": [4]}, TABLES))
    flat = FlatParameters(net)
    net(torch.tensor([[0.5, 3.0, 1.0]])).sum().backward()
    flat.check_attached()
    gradient = flat.parameters["tables.0.weight"].grad
    assert gradient is not None
    assert not gradient.is_sparse
    assert gradient.abs().sum(1).nonzero().flatten().tolist() == [3]
    assert flat.gradients.data_ptr() <= gradient.data_ptr() < flat.gradients.data_ptr() + flat.gradients.nbytes
