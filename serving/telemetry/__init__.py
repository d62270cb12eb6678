"""What the service knows of itself: metrics, drift, the request log, and the last minute for people."""

from serving.telemetry.entry import Entry
from serving.telemetry.exposition import CONTENT_TYPE
from serving.telemetry.ledger import Ledger
from serving.telemetry.request_log import RequestLog

__all__ = ["CONTENT_TYPE", "Entry", "Ledger", "RequestLog"]
