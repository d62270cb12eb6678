"""How much monitors may cost: a share of the time that training itself takes, over the whole fit."""

import math
from dataclasses import dataclass, field


@dataclass
class Budget:
    """Seconds of training and of each monitor, in this process.

    share: of training time that monitors may take. order: their names, the first served first: each answers for what it took
    itself and for what those before it took, so that an expensive picture does not take a curve's points away.
    """

    share: float
    order: tuple[str, ...]
    trained_s: float = 0.0
    epochs: int = 0
    spent_s: dict[str, float] = field(default_factory=dict)  # by monitor, over all epochs
    last_s: dict[str, float] = field(default_factory=dict)  # by monitor, of its last look
    told_s: float = 0.0  # for recording the costs themselves

    def spend(self, name: str, seconds: float) -> None:
        """Note what a monitor took."""
        self.spent_s[name] = self.spent_s.get(name, 0.0) + seconds

    def train(self, seconds: float) -> None:
        """Note what an epoch took without its monitors."""
        self.trained_s += seconds
        self.epochs += 1

    @property
    def total_s(self) -> float:
        """What all monitors took."""
        return sum(self.spent_s.values()) + self.told_s

    @property
    def share_so_far(self) -> float:
        """What monitors took, as a share of what training took."""
        return self.total_s / self.trained_s if self.trained_s > 0 else 0.0

    @property
    def epoch_limit_s(self) -> float:
        """What monitors may take in an epoch, on average."""
        return self.share * self.trained_s / max(1, self.epochs)

    def affords(self, name: str) -> bool:
        """Return whether one more look, as costly as the last one, keeps the total within the share."""
        return self._spent_for(name) + self.last_s.get(name, 0.0) <= self.share * self.trained_s

    def epochs_between(self, name: str) -> int:
        """Return after how many epochs a monitor's looks are affordable, at least 2."""
        others_s = (self._spent_for(name) - self.spent_s.get(name, 0.0)) / max(1, self.epochs)
        left_s = max(self.epoch_limit_s - others_s, self.epoch_limit_s / 10, 1e-9)
        return max(2, math.ceil(self.last_s.get(name, 0.0) / left_s))

    def _spent_for(self, name: str) -> float:
        served = self.order[: self.order.index(name) + 1]
        return sum(self.spent_s.get(other, 0.0) for other in served) + self.told_s
