"""Categories as vectors, learned with the network (Guo and Berkhahn 2016, "Entity Embeddings of Categorical Variables").

net = Embedded(Mlp(input_shape=(dense + 4,), …), tables=((12, 4),))     # rows of 12 categories, each becomes 4 numbers
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Embedded(nn.Module):
    """Any network behind tables that turn the codes at the end of its input into vectors."""

    last: Tensor

    def __init__(self, net: nn.Module, tables: Sequence[tuple[int, int]]) -> None:
        """net: takes the dense values and then the vectors, (batch, dense + sum of widths). tables: (rows, width) of each code.

        The first row, of unseen categories, and the last one, of missing ones, start at zero: what no train row had says
        nothing.
        """
        super().__init__()
        self.net = net
        made = [nn.Embedding(rows, width) for rows, width in tables]
        with torch.no_grad():
            for table in made:
                table.weight[[0, -1]] = 0.0
        self.tables = nn.ModuleList(made)
        self.register_buffer("last", torch.tensor([float(rows - 1) for rows, _ in tables]), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, dense + codes) -> what the network returns."""
        dense, codes = inputs[:, : -len(self.tables)], inputs[:, -len(self.tables) :]
        codes = torch.where(torch.isnan(codes), 0.0, codes).clamp(min=0.0)  # a lookup beyond the table must not be possible
        places = torch.minimum(codes, self.last).long()
        vectors = [table(places[:, index]) for index, table in enumerate(self.tables)]
        out: Tensor = self.net(torch.cat([dense, *vectors], dim=1))
        return out
