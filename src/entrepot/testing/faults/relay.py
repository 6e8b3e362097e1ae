"""One client's connection and the one to the server behind it: exchanges pass from one to the other, or go wrong.

Bytes pass as they come, heads and the frames of chunks included, unless a fault changes them. A body is held as a whole
only where its fault needs its length (an offset from the end of chunks) or all of it (`RepeatToken`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from entrepot.testing.faults.log import Log, Record
from entrepot.testing.faults.operations import Asked, Service, asked_of, key_is_in_body, with_key
from entrepot.testing.faults.passing import Cut, pass_body, pass_zeros
from entrepot.testing.faults.replies import error_document, made_reply, range_told, repeated_page
from entrepot.testing.faults.rules import Rules
from entrepot.testing.faults.values import (
    Close,
    Delay,
    DropReply,
    EmptyOk,
    ErrorBody,
    NoLength,
    RedirectTo,
    RepeatToken,
    Reset,
    Stall,
    Status,
    WrongRange,
)
from entrepot.testing.loopback import HEAD_MOST_BYTES, close, flushed, reset
from entrepot.testing.messages import BadMessage, Body, Head, RequestHead, read_head, status_line, status_of

_IN_PLACE: Final[dict[str, Reset | Close | Stall]] = {"reset": Reset(), "close": Close(), "stall": Stall()}
_BODILESS: Final = frozenset({204, 304})
_Stub = Status | ErrorBody | EmptyOk | RedirectTo


@dataclass(frozen=True, slots=True)
class Setting:
    """What all connections of a proxy share.

    base: what paths begin with before the container. keeps_host: `Host` passes as it was sent.
    """

    host: str
    port: int
    base: str
    keeps_host: bool
    service: Service
    rules: Rules
    log: Log
    sleep: Callable[[float], Awaitable[object]]

    @property
    def authority(self) -> str:
        """Where the server is, as it calls itself."""
        return f"{self.host}:{self.port}"


class Relay:
    """One connection of a client, for as long as it lasts."""

    def __init__(self, setting: Setting, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._setting = setting
        self._reader, self._writer = reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        """Pass exchanges until either side ends its connection, or a fault does."""
        try:
            while await self._exchange():
                pass
            await flushed(self._writer)
        finally:
            await self._leave_server()

    async def _leave_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await close(server[1])

    async def _exchange(self) -> bool:
        """One request and its reply. False where it was the connection's last."""
        head = await self._next_head()
        if head is None:
            return False
        request = RequestHead.of(head)
        body = Body.of_request(request, self._reader)
        asked = await self._asked(request, body)
        record = self._setting.log.begin(asked, request.method, self._setting.rules.meet(asked))
        try:
            return await self._answer(request, body, record)
        except Cut as cut:
            await self._end_by(cut)
            return False
        finally:
            record.end()

    async def _next_head(self) -> Head | None:
        """The client's next request. A server that leaves meanwhile takes the client's connection along."""
        if self._server is None:
            return await read_head(self._reader)
        asking = asyncio.ensure_future(read_head(self._reader))
        leaving = asyncio.ensure_future(self._server[0].read(1))
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                await self._leave_server()
            return asking.result() if asking.done() else None
        finally:
            await _ended(asking, leaving)

    async def _asked(self, request: RequestHead, body: Body) -> Asked:
        asked = asked_of(self._setting.service, request, self._setting.base)
        if key_is_in_body(asked) and not request.waits_to_send:
            asked = with_key(asked, await body.peek())
        return asked

    # ---- what goes wrong before the server ----------------------------------------------------------

    async def _answer(self, request: RequestHead, body: Body, record: Record) -> bool:
        match record.fault:
            case Delay(seconds):
                record.take_effect()
                await self._setting.sleep(seconds)
            case (Status() | ErrorBody() | EmptyOk()) as stub if not stub.applied:
                return await self._answer_ourselves(request, body, record, stub)
            case RedirectTo() as stub:
                return await self._answer_ourselves(request, body, record, stub)
            case (Stall(0, "request") | Reset(0, "request") | Close(0, "request")) as fault:
                record.take_effect()
                raise Cut(fault)
            case _:
                pass
        return await self._ask_server(request, body, record)

    async def _answer_ourselves(self, request: RequestHead, body: Body, record: Record, stub: _Stub) -> bool:
        if not request.waits_to_send:
            while await body.next() is not None:
                pass
        last = request.waits_to_send or request.head.ends_connection
        await self._write_stub(request, record, stub, last=last)
        return not last

    async def _write_stub(self, request: RequestHead, record: Record, stub: _Stub, *, last: bool) -> None:
        service = self._setting.service
        status, fields, content = 200, list[tuple[str, str]](), b""
        match stub:
            case Status(code, headers, given, error):
                status = code
                usual, document = error_document(service, code, error)
                fields = [*headers.items(), *(usual if given is None else [])]
                content = document if given is None else given
            case ErrorBody(error):
                fields, content = error_document(service, 200, error)
            case EmptyOk():
                pass
            case RedirectTo(url, code):
                status, fields = code, [("Location", url.rstrip("/") + request.target)]
        head, content = made_reply(status, fields, b"" if status in _BODILESS else content, closes=last)
        record.take_effect()
        record.status = status
        if request.method != "HEAD":
            record.reply_bytes = len(content)
        self._writer.write(head.raw + (content if request.method != "HEAD" else b""))
        await self._writer.drain()

    # ---- with the server ----------------------------------------------------------------------------

    async def _ask_server(self, request: RequestHead, body: Body, record: Record) -> bool:
        """Both directions at once: a server may answer before it has all of the request."""
        if self._server is None:
            setting = self._setting
            self._server = await asyncio.open_connection(setting.host, setting.port, limit=HEAD_MOST_BYTES)
        reader, writer = self._server
        sending = asyncio.ensure_future(self._send(writer, request, body, record))
        receiving = asyncio.ensure_future(self._receive(reader, request, record))
        try:
            done, _ = await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            return receiving.result()
        finally:
            await _ended(sending, receiving)

    async def _send(self, writer: asyncio.StreamWriter, request: RequestHead, body: Body, record: Record) -> None:
        def count(size: int) -> None:
            record.request_bytes += size

        record.forwarded = True
        writer.write(self._for_server(request.head).raw)
        try:
            await pass_body(body, writer, record, "request", count, self._setting.sleep)
        except BadMessage:
            raise  # the client's fault: there is no more to send
        except OSError:
            # The server wants no more of it and may have said why: the client is let finish, so that it reads that.
            while await body.next() is not None:
                pass

    async def _receive(self, reader: asyncio.StreamReader, request: RequestHead, record: Record) -> bool:
        while True:
            head = await read_head(reader)
            if head is None:
                raise BadMessage("the server ended the connection without a reply")
            if not 100 <= status_of(head) < 200:
                break
            self._writer.write(head.raw)
            await self._writer.drain()
        head = self._for_client(request.head, head)
        body = Body.of_reply(head, request.method, reader)
        last = request.head.ends_connection or head.ends_connection or body.until_close
        match record.fault:
            case DropReply(how):
                while await body.next() is not None:
                    pass
                record.take_effect()
                raise Cut(_IN_PLACE[how])
            case ErrorBody() | EmptyOk() if status_of(head) >= 400:
                await self._pass_reply(head, body, record)  # refused: nobody could find out that a 200 is not true
            case (Status() | ErrorBody() | EmptyOk()) as stub:
                while await body.next() is not None:
                    pass
                await self._write_stub(request, record, stub, last=last)
            case WrongRange(how):
                await self._pass_range(head, body, record, how)
            case RepeatToken() if status_of(head) == 200:
                await self._pass_page(request, head, body, record)
            case NoLength() if body.length or body.length is None or request.method == "HEAD":
                record.take_effect()
                bare = head.changed(
                    drop=("content-length", "transfer-encoding", "connection"), add=[("Connection", "close")]
                )
                await self._pass_reply(bare, body, record, framed=False)
                last = True
            case _:
                await self._pass_reply(head, body, record)
        return not last

    def _for_server(self, head: Head) -> Head:
        setting = self._setting
        return head if setting.keeps_host else head.replaced("host", head.get("host"), setting.authority)

    def _for_client(self, request: Head, head: Head) -> Head:
        setting = self._setting
        ours = request.get("host")
        return head if setting.keeps_host else head.replaced("location", f"//{setting.authority}", f"//{ours}")

    async def _pass_reply(self, head: Head, body: Body, record: Record, *, framed: bool = True) -> None:
        record.status = status_of(head)
        self._writer.write(head.raw)
        await pass_body(body, self._writer, record, "reply", _counting(record), self._setting.sleep, framed=framed)

    async def _pass_range(self, head: Head, body: Body, record: Record, how: str) -> None:
        told = range_told(head)
        if status_of(head) != 206 or told is None:
            await self._pass_reply(head, body, record)
            return
        first, last, size = told
        record.take_effect()
        if how == "ignored":
            whole = head.changed(
                start=status_line(200),
                drop=("content-range", "content-length", "transfer-encoding"),
                add=[("Content-Length", str(size))],
            )
            record.status = 200
            self._writer.write(whole.raw)
            await pass_zeros(first, self._writer, _counting(record))
            await pass_body(body, self._writer, record, "reply", _counting(record), self._setting.sleep, framed=False)
            await pass_zeros(size - last - 1, self._writer, _counting(record))
            return
        shifted = [("Content-Range", f"bytes {first + 1}-{last + 1}/{max(size, last + 2)}")]
        wrong = head.changed(drop=("content-range",), add=shifted if how == "shifted" else ())
        await self._pass_reply(wrong, body, record)

    async def _pass_page(self, request: RequestHead, head: Head, body: Body, record: Record) -> None:
        await body.gathered()
        page = repeated_page(self._setting.service, request.query, body.content())
        if page is None:
            await self._pass_reply(head, body, record)
            return
        while await body.next() is not None:
            pass
        record.take_effect()
        changed = head.changed(drop=("content-length", "transfer-encoding"), add=[("Content-Length", str(len(page)))])
        record.status = status_of(head)
        record.reply_bytes = len(page)
        self._writer.write(changed.raw + page)
        await self._writer.drain()

    # ---- the end of it ------------------------------------------------------------------------------

    async def _end_by(self, cut: Cut) -> None:
        match cut.fault:
            case Reset():
                reset(self._writer)
                if self._server is not None:
                    reset(self._server[1])
            case Stall(_, "request"):
                # Nothing is read any more, so that the client's own leave is not seen either.
                await asyncio.Event().wait()
            case Stall():
                while await self._reader.read(HEAD_MOST_BYTES):
                    pass
            case Close():
                pass  # as every conversation ends


def _counting(record: Record) -> Callable[[int], None]:
    def count(size: int) -> None:
        record.reply_bytes += size

    return count


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
