"""What the spans of a request say: route, attributes and phases, by OpenTelemetry's semantic conventions for HTTP servers."""

from serving.telemetry.entry import PHASES, Entry
from serving.telemetry.untraced import Names


def route_of(path: str) -> str:
    """Return the route that a model was asked at, without names and versions; any other path is its own route (Vertex AI's)."""
    path = path.rstrip("/")
    if path.startswith("/v2/models/"):
        return "/v2/models/{model}/versions/{version}/infer" if "/versions/" in path else "/v2/models/{model}/infer"
    if path.startswith("/endpoints/"):
        return "/endpoints/{endpoint}/invocations"
    if path.startswith("/v1/models/"):
        return "/v1/models/{model}:predict"
    return path


def attributes_of(entry: Entry, route: str, names: Names) -> dict[str, str | int]:
    """Return the attributes of a request's span: those of the conventions, then our own."""
    found: dict[str, str | int] = {
        "http.request.method": "POST",  # models are asked in no other way (serving.endpoints)
        "http.route": route,
        "http.response.status_code": entry.status,
        "url.path": entry.path.encode(errors="replace").decode(),  # what is no Unicode would spoil its whole batch
        "url.scheme": "http",
        "slipway.request.id": entry.id,
        "slipway.protocol": entry.protocol,
    }
    if entry.status >= 500:  # a refusal by 4xx is the client's error, and none of the server's span
        found["error.type"] = entry.reason or str(entry.status)
    if entry.reason:
        found["slipway.reason"] = entry.reason
    if entry.model:
        name, version = names.get(entry.model, ("", ""))
        found |= {"slipway.model.name": name, "slipway.model.version": version, "slipway.model.digest": entry.model}
        found |= {"slipway.role": entry.role, "slipway.rows": entry.rows, "slipway.batch": entry.batch}
    return found


def phases_of(entry: Entry) -> list[tuple[str, float, float]]:
    """Return each phase that took time, with its start and end in seconds since the request came."""
    found, at = [], 0.0
    for phase in PHASES:
        seconds: float = getattr(entry, phase)
        start = entry.total - seconds if phase == "encode" else at  # between computing and encoding lies a hand-over
        at = start + seconds
        if seconds > 0:
            end = min(at, entry.total)  # a batch may be computed on after the deadline of one of its requests
            found.append((phase, min(start, end), end))
    return found
