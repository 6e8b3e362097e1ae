"""Large files that are gone on with: what their tokens say, and which errors leave nothing to go on with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from entrepot.errors import AlreadyExists, ChecksumMismatch, NoSpace, PreconditionFailed, SourceChanged, UploadGone

_VERSION: Final = 1
# A full disk is not to be kept full by what was put.
_FINAL: Final = (SourceChanged, ChecksumMismatch, AlreadyExists, PreconditionFailed, UploadGone, NoSpace)


def is_final(error: BaseException) -> bool:
    """Whether what was written in part is of no use after this error, of which a group may be one."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_final(one) for one in error.exceptions)
    return isinstance(error, _FINAL)


@dataclass(frozen=True, slots=True)
class UploadToken:
    """What a `resume_token` says.

    uri: the full address of the file. upload_id: what the store knows it by, no secret. size_bytes: of the whole.
    """

    uri: str
    upload_id: str
    size_bytes: int
    part_size_bytes: int

    def to_text(self) -> str:
        """As JSON in ASCII."""
        return json.dumps({"v": _VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str, *, operation: str, uri: str) -> Self:
        """What `to_text` made, of the file at this address. Raises: UploadGone for anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("v")
            token = cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UploadGone("that is no token of an upload; write it anew", operation=operation, uri=uri) from error
        kinds = {"uri": str, "upload_id": str, "size_bytes": int, "part_size_bytes": int}
        if version != _VERSION or any(type(getattr(token, name)) is not kind for name, kind in kinds.items()):
            raise UploadGone("the token is of another version; write it anew", operation=operation, uri=uri)
        if token.uri != uri:
            raise UploadGone("the token is of another file; write it anew", operation=operation, uri=uri)
        return token

    def require_size(self, size_bytes: int, part_size_bytes: int, *, operation: str) -> None:
        """Raise UploadGone where the file is to have another size by now, or parts of another size."""
        if (self.size_bytes, self.part_size_bytes) != (size_bytes, part_size_bytes) or not size_bytes:
            raise UploadGone(
                f"it was begun with {self.size_bytes:,} bytes in parts of {self.part_size_bytes:,}, and is to have "
                f"{size_bytes:,} in parts of {part_size_bytes:,}; write it anew",
                operation=operation,
                uri=self.uri,
            )

    def planned_bytes(self, number: int) -> int:
        """How many bytes a part has, 0 or less where the file has no such part. number: 1-based."""
        if number < 1:
            return 0
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)
