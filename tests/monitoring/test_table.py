"""The layer table counts what torch multiplies, and says what it cannot count."""

from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.train_sections import TrainConfig
from pipeline.models.macs import LayerRow, layer_rows, total_of
from pipeline.monitoring.graph import Graph
from pipeline.monitoring.table import aligned, markdown
from pipeline.tracking import Tracker
from pipeline.training.batches import InMemory
from pipeline.training.begin import begin
from tests.monitoring.trainings import CNN, Begin, Collected


def rows_of(net: nn.Module, *shape: int) -> dict[str, LayerRow]:
    with torch.no_grad():
        return {row.name: row for row in layer_rows(net.eval(), torch.randn(2, *shape))}


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Linear(8, 24), (8,), 8 * 24),
        (nn.Linear(8, 24), (5, 8), 5 * 8 * 24),
        (nn.Conv2d(3, 8, 3, padding=1), (3, 6, 6), 36 * 8 * 3 * 9),
        (nn.Conv2d(4, 8, (1, 3), groups=2, stride=2), (4, 6, 7), 3 * 3 * 8 * 2 * 3),
        (nn.Conv1d(2, 5, 4), (2, 10), 7 * 5 * 2 * 4),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 8 * 2 * 8),
        (nn.ConvTranspose2d(4, 2, 2, stride=2), (4, 3, 3), 4 * 9 * 4 * 2),
        (nn.BatchNorm2d(4), (4, 3, 3), 36),
        (nn.LayerNorm(6), (5, 6), 30),
        (nn.ReLU(), (6,), 0),
        (nn.MaxPool2d(2), (1, 4, 4), 0),
    ],
)
def test_macs_of_a_row_are_counted(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    (row,) = rows_of(nn.Sequential(layer), *shape).values()
    assert row.macs == macs
    assert row.parameters == sum(p.numel() for p in layer.parameters())


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.tied, self.own, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), Scaled(), nn.Linear(4, 9)
        self.tied.weight = self.first.weight
        self.unused.requires_grad_(requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.own(self.tied(self.first(self.first(inputs))))
        return out


def test_shared_and_own_and_unused_layers_are_told_apart() -> None:
    net = Shared()
    rows = rows_of(net, 4)
    assert (rows["first"].calls, rows["first"].macs, rows["first"].parameters) == (2, 32, 20)
    assert rows["tied"].parameters == 4, "the weight counts for the layer that had it first"
    assert rows["own"].macs is None
    assert (rows["unused"].calls, rows["unused"].macs, rows["unused"].trainable) == (0, 0, 0)
    total = total_of(list(rows.values()))
    assert total.parameters == sum(p.numel() for p in net.parameters())
    text = aligned([*rows.values(), total])
    assert "Linear x2" in text
    assert "never called" in text
    assert "not counted" in text
    assert "at least 48" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("-")}) == 1
    assert markdown(list(rows.values())).splitlines()[2] == "| first | Linear x2 | 4 | 20 | 20 | 32 |"


def test_a_training_writes_the_table_once_and_records_it_as_text(training: Begin) -> None:
    whole = training("digits", *CNN)
    state = whole.run()
    content = msgspec.json.decode((whole.out / "layers.json").read_bytes())
    assert content["total"]["parameters"] == sum(p.numel() for p in state.net.parameters())
    assert [row["name"] for row in content["layers"]][:2] == ["features.0.0", "features.0.1"]
    assert "features.0.0  Conv2d" in (whole.out / "layers.txt").read_text()
    (record,) = whole.collected.of("text")
    assert record.values["layers"].startswith("| layer | kind |")


def test_the_graph_is_one_that_tensorboard_reads(training: Begin) -> None:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    whole = training("digits", *CNN)
    whole.run()
    assert [record.values for record in whole.collected.of("graph")] == [{"path": "graph.pb"}]
    nodes = GraphDef.FromString((whole.out / "graph.pb").read_bytes()).node
    assert any("Conv2d" in node.name for node in nodes)
    assert whole.collected.events("monitor_failed") == []


def test_a_network_that_cannot_be_traced_costs_one_event_and_no_output(
    training: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = training("iris")
    net = whole.state.net
    forward = net.forward

    def untraceable(inputs: Tensor) -> Tensor:
        if torch._C._get_tracing_state():
            raise RuntimeError("no tracing here")
        out: Tensor = forward(inputs)
        return out

    net.forward = untraceable
    capsys.readouterr()
    assert whole.run().epoch == 2
    (event,) = whole.collected.events("monitor_failed")
    assert event["monitor"] == "graph"
    assert whole.collected.of("graph") == []
    assert capsys.readouterr().out == ""


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.layer(inputs)
        return out if bool(out.sum() > -1e9) else -out


def test_a_branch_on_data_is_traced_with_one_word_of_warning_and_leaves_the_network_alone(tmp_path: Path) -> None:
    collected, state = Collected(), begin(Branching().train(), TrainConfig())
    rows = InMemory(torch.randn(5, 4), torch.zeros(5).long(), 4)
    Graph(rows, Tracker("train", [collected]), tmp_path).at_start(state)
    (event,) = collected.events("graph_incomplete")
    assert "Converting a tensor to a Python boolean" in event["why"]
    assert (tmp_path / "graph.pb").is_file()
    assert state.net.training
