"""A body passes from one connection to the other; what goes wrong within it goes wrong here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from entrepot.testing.faults.log import Record
from entrepot.testing.faults.values import Close, Direction, Drip, FlipBits, Reset, Stall
from entrepot.testing.loopback import flushed
from entrepot.testing.messages import PIECE_BYTES, Body

_DRIPS_PER_S: Final = 20


class Cut(Exception):
    """Nothing more passes on this connection. fault: how it ends."""

    def __init__(self, fault: Stall | Reset | Close) -> None:
        super().__init__(type(fault).__name__)
        self.fault = fault


async def pass_body(
    body: Body,
    writer: asyncio.StreamWriter,
    record: Record,
    direction: Direction,
    count: Callable[[int], None],
    sleep: Callable[[float], Awaitable[object]],
    *,
    framed: bool = True,
) -> None:
    """Pass a body on, with the record's fault where it is one of this direction's bytes.

    count: told of the content's bytes before they go. framed: chunks keep their frames. Raises: Cut.
    """
    fault = record.fault
    if not isinstance(fault, (Stall, Reset, Close, FlipBits, Drip)) or fault.direction != direction:
        fault = None
    point = None
    if fault is not None and not isinstance(fault, Drip):
        assert record.shot is not None
        point = await _position(fault.at_byte, body, record.shot.random)
    at = 0
    while (piece := await body.next()) is not None:
        data, start = piece.wire, at
        if not piece.is_payload:
            if framed:
                writer.write(data)
                await writer.drain()
            continue
        at += len(data)
        if point is not None and start <= point < at:
            record.take_effect()
            if not isinstance(fault, FlipBits):
                count(point - start)
                writer.write(data[: point - start])
                await flushed(writer)
                assert isinstance(fault, (Stall, Reset, Close))
                raise Cut(fault)
            assert record.shot is not None
            data = _flipped(data, point - start, record.shot.random)
        if isinstance(fault, Drip):
            await _drip(data, writer, record, count, sleep, fault.bytes_per_second)
            continue
        count(len(data))
        writer.write(data)
        await writer.drain()


async def pass_zeros(size: int, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    """So many zeros."""
    while size > 0:
        step = min(size, PIECE_BYTES)
        count(step)
        writer.write(bytes(step))
        await writer.drain()
        size -= step


async def _position(at_byte: int | None, body: Body, chooses: random.Random) -> int | None:
    """Which byte of the content is meant, from 0; None where the body is known not to have it."""
    if body.length is None and (at_byte is None or at_byte < 0):
        await body.gathered()
    if body.length is None:
        return at_byte
    if at_byte is None:
        return chooses.randrange(body.length) if body.length else None
    point = at_byte if at_byte >= 0 else body.length + at_byte
    return point if 0 <= point < body.length else None


def _flipped(data: bytes, at: int, chooses: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << chooses.randrange(8))]) + data[at + 1 :]


async def _drip(
    data: bytes,
    writer: asyncio.StreamWriter,
    record: Record,
    count: Callable[[int], None],
    sleep: Callable[[float], Awaitable[object]],
    bytes_per_second: float,
) -> None:
    for drop in _drops(data, max(1, int(bytes_per_second / _DRIPS_PER_S))):
        record.take_effect()
        count(len(drop))
        writer.write(drop)
        await writer.drain()
        await sleep(len(drop) / bytes_per_second)


def _drops(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
