"""A sign-in service on loopback: it gives tokens for assertions that are rightly signed, and no others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "robot@project-one.iam.gserviceaccount.com"


@dataclass
class SignIn:
    """replies: what to answer first, (status, document) each; then assertions are verified. asked: path and form."""

    url: str
    key: rsa.RSAPrivateKey
    lifetime_s: int = 3600
    flavor: str = "Google"
    replies: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def account(self, **other: Any) -> dict[str, Any]:
        """A service account's key."""
        return {
            "type": "service_account",
            "client_email": EMAIL,
            "private_key": self.pem,
            "project_id": "project-one",
            "token_uri": f"{self.url}/token",
            **other,
        }

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        self.asked.append((path, form))
        if self.replies:
            return self.replies.pop(0)
        if "assertion" in form:
            try:
                claims = jwt.decode(
                    form["assertion"], self.key.public_key(), algorithms=["RS256"], audience=f"{self.url}/token"
                )
            except jwt.PyJWTError:
                return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            if claims["iss"] != EMAIL or not claims["scope"] or abs(claims["iat"] - time.time()) > 300:
                return 400, {"error": "invalid_grant", "error_description": "odd claims"}
        return 200, {"access_token": f"canary-token-{len(self.asked)}", "expires_in": self.lifetime_s}


@contextmanager
def sign_in(key: rsa.RSAPrivateKey) -> Iterator[SignIn]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self, form: dict[str, str]) -> None:
            status, document = service.answer(self.path, form)
            body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if service.flavor:
                self.send_header("metadata-flavor", service.flavor)
            if 300 <= status < 400:
                self.send_header("location", "https://evil.example/")
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._reply({"authorization": self.headers.get("metadata-flavor", "")})

        def do_DELETE(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(text).items()}
            self._reply(form or {"body": text, "authorization": self.headers.get("authorization", "")})

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    service = SignIn(f"http://127.0.0.1:{server.server_address[1]}", key)
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
