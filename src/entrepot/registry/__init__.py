"""What there is by name: flavors, and the components and stacks that this user has configured.

All are kept in one TOML file (`config.toml` in the user's configuration directory), a table each:

    [artifact_stores.team]
    id = "3f0c…"
    flavor = "s3"
    path = "s3://bucket/artifacts"
    region = "eu-central-1"

    [stacks.team]
    orchestrator = "default"
    artifact_store = "team"

    [active]
    stack = "team"

    [flavors.sftp]
    source = "sftp_store:SftpArtifactStore"
    schemes = ["sftp"]

A flavor is built in, registered here by its user, or an entry point (`entrepot.flavors`) of an installed distribution,
in this order. The file names code to import only in tables that a registration wrote.
"""

from entrepot.registry.catalog import (
    BUILT_IN,
    ENTRY_POINTS,
    Flavor,
    FlavorRow,
    delete_flavor,
    flavor_named,
    flavor_of_scheme,
    flavor_rows,
    flavors,
    register_flavor,
)
from entrepot.registry.home import Home, state_dir
from entrepot.registry.stores import DEFAULT_STORE, StoreEntry, find_store, named_store, store_names

__all__ = [
    "BUILT_IN",
    "DEFAULT_STORE",
    "ENTRY_POINTS",
    "Flavor",
    "FlavorRow",
    "Home",
    "StoreEntry",
    "delete_flavor",
    "find_store",
    "flavor_named",
    "flavor_of_scheme",
    "flavor_rows",
    "flavors",
    "named_store",
    "register_flavor",
    "state_dir",
    "store_names",
]
