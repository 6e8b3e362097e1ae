"""Where requests to Cloud Storage go, and which buckets there can be. No I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

from entrepot.errors import ConfigurationError
from entrepot.http.transport import Origin
from entrepot.services.endpoint import Endpoint

GOOGLE: Final = Endpoint(Origin("https", "storage.googleapis.com", 443))
"""Google's own endpoint, of the JSON API and of the XML API."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")


def bucket_fault(bucket: str) -> str | None:
    """Why this cannot be a bucket's name, or None if it can. Source: Cloud Storage, "Bucket naming guidelines"."""
    if not _BUCKET.fullmatch(bucket) or any(not 0 < len(part) <= 63 for part in bucket.split(".")):
        return (
            "a bucket's name is 3 to 63 lower-case letters, digits, hyphens, underscores and dots, "
            "with a letter or digit at both ends"
        )
    if _IPV4.fullmatch(bucket) or bucket.startswith("goog"):
        return "a bucket's name is no IP address, and does not begin with goog"
    return None


def emulator_url(host: str) -> str:
    """The endpoint that `STORAGE_EMULATOR_HOST` names: with or without a scheme, with or without the API's path."""
    url = host if "://" in host else f"http://{host}"
    return url.rstrip("/").removesuffix("/storage/v1")


def session_target(location: str, endpoint: Endpoint) -> str:
    """Path and query of a resumable session, which is a secret: who has it can write the object.

    Raises: ConfigurationError where it leads to another origin; nothing of it is shown.
    """
    try:
        parts = urlsplit(location)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        origin = Origin(parts.scheme, parts.hostname or "", port)
    except ValueError:
        origin = None
    if origin != endpoint.origin or parts.username is not None or not parts.path:
        raise ConfigurationError(
            "the service wants the upload sent to another address; set endpoint_url to the address it calls its own"
        )
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return quote(target, safe="%/:?#[]@!$&'()*+,;=-._~")
