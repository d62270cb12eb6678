"""How the processes of one service agree: orders from one side, reports from each worker, as small files in a shared folder.

    control = Control(folder)
    order = control.order_swap(Path("models/current"))     # the parent on SIGHUP, or a worker on POST /admin/reload
    reports = control.outcome(order, patience_s=60)         # what each worker made of it

An order is a file that is replaced atomically, so that a worker reads the old one or the new one; workers look every tenth of a
second. No folder: one process, which keeps orders to itself.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from serving.bundle import Bundle
from serving.errors import BundleError, ServingError, without_folder

POLL_S = 0.1
_ORDER, _LOCK, _SWAPPING = "order.json", "order.lock", "swap.lock"
_NEVER = -1, -1
Result = Literal["done", "refused"]


class Order(msgspec.Struct, frozen=True):
    """What every worker is to do: serve `bundle`, whose content is `seal` and whose artifact `digest`; end soon when draining.

    served: what the last order that all workers followed made them serve; a worker that starts late begins there. before: what
    they served until then, to go back to. settled: the last generation of which it is known what became of it. refused: why the
    last swap that failed did; refusals: how many did. untold: what came of swaps that no worker has counted yet.
    """

    generation: int = 0
    bundle: str = ""
    seal: str = ""
    digest: str = ""
    served: str = ""
    served_seal: str = ""
    served_digest: str = ""
    before: str = ""
    before_seal: str = ""
    settled: int = 0
    refused: str = ""
    refusals: int = 0
    untold: tuple[Result, ...] = ()
    draining: bool = False


class Report(msgspec.Struct, frozen=True):
    """What one worker made of an order: the digest that it serves now, why it refused, and why it is not ready, if it is so."""

    pid: int
    generation: int
    digest: str
    refused: str | None = None
    unready: str | None = None


class Control:
    """Orders and reports of one service."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._order = Order()  # without a folder
        self._reports: dict[int, Report] = {}
        self._seen: tuple[tuple[int, int], Order] = (_NEVER, Order())

    def order(self) -> Order:
        """Return the present order; reads the file only when it has changed."""
        if self._folder is None:
            return self._order
        path = self._folder / _ORDER
        try:
            found = path.stat()
            changed = found.st_mtime_ns, found.st_ino  # two orders may come within one tick of the clock
            if changed != self._seen[0]:
                self._seen = changed, msgspec.json.decode(path.read_bytes(), type=Order)
        except FileNotFoundError:  # nobody has ordered anything yet
            return Order()
        return self._seen[1]

    def begin(self, bundle: Bundle) -> None:
        """Note what the service starts with."""
        with self._locked():
            if not self.order().served:
                seal, digest = bundle.description.seal, bundle.digest
                self._give(self.order(), served=str(bundle.folder.resolve()), served_seal=seal, served_digest=digest)

    def order_swap(self, folder: Path) -> Order:
        """Tell every worker to serve the bundle in `folder`; raises BundleError or CorruptFile at once when it is none."""
        try:
            bundle = Bundle(folder.resolve())
        except (ServingError, OSError) as error:
            self.refuse(without_folder(error, folder.resolve(), folder))
            raise
        with self._locked():
            order = self.order()
            chosen = {"bundle": str(bundle.folder), "seal": bundle.description.seal, "digest": bundle.digest}
            return self._give(order, generation=order.generation + 1, **chosen)

    def order_rollback(self) -> Order:
        """Tell every worker to serve what was served before the last swap; raises BundleError where that is gone."""
        order = self.order()
        if not order.before:
            raise BundleError("nothing was served before this model, so there is nothing to go back to")
        if Bundle(Path(order.before)).description.seal != order.before_seal:
            raise BundleError(
                f"{order.before}: not the bundle that was served from here; keep each bundle in a folder of its own"
            )
        return self.order_swap(Path(order.before))

    def settle(self, order: Order, *, followed: bool) -> None:
        """Note what became of an order: workers that start from now on begin with its bundle if all workers followed it."""
        with self._locked():
            present = self.order()
            if present.generation != order.generation:
                return
            changes: dict[str, object] = {"settled": order.generation}
            if followed:
                changes["untold"] = (*present.untold, "done")
                if present.served_seal != order.seal:
                    changes |= {"served": order.bundle, "served_seal": order.seal, "served_digest": order.digest}
                    changes |= {"before": present.served, "before_seal": present.served_seal}
            self._give(present, **changes)

    def refuse(self, reason: str) -> None:
        """Note why a swap failed, for every worker to tell."""
        with self._locked():
            order = self.order()
            self._give(order, refused=reason, refusals=order.refusals + 1, untold=(*order.untold, "refused"))

    def uncounted(self) -> tuple[Result, ...]:
        """Return what came of each swap since any worker asked: whoever asks has to count them."""
        if not self.order().untold:
            return ()
        with self._locked():
            order = self.order()
            if order.untold:  # nobody else was faster
                self._give(order, untold=())
            return order.untold

    def drain(self) -> None:
        """Tell every worker that the service is about to stop."""
        with self._locked():
            self._give(self.order(), draining=True)

    def report(self, report: Report) -> None:
        """Say what this worker made of an order."""
        if self._folder is None:
            self._reports[report.pid] = report
        else:
            _replace(self._folder / f"worker-{report.pid}.json", msgspec.json.encode(report))

    def reports(self) -> list[Report]:
        """Return the latest report of each worker that lives."""
        if self._folder is None:
            return list(self._reports.values())
        found = []
        for path in sorted(self._folder.glob("worker-*.json")):
            with suppress(FileNotFoundError):  # another process has just removed it
                report = msgspec.json.decode(path.read_bytes(), type=Report)
                if _lives(report.pid):
                    found.append(report)
                else:
                    path.unlink()
        return found

    def reported(self, pid: int) -> bool:
        """Return whether a worker, dead or alive, has got so far as to report."""
        return self._folder is not None and (self._folder / f"worker-{pid}.json").exists()

    def outcome(self, order: Order, *, patience_s: float) -> list[Report]:
        """Wait until every worker has reported on an order, and return the reports; those of the slow are missing."""
        deadline = time.monotonic() + patience_s
        while True:
            reports = self.reports()
            done = [report for report in reports if report.generation >= order.generation]
            if (reports and len(done) == len(reports)) or time.monotonic() > deadline:
                return done
            time.sleep(POLL_S / 4)

    def _give(self, order: Order, **changes: object) -> Order:
        given = msgspec.structs.replace(order, **changes)
        if self._folder is None:
            self._order = given
        else:
            _replace(self._folder / _ORDER, msgspec.json.encode(given))
        return given

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Hold whoever else wants to swap until it is known what became of this one."""
        with self._flock(_SWAPPING):
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._flock(_LOCK):
            self._seen = _NEVER, Order()  # what others gave must not be overlooked
            yield

    @contextmanager
    def _flock(self, name: str) -> Iterator[None]:
        if self._folder is None:
            yield
            return
        with (self._folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a fork has the file, too


def _replace(path: Path, payload: bytes) -> None:
    """Write without an fsync: the folder ends with the service."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(payload)
    temporary.replace(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
