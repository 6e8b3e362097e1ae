"""The base for flavors over a file system that is reached over a network: SFTP, WebDAV, SMB, HDFS and their kind.

Such a place has real directories and a rename, and no flat keys. `FileSystemArtifactStore` makes the contract of eight
primitives, and `docs/custom-flavor.md` walks through a flavor on it.
"""

from entrepot.filesystem.connections import LoopConnections
from entrepot.filesystem.primitives import Entry, RandomAccessFile, WritableFile
from entrepot.filesystem.store import FileSystemArtifactStore

__all__ = ["Entry", "FileSystemArtifactStore", "LoopConnections", "RandomAccessFile", "WritableFile"]
