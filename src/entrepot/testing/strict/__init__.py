"""A small S3 that enforces what the servers at hand let pass, for tests of clients.

with strict_s3() as server:
    server.create_bucket("artifacts")
    store = S3ArtifactStore(path="s3://artifacts", **server.s3_options)
"""

from entrepot.testing.strict.server import StrictS3


def strict_s3(*, region: str = "us-east-1") -> StrictS3:
    """A strict server, started, with nothing in it; a context manager that stops it. Ready in milliseconds."""
    return StrictS3(region=region).start()


__all__ = ["StrictS3", "strict_s3"]
