"""What an operator may ask, with a key of their own: swap to the bundle that the pointer names now, or back to the one before.

    curl -X POST -H "Authorization: Bearer $ADMIN_KEY" http://localhost:8080/admin/reload
    curl -X POST -H "Authorization: Bearer $ADMIN_KEY" http://localhost:8080/admin/rollback

Off without an admin key: the paths are not there. No request names a folder: what is served is decided where the service runs.
"""

import hmac
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import msgspec
from flask import Flask, Response, request

from serving.control import Control, Order
from serving.errors import BundleError, NotFound, Refusal, ServingError, Unauthorized, without_folder
from serving.service import Service

PATIENCE_S = 60.0  # for a worker to load and prove a bundle


class SwapRefused(Refusal):
    """Raised when a bundle is not fit to be swapped to; the one before answers on."""

    status, code = HTTPStatus.CONFLICT, "swap_refused"


def swapped(control: Control, order: Order) -> str:
    """Wait until every worker follows an order, and return the digest that all serve.

    Raises BundleError with the first reason when one refuses; workers that had followed already go back.
    """
    reports = control.outcome(order, patience_s=PATIENCE_S)
    refusals = [report.refused for report in reports if report.refused]
    slow = len(control.reports()) - len(reports)
    control.settle(order, followed=not refusals and not slow)
    if not refusals and not slow:
        return reports[0].digest
    if len(refusals) < len(reports):
        back = control.order_swap(Path(control.order().served))
        control.outcome(back, patience_s=PATIENCE_S)
        control.settle(back, followed=False)
    raise BundleError(refusals[0] if refusals else f"{slow} worker(s) did not load the bundle within {PATIENCE_S:g} s")


def add_admin(app: Flask, service: Service, pointer: Path) -> None:
    """Add the routes; pointer: the bundle's folder, or a link to it, as the service was started with."""

    def carried_out(give: Callable[[], Order]) -> Response:
        _check(service)
        try:
            order = give()
            service.follow()  # this worker at once; the others look every moment
            digest = swapped(service.control, order)
        except (ServingError, OSError) as error:
            reason = without_folder(error, pointer.resolve(), pointer, Path(service.control.order().before))
            raise SwapRefused(f"the model was not swapped, the one before answers on: {reason}") from error
        return Response(msgspec.json.encode({"digest": digest, "generation": order.generation}), mimetype="application/json")

    @app.post("/admin/reload")
    def reload() -> Response:
        return carried_out(lambda: service.control.order_swap(pointer))

    @app.post("/admin/rollback")
    def rollback() -> Response:
        return carried_out(lambda: service.control.order_rollback(patience_s=PATIENCE_S))


def _check(service: Service) -> None:
    """Raise NotFound where there is no admin key, Unauthorized where the request's is another one."""
    key = service.settings.admin_key
    if key is None:
        raise NotFound("there is nothing here; start the service with an admin key to have it")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key):
        raise Unauthorized("this path asks for the admin key: send Authorization: Bearer <key>")
