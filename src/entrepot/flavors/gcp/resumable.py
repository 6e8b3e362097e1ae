"""The state of one resumable upload: what the service holds, what is to be sent next, what a reply means. Pure.

Source: Cloud Storage, "Resumable uploads" and "Perform resumable uploads".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from entrepot.models import KIB, Buffer
from entrepot.services.checksums import combine_crc32c

CHUNK_BYTES: Final = 256 * KIB
"""All chunks but the last are a whole number of these."""

STATUS: Final = "bytes */*"
"""The `Content-Range` of a request that asks how the session stands and changes nothing."""


class OddReply(Exception):
    """What the service says of the session contradicts what was sent: nothing more can be believed of it."""


class Chunk(NamedTuple):
    """Bytes to send. content_range: their place, and with the last ones the size of the whole. data may be empty."""

    content_range: str
    data: Buffer
    stop: int
    is_last: bool


class Progress:
    """One session, by offsets into the whole.

    held_bytes: what the service has acknowledged. size_bytes: what was given so far; `crc32c` is of all of it. What
    is not acknowledged is kept here: at most what one part brings, and less than a chunk before it.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self.size_bytes = 0
        self.crc32c = 0
        self.unsure = False
        """A request was sent, and what came of it is not known: ask before anything else is sent."""
        self._kept: Buffer = b""
        self._sent_bytes = 0

    def give(self, data: Buffer, crc32c: int) -> None:
        """More of the object, behind what was given before."""
        self._kept = data if not len(self._kept) else b"".join((self._kept, data))
        self.crc32c = combine_crc32c([(self.crc32c, self.size_bytes), (crc32c, len(data))])
        self.size_bytes += len(data)

    def keep(self) -> None:
        """Make what is not acknowledged yet independent of the caller's buffers."""
        if not isinstance(self._kept, bytes):
            self._kept = bytes(self._kept)

    def next_chunk(self, *, last: bool) -> Chunk | None:
        """What to send now; None where less than a chunk waits for more. last: nothing will be given any more.

        The last chunk is empty where all is acknowledged already: it tells the size, and so ends the object.
        """
        waiting = len(self._kept)
        count = waiting if last else waiting - waiting % CHUNK_BYTES
        if not count and not last:
            return None
        start, stop = self.held_bytes, self.held_bytes + count
        self._sent_bytes = max(self._sent_bytes, stop)
        total = str(self.size_bytes) if last else "*"
        place = f"{start}-{stop - 1}" if count else "*"
        return Chunk(f"bytes {place}/{total}", memoryview(self._kept)[:count], stop, last)

    def acknowledge(self, held_bytes: int) -> int:
        """Take note of a 308 that says so much is held; how much more that is than before.

        Raises: OddReply where it is more than was ever sent, or less than was acknowledged before.
        """
        if held_bytes > self._sent_bytes:
            raise OddReply("the service acknowledges more bytes than were sent")
        if held_bytes < self.held_bytes:
            raise OddReply("the service has lost bytes that it had acknowledged")
        more = held_bytes - self.held_bytes
        if more:
            self._kept = memoryview(self._kept)[more:]
            self.held_bytes = held_bytes
        return more

    def published(self, size_bytes: int, crc32c: str | None, *, last: bool) -> None:
        """Take note of a 200 that says the object is there. Raises: OddReply where that cannot be what was given.

        crc32c: of the object as the service tells it, in hex. last: its end was sent.
        """
        if not last:
            raise OddReply("the service ended the object before its last bytes were sent")
        if size_bytes != self.size_bytes:
            raise OddReply(f"the object has {size_bytes} bytes, {self.size_bytes} were sent")
        if crc32c is not None and crc32c != f"{self.crc32c:08x}":
            raise OddReply("the object has another checksum than what was sent")
