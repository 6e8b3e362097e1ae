"""The proxy: it stands before a server, passes everything on, and has chosen requests go wrong."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from entrepot.testing.faults.log import Log, Seen
from entrepot.testing.faults.operations import ANY, OPERATIONS, Service
from entrepot.testing.faults.relay import Relay, Setting
from entrepot.testing.faults.rules import Rule, Rules
from entrepot.testing.loopback import LoopbackServer


class FaultProxy(LoopbackServer):
    """A proxy before one server of plain HTTP, in a thread of its own; a context manager.

    server_url: the server's endpoint, for Azure with the account's path. service: how requests are told apart. seed:
    of all that is left to chance; the same seed, rules and order of requests give the same faults. sleep, clock: of
    `Delay`, `Drip` and `Rule.for_s`, in seconds; sleep runs in the proxy's own loop.

    keeps_host: `Host` passes as it was sent, so that signatures made for the proxy's address hold, as do those of S3.
    If not, it becomes the server's, and the server's address in `Location` the proxy's: for emulators that answer to
    their own address alone, and name it for uploads. None: not for Cloud Storage, whose emulator is one.

    All else passes as it was sent. Each connection of a client has its own to the server, and ends with it.
    """

    def __init__(
        self,
        server_url: str,
        *rules: Rule,
        service: Service = "s3",
        seed: int = 0,
        keeps_host: bool | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        parts = urlsplit(server_url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError("server_url is http:// and a host: what goes over TLS cannot be changed under way")
        self._rules, self._log = Rules(seed, clock), Log()
        self._rules.add(rules)
        base = parts.path.rstrip("/")
        if keeps_host is None:
            keeps_host = service != "gcs"
        place = (parts.hostname, parts.port or 80, base, keeps_host)
        self._setting = Setting(*place, service, self._rules, self._log, sleep)

    @property
    def url(self) -> str:
        """The endpoint to use in place of the server's, without a slash at its end."""
        return self.address + self._setting.base

    # ---- rules --------------------------------------------------------------------------------------

    def add(self, *rules: Rule) -> None:
        """Have more requests go wrong from now on. Rules that were there come first."""
        self._rules.add(rules)

    def clear(self) -> None:
        """From now on nothing goes wrong, and nothing was seen; `hits` stay."""
        self._rules.clear()
        self._log.clear()

    # ---- what it saw --------------------------------------------------------------------------------

    @property
    def hits(self) -> Counter[str]:
        """How often each kind of fault took effect, by its class's name: `proxy.hits["Reset"]`."""
        return self._rules.hits()

    def fired(self, rule: Rule) -> int:
        """How often this very rule's fault took effect. Raises: ValueError for a rule that is not there."""
        return self._rules.fired(rule)

    @property
    def requests(self) -> list[Seen]:
        """All requests so far, in the order in which they came, those under way too."""
        return self._log.seen()

    def count(self, operation: str = ANY, key: str = "*") -> int:
        """How many requests there were of an operation, for keys of a pattern. Raises: ValueError for a typo."""
        if operation != ANY and operation not in OPERATIONS:
            raise ValueError(f"no such operation: {operation}; see OPERATIONS")
        return sum(operation in (ANY, seen.operation) and fnmatchcase(seen.key, key) for seen in self.requests)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Relay(self._setting, reader, writer).run()
