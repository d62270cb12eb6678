"""What an operator may ask, with a key of their own: swap to the bundle that the pointer names now, or back to the one before.

    curl -X POST -H "Authorization: Bearer $ADMIN_KEY" http://localhost:8080/admin/reload
    curl -X POST -H "Authorization: Bearer $ADMIN_KEY" http://localhost:8080/admin/rollback

Off without an admin key: the paths are not there. No request names a folder: what is served is decided where the service runs.
"""

import hmac
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import msgspec
from flask import Flask, Response, request

from serving.control import Control, Order
from serving.errors import BundleError, NotFound, Refusal, ServingError, Unauthorized, without_folder
from serving.service import Service

PATIENCE_S = 60.0  # for a worker to load and prove a bundle
_log = logging.getLogger("slipway.serving")


class SwapRefused(Refusal):
    """Raised when a bundle is not fit to be swapped to; the one before answers on."""

    status, code = HTTPStatus.CONFLICT, "swap_refused"


def swapped(control: Control, give: Callable[[], Order], follow: Callable[[], None] = lambda: None) -> Order:
    """Give an order, wait until every worker has followed it, and return it. One swap at a time.

    follow: has a worker that asks follow at once. Raises BundleError with the first reason when one refuses, or does not serve
    what was ordered in the end; workers that had followed already go back. What came of it is logged here, by the one process
    that knows, and counted once.
    """
    with control.swapping():
        try:
            order = _swapped(control, give, follow)
        except (ServingError, OSError) as error:
            _log.error("swap refused: %s", error)
            raise
        finally:
            follow()  # what became of it is told by this worker at once
        _log.warning("swapped: sha256 %s answers now", order.digest[:12])
        return order


def _swapped(control: Control, give: Callable[[], Order], follow: Callable[[], None]) -> Order:
    order = give()
    follow()
    reports = control.outcome(order, patience_s=PATIENCE_S)
    refusals = [report.refused for report in reports if report.refused]
    slow = len(control.reports()) - len(reports)
    followed = bool(reports) and not refusals and not slow and all(report.digest == order.digest for report in reports)
    control.settle(order, followed=followed)
    if followed:
        return order
    served = control.order()
    if slow or any(report.digest != served.served_digest for report in reports):
        back = control.order_swap(Path(served.served))
        follow()
        control.outcome(back, patience_s=PATIENCE_S)
        control.settle(back, followed=False)
    reason = refusals[0] if refusals else f"{slow} worker(s) did not load the bundle within {PATIENCE_S:g} s"
    control.refuse(reason)
    raise BundleError(reason)


def add_admin(app: Flask, service: Service, pointer: Path) -> None:
    """Add the routes; pointer: the bundle's folder, or a link to it, as the service was started with."""

    def carried_out(give: Callable[[], Order]) -> Response:
        _check(service)
        try:
            order = swapped(service.control, give, service.follow)
        except (ServingError, OSError) as error:
            reason = without_folder(error, pointer.resolve(), pointer, Path(service.control.order().before))
            raise SwapRefused(f"the model was not swapped, the one before answers on: {reason}") from error
        return Response(
            msgspec.json.encode({"digest": order.digest, "generation": order.generation}), mimetype="application/json"
        )

    @app.post("/admin/reload")
    def reload() -> Response:
        return carried_out(lambda: service.control.order_swap(pointer))

    @app.post("/admin/rollback")
    def rollback() -> Response:
        return carried_out(service.control.order_rollback)


def _check(service: Service) -> None:
    """Raise NotFound where there is no admin key, Unauthorized where the request's is another one."""
    key = service.settings.admin_key
    if key is None:
        raise NotFound("there is nothing here; start the service with an admin key to have it")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key):
        raise Unauthorized("this path asks for the admin key: send Authorization: Bearer <key>")
