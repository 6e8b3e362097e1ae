"""The strict server itself: HTTP in, the operation found, refusals told."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from email.utils import formatdate
from typing import Final

from entrepot.testing.loopback import LoopbackServer, flushed
from entrepot.testing.messages import Body, RequestHead, made_head, read_head, status_line
from entrepot.testing.servers import S3Access
from entrepot.testing.strict import buckets, objects, uploads
from entrepot.testing.strict.checksums import Checksum, check_body
from entrepot.testing.strict.conditions import NotModified
from entrepot.testing.strict.documents import error_document
from entrepot.testing.strict.exchange import Refusal, Reply, Request
from entrepot.testing.strict.signatures import Keyring, authenticate
from entrepot.testing.strict.state import PART_LEAST_BYTES, State

_BODY_MOST_BYTES: Final = 1024**3
# Headers of the service's own that are acted on, or change nothing that is kept; others are refused, as S3 does.
_HEADERS: Final = frozenset(
    {
        "x-amz-acl", "x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-content-sha256",
        "x-amz-copy-source", "x-amz-copy-source-if-match", "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-none-match", "x-amz-copy-source-if-unmodified-since", "x-amz-copy-source-range",
        "x-amz-date", "x-amz-decoded-content-length", "x-amz-metadata-directive", "x-amz-mp-object-size",
        "x-amz-request-payer", "x-amz-sdk-checksum-algorithm", "x-amz-security-token", "x-amz-storage-class",
        "x-amz-trailer", "x-amz-user-agent",
    }
)  # fmt: skip
_PREFIXES: Final = ("x-amz-meta-", "x-amz-checksum-")
_SIGNED_IN_QUERY: Final = frozenset(
    {
        "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token",
        "X-Amz-Signature", "X-Amz-SignedHeaders", "x-id",
    }
)  # fmt: skip
_READ: Final = frozenset(
    {
        "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-language", "response-content-type", "response-expires", "versionId",
    }
)  # fmt: skip
_LISTED: Final = frozenset(
    {"continuation-token", "delimiter", "encoding-type", "fetch-owner", "list-type", "marker", "max-keys", "prefix",
     "start-after"}
)  # fmt: skip


class StrictS3(LoopbackServer, S3Access):
    """A small S3 in memory, in a thread of its own, that checks all that it is told; a context manager.

    Signatures, payload hashes, checksums, conditions, the least size of a part, the clock, the end of temporary
    credentials: what a lenient server lets pass is refused here, with the status and code of Amazon S3. What is not
    implemented (versions, encryption, tags, policies) is refused too, with 501. Buckets are addressed by path.

    part_least_bytes: of each part but the last. refusals: how often each code was told.
    """

    def __init__(self, *, region: str = "us-east-1", part_least_bytes: int = PART_LEAST_BYTES) -> None:
        LoopbackServer.__init__(self)
        self._keyring = Keyring(region)
        first = self._keyring.add(temporary=False)
        S3Access.__init__(self, endpoint_url="", key=first.key, secret=first.secret, region=region)
        self._ahead_s = 0.0
        self._state = State(region, self._now, part_least_bytes)
        self.refusals: Counter[str] = Counter()

    def start(self) -> StrictS3:
        """As `LoopbackServer.start`; then `endpoint_url` is known."""
        LoopbackServer.start(self)
        self.endpoint_url = self.address
        return self

    # ---- what a test may turn -----------------------------------------------------------------------

    def shift_clock(self, seconds: float) -> None:
        """From now on the service's clock is so far ahead of this machine's, or behind it."""
        self._ahead_s = seconds

    def issue_session(self) -> dict[str, str]:
        """New temporary credentials: `key`, `secret` and `token`, as the `s3` flavor takes them."""
        session = self._keyring.add(temporary=True)
        return {"key": session.key, "secret": session.secret, "token": session.token or ""}

    def expire_session(self, key: str) -> None:
        """From now on these temporary credentials are answered with ExpiredToken. Raises: KeyError."""
        self._keyring.sessions[key].is_expired = True

    def _now(self) -> float:
        return time.time() + self._ahead_s

    # ---- HTTP ---------------------------------------------------------------------------------------

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            request = RequestHead.of(head)
            if request.waits_to_send:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await Body.of_request(request, reader).whole(_BODY_MOST_BYTES)
            reply = self._answer(request, body)
            headers = {
                "date": formatdate(self._now(), usegmt=True),
                "server": "strict-s3",
                "x-amz-request-id": secrets.token_hex(8).upper(),
                **reply.headers,
            }
            if reply.status not in (204, 304):
                headers["content-length"] = str(len(reply.body))
            if head.ends_connection:
                headers["connection"] = "close"
            writer.write(made_head(status_line(reply.status), headers.items()).raw)
            if request.method != "HEAD" and reply.status not in (204, 304):
                writer.write(reply.body)
            await flushed(writer)
            if head.ends_connection:
                return

    def _answer(self, head: RequestHead, body: bytes) -> Reply:
        try:
            request = Request.of(head, body)
            payload = authenticate(request, self._keyring, self._now())
            _offered(request)
            return self._carry_out(request, check_body(request, payload))
        except NotModified:
            return Reply(304)
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
            return error_document(refusal, head.path, secrets.token_hex(8).upper())

    # ---- the operation ------------------------------------------------------------------------------

    def _carry_out(self, request: Request, checksum: Checksum | None) -> Reply:
        state = self._state
        if not request.bucket:
            if request.method != "GET" or _parameters(request):
                raise _not_allowed(request)
            return buckets.list_all(state)
        makes_bucket = request.method == "PUT" and not request.key
        if not makes_bucket:
            state.bucket(request.bucket)
        if not request.key:
            return self._of_bucket(request, checksum)
        if request.asks("uploads") or request.asks("uploadId"):
            return self._of_upload(request, checksum)
        _only(request, _READ if request.method in ("GET", "HEAD", "DELETE") else frozenset())
        if request.method in ("GET", "HEAD"):
            return objects.get(state, request)
        if request.method == "DELETE":
            return objects.delete(state, request)
        if request.method == "PUT":
            copies = request.header("x-amz-copy-source") is not None
            return objects.copy(state, request) if copies else objects.put(state, request, checksum)
        raise _not_allowed(request)

    def _of_bucket(self, request: Request, checksum: Checksum | None) -> Reply:
        state, method = self._state, request.method
        if method == "POST" and request.asks("delete"):
            _only(request, {"delete"})
            return objects.delete_many(state, request, checksum)
        if method == "GET" and request.asks("uploads"):
            _only(request, {"uploads", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker",
                            "delimiter"})  # fmt: skip
            return uploads.list_uploads(state, request)
        if method == "GET" and request.asks("versions"):
            _only(request, {"versions", "delimiter", "encoding-type", "key-marker", "max-keys", "prefix",
                            "version-id-marker"})  # fmt: skip
            return buckets.list_versions(state, request)
        if method == "GET" and request.asks("location"):
            return buckets.location(state, request)
        _only(request, _LISTED if method == "GET" else frozenset())
        if method == "GET":
            return buckets.list_objects(state, request)
        known = {"HEAD": buckets.head, "PUT": buckets.create, "DELETE": buckets.delete}
        if method not in known:
            raise _not_allowed(request)
        return known[method](state, request)

    def _of_upload(self, request: Request, checksum: Checksum | None) -> Reply:
        state, method = self._state, request.method
        _only(request, {"uploads", "uploadId", "partNumber", "max-parts", "part-number-marker"})
        if request.asks("uploads"):
            if method != "POST":
                raise _not_allowed(request)
            return uploads.create(state, request)
        if method == "PUT":
            copies = request.header("x-amz-copy-source") is not None
            return uploads.copy_part(state, request) if copies else uploads.put_part(state, request, checksum)
        known = {"GET": uploads.list_parts, "POST": uploads.complete, "DELETE": uploads.abort}
        if method not in known:
            raise _not_allowed(request)
        return known[method](state, request)


def _parameters(request: Request) -> set[str]:
    return {name for name, _ in request.query} - _SIGNED_IN_QUERY


def _only(request: Request, known: frozenset[str] | set[str]) -> None:
    """Raises: Refusal for parameters that would be ignored."""
    unknown = sorted(_parameters(request) - known)
    if unknown:
        raise Refusal(501, "NotImplemented", f"Not implemented here: {', '.join(unknown)}")


def _offered(request: Request) -> None:
    """Raises: Refusal for headers that would be ignored."""
    for name, _ in request.fields:
        if name.startswith("x-amz-") and name not in _HEADERS and not name.startswith(_PREFIXES):
            message = "A header you provided implies functionality that is not implemented"
            raise Refusal(501, "NotImplemented", message, Header=name)
    if request.header("transfer-encoding") is not None:
        message = "A header you provided implies functionality that is not implemented"
        raise Refusal(501, "NotImplemented", message, Header="Transfer-Encoding")


def _not_allowed(request: Request) -> Refusal:
    message = "The specified method is not allowed against this resource."
    return Refusal(405, "MethodNotAllowed", message, Method=request.method)
