"""The artifact store on S3: AWS, MinIO, Ceph RGW, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from entrepot.errors import CredentialsMissing
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.objects.store import ObjectArtifactStore


class S3ArtifactStore(ObjectArtifactStore):
    """Artifacts in a bucket; `S3Config` tells the configuration's keys.

    A pickle carries neither key, secret nor token: the unpickled store finds its credentials by the standard AWS chain.
    It does not carry the caller's encryption key either, and nothing stands in for that: such a store raises
    CredentialsMissing at its first request.
    """

    FLAVOR: ClassVar[str] = "s3"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"s3://"})
    CONFIG: ClassVar[type[Any]] = S3Config

    _unpickled_without_key = False

    def _make_client(self) -> S3Client:
        if self._unpickled_without_key:
            raise CredentialsMissing(
                "a pickle carries no sse_customer_key, and writing without it would store plain bytes; "
                "open the store anew with the key",
                operation="open",
                uri=self.path,
            )
        return make_client(self.config)

    async def create_container(self) -> None:
        """Make the bucket, in the configured region; one that is ours already is no error. Requests: 1 or 2."""
        await self.client.create_container()

    def _public_configuration(self) -> dict[str, Any]:
        # Half a key pair would be refused, and is of no use.
        return {key: value for key, value in super()._public_configuration().items() if key != "key"}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        sealed = self.config.sse_customer_key is not None or self._unpickled_without_key
        return _restore, (type(self), self._public_configuration(), sealed)


def _restore(kind: type[S3ArtifactStore], configuration: dict[str, Any], sealed: bool) -> S3ArtifactStore:
    store = kind(**configuration)
    store._unpickled_without_key = sealed
    return store
