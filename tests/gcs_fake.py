"""A strict Cloud Storage in memory, as a transport: what no emulator here enforces, it does.

It wants a token, keeps every condition (reads, writes, deletes, copies, compositions, sessions), compares checksums,
answers with the fields that were asked for and no others, keeps versions, copies in steps, and takes what a test
scripts: attempts that fail, replies that are lost, sessions that acknowledge what they like.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from google_crc32c import value as crc32c_of

from canned import AT_ONCE, CannedResponse, Reply
from entrepot.errors import ConnectionFailed
from entrepot.flavors.gcp.client import GcpClient
from entrepot.flavors.gcp.config import GcpConfig
from entrepot.flavors.gcp.connection import make_client
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Request, Response, Transport

CHUNK = 256 * 1024
TOKEN = "canary-access-token"


@dataclass
class Held:
    """One generation of an object."""

    name: str
    data: bytes
    generation: int
    described: dict[str, Any]

    def row(self) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "name": self.name,
            "size": str(len(self.data)),
            "generation": str(self.generation),
            "updated": "2024-05-06T07:08:09.123Z",
            "crc32c": b64(crc32c_of(self.data)),
            **self.described,
        }


@dataclass
class Session:
    """One resumable upload. data: what it has persisted."""

    described: dict[str, Any]
    condition: str | None
    data: bytes = b""
    ended: Held | None = None


class Refused(Exception):
    def __init__(self, status: int, reason: str, message: str = "m") -> None:
        super().__init__(reason)
        self.reply = Reply(
            status,
            {},
            json.dumps({"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}).encode(),
        )


class StrictGcs(Transport):
    """One service with one bucket, `bucket`.

    tokens: those that are good. script: asked for each request, by its place from 0 on: None lets it be, a Reply stands
    in for it, "lost" does it and loses the reply, "busy" does it and a gateway
    says 503, "unsent" breaks before. persist: how many of the bytes that a session
    is sent it keeps. acknowledge: what a 308 then tells, in place of the truth.
    """

    def __init__(self, script: Callable[[int, Request], Reply | str | None] | None = None) -> None:
        self.live: dict[str, Held] = {}
        self.old: list[Held] = []
        self.sessions: dict[str, Session] = {}
        self.buckets = {"bucket"}
        self.tokens = {TOKEN}
        self.requests: list[Request] = []
        self.script = script or (lambda _number, _request: None)
        self.persist: Callable[[int], int] = lambda count: count
        self.acknowledge: deque[str | None] = deque()
        self.copy_step = 1 << 60
        self.copies: dict[str, int] = {}
        self._generations = itertools.count(1_700_000_000_000_000)
        self._ids = itertools.count(1)

    # ---- as a transport ---------------------------------------------------------------------------

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        @asynccontextmanager
        async def exchange() -> Any:
            self.requests.append(request)
            wanted = self.script(len(self.requests) - 1, request)
            if wanted == "unsent":
                raise ConnectionFailed("nothing was sent", not_sent=True)
            reply = wanted if isinstance(wanted, Reply) else self.answer(request)
            if wanted == "busy":
                reply = Reply(503)
            if wanted == "lost" or reply.lost:
                raise ConnectionFailed("the connection broke")
            yield CannedResponse(reply)

        return exchange()

    async def close(self) -> None:
        pass

    def asked(self, *methods: str) -> list[str]:
        """Method and path of the requests so far, without query."""
        lines = [f"{one.method} {unquote(one.target.partition('?')[0])}" for one in self.requests]
        return [line for line in lines if not methods or line.partition(" ")[0] in methods]

    def put(self, name: str, data: bytes, **described: Any) -> Held:
        """Write behind the client's back."""
        if name in self.live:
            self.old.append(self.live[name])
        held = self.live[name] = Held(name, bytes(data), next(self._generations), described)
        return held

    # ---- requests ---------------------------------------------------------------------------------

    def answer(self, request: Request) -> Reply:
        headers = dict(request.headers)
        parts = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        try:
            if request.origin.authority != "storage.googleapis.com":
                raise Refused(421, "elsewhere")
            if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
                raise Refused(401, "authError", "Invalid Credentials")
            return self._route(request.method, parts.path, query, headers, request.content)
        except Refused as refused:
            return refused.reply

    def _route(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Reply:
        if path == "/batch/storage/v1":
            return self._batch(headers, body)
        if path == "/storage/v1/b":
            return self._create_bucket(json.loads(body))
        if path.startswith("/upload/storage/v1/b/"):
            return self._upload(method, path, query, headers, body)
        if not path.startswith("/storage/v1/b/"):
            return self._media(path, query, headers)
        bucket, _, rest = path.removeprefix("/storage/v1/b/").partition("/o")
        self._require_bucket(bucket)
        if not rest:
            return self._list(query)
        name, _, action = rest[1:].partition("/")
        key = unquote(name)
        if action.startswith("rewriteTo/"):
            return self._rewrite(key, unquote(action.rpartition("/")[2]), query, body)
        if action == "compose":
            return self._compose(key, query, json.loads(body))
        if method == "DELETE":
            self._condition(key, query.get("ifGenerationMatch"))
            self._delete(self._found(key, query.get("generation")), for_good="generation" in query)
            return Reply(204)
        self._condition(key, query.get("ifGenerationMatch"))
        return shown(self._found(key, query.get("generation")).row(), query)

    def _require_bucket(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")

    def _found(self, key: str, generation: str | None = None) -> Held:
        for held in (*self.live.values(), *self.old):
            if held.name == key and (generation == str(held.generation) if generation else held is self.live.get(key)):
                return held
        raise Refused(404, "notFound", f"No such object: bucket/{key}")

    def _delete(self, held: Held, *, for_good: bool) -> None:
        if held is self.live.get(held.name):
            del self.live[held.name]
            if not for_good:
                self.old.append(held)
        else:
            self.old.remove(held)

    def _condition(self, key: str, wanted: str | None) -> None:
        now = self.live[key].generation if key in self.live else 0
        if wanted is not None and int(wanted) != now:
            raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")

    def _create_bucket(self, wanted: Mapping[str, Any]) -> Reply:
        if wanted["name"] in self.buckets:
            raise Refused(409, "conflict", "You already own this bucket.")
        self.buckets.add(wanted["name"])
        return Reply(200, {}, b"{}")

    def _media(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Reply:
        bucket, _, key = path[1:].partition("/")
        self._require_bucket(bucket)
        held = self._found(unquote(key), query.get("generation"))
        wanted = headers.get("x-goog-if-generation-match")
        if wanted is not None and wanted != str(held.generation):
            return Reply(412, {}, b"<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>")
        row = held.row()
        told = {
            "x-goog-generation": row["generation"],
            "x-goog-hash": f"crc32c={row['crc32c']}",
            "last-modified": "Mon, 06 May 2024 07:08:09 GMT",
            "content-type": row.get("contentType", "application/octet-stream"),
            **{f"x-goog-meta-{name}": value for name, value in row.get("metadata", {}).items()},
        }
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if span is None:
            return Reply(200, told, held.data)
        start, stop = int(span[1]), min(int(span[2] or len(held.data)) + 1, len(held.data))
        if start >= len(held.data):
            return Reply(416, {}, b"<Error><Code>InvalidRange</Code><Message>m</Message></Error>")
        told["content-range"] = f"bytes {start}-{stop - 1}/{len(held.data)}"
        return Reply(206, told, held.data[start:stop])

    # ---- writing ----------------------------------------------------------------------------------

    def _publish(self, described: dict[str, Any], data: bytes, condition: str | None, crc32c: str | None) -> Held:
        name = described.pop("name")
        self._condition(name, condition)
        if crc32c is not None and crc32c != b64(crc32c_of(data)):
            raise Refused(400, "invalid", f'Provided CRC32C "{crc32c}" doesn\'t match calculated CRC32C "x".')
        return self.put(name, data, **described)

    def _upload(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Reply:
        self._require_bucket(path.removeprefix("/upload/storage/v1/b/").partition("/o")[0])
        condition = query.get("ifGenerationMatch")
        if "upload_id" in query:
            return self._session(method, query["upload_id"], headers, body)
        if query["uploadType"] == "multipart":
            boundary = b"--" + headers["content-type"].partition("boundary=")[2].encode()
            _, described, media, end = body.split(boundary)
            assert end == b"--\r\n"
            told = json.loads(described.partition(b"\r\n\r\n")[2])
            data = media.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            return shown(self._publish(told, data, condition, told.pop("crc32c", None)).row(), query)
        name = f"s{next(self._ids)}"
        self._condition(json.loads(body)["name"], condition)
        self.sessions[name] = Session(json.loads(body), condition)
        where = f"https://storage.googleapis.com/upload/storage/v1/b/bucket/o?uploadType=resumable&upload_id={name}"
        return Reply(200, {"location": where})

    def _session(self, method: str, name: str, headers: dict[str, str], body: bytes) -> Reply:
        session = self.sessions.get(name)
        if session is None:
            raise Refused(404, "notFound")
        if method == "DELETE":
            del self.sessions[name]
            return Reply(499)
        if session.ended is not None:
            return Reply(200, {}, json.dumps(session.ended.row()).encode())
        place, _, total = headers["content-range"].removeprefix("bytes ").partition("/")
        if place != "*":
            first, _, last = place.partition("-")
            assert int(last) - int(first) + 1 == len(body)
            assert total != "*" or len(body) % CHUNK == 0, "a chunk that is not the last is a whole number of 256 KiB"
            if int(first) > len(session.data):
                raise Refused(503, "backendError")
            fresh = body[len(session.data) - int(first) :]
            session.data += fresh[: self.persist(len(fresh))]
        if total not in ("*", "") and len(session.data) == int(total):
            summed = headers.get("x-goog-hash", "").removeprefix("crc32c=") or None
            session.ended = self._publish(dict(session.described), session.data, session.condition, summed)
            return Reply(200, {}, json.dumps(session.ended.row()).encode())
        told = f"bytes=0-{len(session.data) - 1}" if session.data else None
        if self.acknowledge:
            told = self.acknowledge.popleft()
        return Reply(308, {"range": told} if told is not None else {})

    def _rewrite(self, source: str, key: str, query: dict[str, str], body: bytes) -> Reply:
        held = self._found(source)
        self._condition(source, query.get("ifSourceGenerationMatch"))
        self._condition(key, query.get("ifGenerationMatch"))
        token = query.get("rewriteToken")
        done = self.copies.get(token, 0) if token else 0
        done = min(done + self.copy_step, len(held.data))
        if done < len(held.data):
            token = f"t{next(self._ids)}"
            self.copies[token] = done
            told = {"done": False, "rewriteToken": token, "totalBytesRewritten": str(done)}
            return Reply(200, {}, json.dumps(told).encode())
        described = json.loads(body) if body else dict(held.described)
        row = self.put(key, held.data, **described).row()
        return Reply(200, {}, json.dumps({"done": True, "resource": row}).encode())

    def _compose(self, key: str, query: dict[str, str], wanted: dict[str, Any]) -> Reply:
        assert 1 <= len(wanted["sourceObjects"]) <= 32
        data = b""
        for one in wanted["sourceObjects"]:
            self._condition(one["name"], one["objectPreconditions"]["ifGenerationMatch"])
            data += self._found(one["name"], one["generation"]).data
        held = self._publish({**wanted["destination"], "name": key}, data, query.get("ifGenerationMatch"), None)
        return shown(held.row(), query)

    # ---- listing, and many at once ----------------------------------------------------------------

    def _list(self, query: dict[str, str]) -> Reply:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        rows = list(self.live.values()) + (self.old if query.get("versions") else [])
        rows.sort(key=lambda held: (held.name, held.generation))
        start = query.get("pageToken", query.get("startOffset", ""))
        items: list[Any] = []
        prefixes: list[str] = []
        token = None
        for held in rows:
            if (
                not held.name.startswith(prefix)
                or held.name < start
                or held.name >= query.get("endOffset", "\U0010ffff")
            ):
                continue
            cut = held.name.find(delimiter, len(prefix)) if delimiter else -1
            common = held.name[: cut + 1] if cut >= 0 else None
            if common is not None and (common in prefixes or f"{common}\U0010fffe" == start):
                continue
            if len(items) + len(prefixes) == int(query.get("maxResults", "1000")):
                token = f"{prefixes[-1]}\U0010fffe" if prefixes and prefixes[-1] > items_last(items) else held.name
                token = held.name if common is None else max(held.name, token)
                break
            if common is not None:
                prefixes.append(common)
            else:
                items.append(held.row())
        page: dict[str, Any] = {"items": items, "prefixes": prefixes}
        return shown({**{k: v for k, v in page.items() if v}, **({"nextPageToken": token} if token else {})}, query)

    def _batch(self, headers: dict[str, str], body: bytes) -> Reply:
        boundary = headers["content-type"].partition("boundary=")[2]
        pieces = []
        for part in body.decode().split(f"--{boundary}")[1:-1]:
            number = re.search(r"content-id: <(\d+)>", part)
            line = re.search(r"DELETE (\S+) HTTP/1\.1", part)
            assert number is not None
            assert line is not None
            path, _, text = line[1].partition("?")
            query = {name: values[0] for name, values in parse_qs(text).items()}
            try:
                reply = self._route("DELETE", path, query, {}, b"")
            except Refused as refused:
                reply = refused.reply
            pieces.append(
                f"--answer\r\nContent-Type: application/http\r\nContent-ID: <response-{number[1]}>\r\n\r\n"
                f"HTTP/1.1 {reply.status} X\r\nContent-Type: application/json\r\n\r\n{reply.body.decode()}\r\n"
            )
        return Reply(
            200, {"content-type": "multipart/mixed; boundary=answer"}, ("".join(pieces) + "--answer--").encode()
        )


def items_last(items: list[Any]) -> str:
    return str(items[-1]["name"]) if items else ""


def b64(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def shown(document: Mapping[str, Any], query: Mapping[str, str]) -> Reply:
    """The fields that were asked for."""
    wanted = query.get("fields", "")
    rows = re.search(r"items\(([^)]*)\)", wanted)
    names = set(re.sub(r"\([^)]*\)", "", wanted).split(","))
    kept = {name: value for name, value in document.items() if not wanted or name in names}
    if rows is not None and "items" in kept:
        inner = set(rows[1].split(","))
        kept["items"] = [{name: value for name, value in row.items() if name in inner} for row in kept["items"]]
    return Reply(200, {}, json.dumps(kept).encode())


def client_of(service: Transport, *, policy: RetryPolicy = AT_ONCE, **options: Any) -> GcpClient:
    """A client of that service, which it takes for Google's own."""
    given = {"path": "gs://bucket", "access_token": TOKEN, "project": "test-project", **options}
    return make_client(GcpConfig(**given), transport=service, policy=policy)


@dataclass
class Script:
    """Stands in for single requests, by their place; what is not named is real."""

    steps: dict[int, Reply | str] = field(default_factory=dict)

    def __call__(self, number: int, _request: Request) -> Reply | str | None:
        return self.steps.get(number)
