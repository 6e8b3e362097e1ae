"""The store contract on S3, by our own requests, on every server that runs here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.testing.bulk import BulkRules
from entrepot.testing.contract import ArtifactStoreContract
from entrepot.testing.hooks import S3Hooks
from entrepot.testing.listing import ListingRules
from entrepot.testing.moving import CopyingRules
from entrepot.testing.resuming import ResumingRules
from entrepot.testing.servers import S3Access, Server
from entrepot.testing.sharing import SharingRules
from entrepot.testing.writing import WritingRules


class _Hooks(S3Hooks):
    SERVER: ClassVar[str]
    CLIENT: ClassVar[str] = "wire"

    @pytest.fixture
    async def store(self, request: pytest.FixtureRequest) -> AsyncIterator[S3ArtifactStore]:
        server: S3Access = request.getfixturevalue(f"{self.SERVER}_server")
        uri: str = request.getfixturevalue(f"{self.SERVER}_uri")
        self.look_into(server, uri)
        # What a server answers with 500 for good must not take the time of six attempts.
        async with S3ArtifactStore(path=uri, client=self.CLIENT, max_attempts=2, **server.s3_options) as store:
            yield store


class _OnS3(_Hooks, ArtifactStoreContract):
    pass


class TestS3OnRclone(_OnS3):
    SERVER = "rclone"
    keeps_file_beside_directory = False  # buckets are folders: the second of `a` and `a/b` is answered with 500
    survives_a_conflict = False  # and the listing loses the directory
    proves_completions = False  # its etags are the MD5 of the whole, whatever it was made of
    # It writes a completed upload over the old file, and drops both, listed still, when the client leaves meanwhile.
    survives_a_cut_commit = False


class TestS3OnJuicefs(_OnS3):
    SERVER = "juicefs"
    keeps_file_beside_directory = False  # a file system lies below: `a` beside `a/b` is answered with 500


@pytest.mark.nightly  # the same server as above, in a poorer mode
class TestS3OnPlainJuicefs(_OnS3):
    SERVER = "juicefs_plain"
    keeps_file_beside_directory = False  # as above
    tells_etags = False  # kept only with --keep-etag
    proves_completions = False
    cancellation_points = 2  # the same server as above, where it is cancelled at more


class TestResumingOnJuicefsBySdk(_Hooks, ResumingRules):
    SERVER = "juicefs"
    CLIENT = "sdk"


class TestS3OnMoto(_Hooks, ListingRules, WritingRules, CopyingRules, BulkRules, ResumingRules, SharingRules):
    """What only moto keeps here: preconditions, the minimum size of a part, keys that are not paths. It is slow."""

    SERVER = "moto"
    many_files = 30
    foreign_names = ("a//b", "..", "./z", "//")
    checks_presigned = False  # signatures are not looked at


@pytest.mark.nightly
class TestResumingOnMotoBySdk(_Hooks, ResumingRules):
    SERVER = "moto"
    CLIENT = "sdk"


class TestS3OnStrict(_Hooks, WritingRules, BulkRules, ResumingRules):
    """All that Amazon S3 checks of a request is checked here; all that it keeps is kept, but for versions."""

    SERVER = "strict"
    foreign_names = ("a//b", "..", "./z", "//")


class TestVersionsOnMoto(_Hooks, SharingRules):
    """A bucket that keeps versions."""

    SERVER = "moto"
    checks_presigned = False  # as above
    keeps_versions = True

    @pytest.fixture
    def moto_uri(self, moto_server: Server) -> str:
        bucket = moto_server.create_bucket()
        moto_server.bucket(bucket).keep_versions()
        return f"s3://{bucket}/versions"
