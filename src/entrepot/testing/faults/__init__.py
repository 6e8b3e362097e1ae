"""A proxy that has chosen requests to a real server go wrong, and counts what it did.

    with FaultProxy(server.endpoint_url, Rule("put_part", Reset(at_byte=-1, direction="request"), nth=2)) as proxy:
        store = S3ArtifactStore(path="s3://artifacts", **{**server.s3_options, "endpoint_url": proxy.url})
        ...
        assert proxy.hits["Reset"] == 1
        assert proxy.count("put_part") == 4

It speaks plain HTTP/1.1 to any server, and knows the requests of S3, Cloud Storage and Azure Blob Storage.
"""

from entrepot.testing.faults.log import Seen
from entrepot.testing.faults.operations import OPERATIONS, Service
from entrepot.testing.faults.proxy import FaultProxy
from entrepot.testing.faults.rules import Rule, burst
from entrepot.testing.faults.values import (
    Close,
    Delay,
    Direction,
    Drip,
    DropReply,
    EmptyOk,
    ErrorBody,
    Fault,
    FlipBits,
    NoLength,
    RedirectTo,
    RepeatToken,
    Reset,
    Stall,
    Status,
    WrongRange,
)

__all__ = [
    "OPERATIONS",
    "Close",
    "Delay",
    "Direction",
    "Drip",
    "DropReply",
    "EmptyOk",
    "ErrorBody",
    "Fault",
    "FaultProxy",
    "FlipBits",
    "NoLength",
    "RedirectTo",
    "RepeatToken",
    "Reset",
    "Rule",
    "Seen",
    "Service",
    "Stall",
    "Status",
    "WrongRange",
    "burst",
]
