"""Clients in a process of their own, so that they and what measures them do not wait for each other.

    python -m tests.serving.soak.load '{"port": 8080, "mode": "closed", "clients": 8}' < what ends it

mode: `closed` (each client asks again once it is answered), `open` (`rate` requests a second, whatever comes back) or `slow`
(clients that send a half of a body, then a byte a second). It ends after `seconds` or `count` requests, or, where it shall
`wait`, with its standard input, and writes a line of JSON: what came back, and how long it took.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_DIGEST = re.compile(rb"(?i)\r\nx-model-digest: (\w+)")
_MOST = 1000  # requests under way of an open load; more are counted as not sent
_LIMIT_S = 30


class Load:
    """What to send, and what came back."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.port = options["port"]
        body = options.get("body", "{}").encode()
        self.head = (
            f"POST {options.get('path', '/predict')} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n".encode()
        )
        self.payload = self.head + b"content-length: %d\r\n\r\n" % len(body) + body
        self.statuses: Counter[str] = Counter()
        self.digests: set[str] = set()
        self.times: list[float] = []  # seconds of each reply 200
        self.started = time.monotonic()
        self.until = self.started + options.get("seconds", 3600)
        self.left = options.get("count", 10**12)
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @property
    def going(self) -> bool:
        return bool(self.left > 0 and time.monotonic() < self.until)

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        ended = loop.run_in_executor(None, sys.stdin.read) if self.options.get("wait") else None
        if ended is not None:
            ended.add_done_callback(lambda _: setattr(self, "left", 0))
        await {"closed": self.closed, "open": self.open, "slow": self.slow}[self.options["mode"]]()
        ordered = sorted(self.times) or [0.0]
        return {
            "statuses": self.statuses,
            "digests": sorted(self.digests),
            "seconds": time.monotonic() - self.started,
            **{f"p{share}": 1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 99)},
            "worst": 1000 * ordered[-1],
        }

    async def closed(self) -> None:
        async def client() -> None:
            while self.going:
                self.left -= 1
                if not await self.ask():
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(client() for _ in range(self.options["clients"])))

    async def open(self) -> None:
        tasks: set[asyncio.Task[bool]] = set()
        sent = 0
        while self.going:
            due = int((time.monotonic() - self.started) * self.options["rate"])
            for _ in range(due - sent):
                if len(tasks) < _MOST:
                    task = asyncio.create_task(self.ask())
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                else:
                    self.statuses["not sent"] += 1
            sent = due
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)

    async def ask(self) -> bool:
        """Send one request, on a connection that is free or on a new one; return whether it was answered with 200."""
        started = time.monotonic()
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_LIMIT_S):
                while self.idle and self.idle[-1][0].at_eof():  # closed by the service since: no client would send on it
                    self.idle.pop()[1].close()
                reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(self.payload)
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.statuses[type(error).__name__] += 1
            if writer is not None:
                writer.close()
            return False
        status = head[9:12].decode()
        self.statuses[status] += 1
        if digest := _DIGEST.search(head):
            self.digests.add(digest[1].decode())
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self.idle.append((reader, writer))
        if status == "200":
            self.times.append(time.monotonic() - started)
        return status == "200"

    async def slow(self) -> None:
        async def client() -> None:
            while self.going:
                with suppress(OSError, asyncio.IncompleteReadError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(self.head + b"content-length: 10000\r\n\r\n" + b" " * 5000)
                    while self.going:
                        try:
                            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1)
                        except TimeoutError:
                            writer.write(b" ")
                        else:
                            self.statuses[head[9:12].decode()] += 1
                            break
                    writer.close()

        await asyncio.gather(*(client() for _ in range(self.options["clients"])))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(Load(json.loads(sys.argv[1])).run())))
