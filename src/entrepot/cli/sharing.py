"""`presign`, `versions`: what only services have."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from entrepot.cli.files import for_each
from entrepot.cli.options import Addresses, chosen, parsed_seconds
from entrepot.cli.render import stat_value, version_line
from entrepot.cli.session import Place, Session
from entrepot.models import PresignMethod


async def presign(
    session: Session,
    addresses: Addresses,
    method: Annotated[
        str, typer.Option("--method", "-X", metavar="GET|PUT|HEAD|DELETE", help="What the URL is for.")
    ] = "GET",
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="How long it is good: 15m, 12h, 7d, or seconds.")
    ] = "1h",
) -> int:
    """Print a URL by which anyone can read (or write, or delete) a file without credentials, until it expires.

    Whoever has the URL can use it, so treat it as a secret. --json: address, url, method, expires_s.
    """
    await session.expect_connection(addresses)
    asked = chosen("--method", method.upper(), get_args(PresignMethod))
    expires_s = parsed_seconds("--expires", expires, most=7 * 24 * 3_600)

    async def show(place: Place) -> None:
        url = await place.store.presign(place.path, asked, expires_s)  # type: ignore[arg-type]  # one of its values
        if session.output.as_json:
            session.output.value({"address": place.shown, "url": url, "method": asked, "expires_s": expires_s})
        else:
            session.output.line(url)

    return await for_each(session, addresses, show)


async def versions(session: Session, addresses: Addresses) -> int:
    """List the versions that a service has kept of files, newest first; `cat --version` reads one.

    A file that was removed has the versions before. --json: per version uri, version, size_bytes, modified, etag.
    """
    await session.expect_connection(addresses)

    async def show(place: Place) -> None:
        for found in await place.store.list_versions(place.path):
            if session.output.as_json:
                session.output.value(stat_value(found))
            else:
                session.output.line(version_line(found, place.shown))
        await session.output.drain()

    return await for_each(session, addresses, show)
