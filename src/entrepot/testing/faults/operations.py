"""What a request asks for, told from its head alone: the operation, and the key it is about.

Source: Amazon S3 API Reference, "Actions"; Cloud Storage, "JSON API reference", "XML API reference"; Azure Storage
REST API Reference, "Blob service".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from entrepot.testing.messages import RequestHead

Service: TypeAlias = Literal["s3", "gcs", "azure"]

ANY: Final = "*"
OPERATIONS: Final = frozenset(
    {
        "get", "put", "head", "list", "delete", "delete_many", "copy", "create_upload", "put_part", "copy_part",
        "complete", "abort", "list_parts", "list_uploads", "list_versions", "create_container", "head_container",
        "delete_container", "list_containers", "other",
    }
)  # fmt: skip
"""What requests are told apart by. On Azure, `put_part` is a block and `complete` a block list; on Cloud Storage,
`put_part` is a chunk of a resumable session, `complete` a composition, and `copy` one step of a rewrite."""

_NAME: Final = re.compile(rb'"name"\s*:\s*("(?:[^"\\]|\\.)*")')
_GCS_JSON: Final = re.compile(r"(?:/upload|/download)?/storage/v1/b(?:/([^/]+)(?:/o(?:/(.+))?)?)?")
_GCS_COPY: Final = re.compile(r"/storage/v1/b/[^/]+/o/[^/]+/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for. container: bucket. key: decoded; empty where the request is about no single one."""

    operation: str
    container: str = ""
    key: str = ""


def asked_of(service: Service, request: RequestHead, base: str = "") -> Asked:
    """What a request asks for. base: what the path begins with before the container, on Azure the account's name."""
    path = request.path.removeprefix(base)
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    if service == "gcs":
        return _of_gcs(request.method, path, query)
    container, _, key = unquote(path.lstrip("/"), errors="replace").partition("/")
    if service == "s3":
        copies = request.head.has("x-amz-copy-source")
        return Asked(_of_s3(request.method, query, container, key, copies=copies), container, key)
    copies = request.head.has("x-ms-copy-source")
    return Asked(_of_azure(request.method, query, container, key, copies=copies), container, key)


def key_is_in_body(asked: Asked) -> bool:
    """Whether the key is told in the body, as Cloud Storage's uploads may."""
    return asked.operation in {"put", "create_upload"} and not asked.key


def with_key(asked: Asked, body: bytes) -> Asked:
    """The same, with the key that the body's first bytes tell."""
    found = _NAME.search(body)
    if found is None:
        return asked
    return Asked(asked.operation, asked.container, str(json.loads(found[1])))


# ---- S3 -----------------------------------------------------------------------------------------------

_S3_SUBRESOURCES: Final = frozenset(
    {
        "accelerate", "acl", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory",
        "legal-hold", "lifecycle", "location", "logging", "metrics", "notification", "object-lock",
        "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore",
        "retention", "select", "tagging", "torrent", "versioning", "website",
    }
)  # fmt: skip
_S3_OBJECT: Final = {"GET": "get", "HEAD": "head", "PUT": "put", "DELETE": "delete"}
_CONTAINER: Final = {"HEAD": "head_container", "PUT": "create_container", "DELETE": "delete_container"}


def _of_s3(method: str, query: dict[str, str], bucket: str, key: str, *, copies: bool) -> str:
    if not bucket:
        return "list_containers" if method == "GET" else "other"
    if _S3_SUBRESOURCES & query.keys():
        return "other"
    if not key:
        return _of_bucket(method, query)
    if "uploads" in query:
        return "create_upload" if method == "POST" else "other"
    if "uploadId" in query:
        parts = {"PUT": "copy_part" if copies else "put_part", "POST": "complete", "DELETE": "abort"}
        return {**parts, "GET": "list_parts"}.get(method, "other")
    return "copy" if copies and method == "PUT" else _S3_OBJECT.get(method, "other")


def _of_bucket(method: str, query: dict[str, str]) -> str:
    if method == "GET":
        return "list_uploads" if "uploads" in query else "list_versions" if "versions" in query else "list"
    if method == "POST":
        return "delete_many" if "delete" in query else "other"
    return _CONTAINER.get(method, "other")


# ---- Azure --------------------------------------------------------------------------------------------


def _of_azure(method: str, query: dict[str, str], container: str, key: str, *, copies: bool) -> str:
    about = query.get("comp", "")
    if about == "batch":
        return "delete_many"
    if not key and (not container or query.get("restype") == "container"):
        if about == "list":
            return _azure_listing(query) if container else "list_containers"
        if about or not container:
            return "other"
        return "head_container" if method == "GET" else _CONTAINER.get(method, "other")
    if about == "block":
        return "copy_part" if copies else "put_part"
    if about == "blocklist":
        return "list_parts" if method == "GET" else "complete"
    if about:
        return "other"
    return "copy" if copies and method == "PUT" else _S3_OBJECT.get(method, "other")


def _azure_listing(query: dict[str, str]) -> str:
    included = query.get("include", "").split(",")
    return "list_uploads" if "uncommittedblobs" in included else "list_versions" if "versions" in included else "list"


# ---- Cloud Storage ------------------------------------------------------------------------------------


def _of_gcs(method: str, path: str, query: dict[str, str]) -> Asked:
    if path.startswith("/batch/"):
        return Asked("delete_many")
    if path.startswith(("/upload/", "/resumable/")):
        return _of_gcs_upload(method, path, query)
    copied = _GCS_COPY.fullmatch(path)
    if copied is not None:
        return Asked("copy", unquote(copied[1]), unquote(copied[2], errors="replace"))
    found = _GCS_JSON.fullmatch(path)
    if found is None:
        container, _, key = unquote(path.lstrip("/"), errors="replace").partition("/")
        return Asked(_S3_OBJECT.get(method, "other") if key else "other", container, key)
    return _of_gcs_json(method, path, query, found)


def _of_gcs_json(method: str, path: str, query: dict[str, str], found: re.Match[str]) -> Asked:
    bucket, raw = unquote(found[1] or ""), found[2] or ""
    if not bucket:
        return Asked({"GET": "list_containers", "POST": "create_container"}.get(method, "other"))
    if raw.endswith("/compose"):
        return Asked("complete", bucket, unquote(raw.removesuffix("/compose"), errors="replace"))
    if not raw:
        if not path.endswith("/o"):
            return Asked({"GET": "head_container", "DELETE": "delete_container"}.get(method, "other"), bucket)
        listing = "list_versions" if query.get("versions") == "true" else "list"
        return Asked(listing if method == "GET" else "other", bucket)
    reads = "get" if query.get("alt") == "media" or path.startswith("/download") else "head"
    return Asked({"GET": reads, "DELETE": "delete"}.get(method, "other"), bucket, unquote(raw, errors="replace"))


def _of_gcs_upload(method: str, path: str, query: dict[str, str]) -> Asked:
    found = _GCS_JSON.fullmatch(path)
    bucket, key = unquote(found[1] or "") if found is not None else "", query.get("name", "")
    if "upload_id" in query or found is None:  # a session's own address
        return Asked({"PUT": "put_part", "DELETE": "abort"}.get(method, "other"), bucket, key)
    return Asked("create_upload" if query.get("uploadType") == "resumable" else "put", bucket, key)
