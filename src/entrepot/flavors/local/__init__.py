"""The local flavor: artifacts as files below a directory of this machine."""

from entrepot.flavors.local.store import LocalArtifactStore, LocalConfig

__all__ = ["LocalArtifactStore", "LocalConfig"]
