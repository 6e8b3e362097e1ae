"""The flavors by name and by scheme: built in, registered by the user, or entry points of installed distributions.

Nothing is read or imported for a flavor that is built in; entry points are looked at last, for they cost most.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from entrepot.errors import ConfigurationError
from entrepot.registry.home import Home, put_table

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from tomlkit import TOMLDocument

    from entrepot.contract import BaseArtifactStore

ENTRY_POINTS: Final = "entrepot.flavors"
"""The group of entry points by which an installed distribution brings flavors: `NAME = "module:Class"`."""

BUILT_IN_ORIGIN: Final = "built-in"
REGISTERED_ORIGIN: Final = "registered"
_KIND: Final = "flavors"


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of store. source: `module:Class`, imported when it is first used. schemes: of its addresses, `` is a
    plain path; of an entry point none are known before it is loaded. extra: what to install for it, where it needs
    more than the core. needs: the modules that the extra brings. origin: `built-in`, `registered`, or
    `entry point DISTRIBUTION`.
    """

    name: str
    source: str
    schemes: tuple[str, ...]
    extra: str | None = None
    needs: tuple[str, ...] = ()
    origin: str = BUILT_IN_ORIGIN

    @property
    def is_installed(self) -> bool:
        """Whether what it needs is there, as far as can be told without importing it."""
        return all(_is_there(module) for module in (*self.needs, self.source.partition(":")[0].partition(".")[0]))

    def load(self) -> type[BaseArtifactStore]:
        """Its class. Raises ConfigurationError that says what to install, or what is wrong with the class."""
        if self.origin != BUILT_IN_ORIGIN:
            from entrepot.registry.sources import class_at

            found = class_at(self.source)
            if self.name != found.FLAVOR:
                raise ConfigurationError(
                    f"flavor {self.name!r} ({self.origin}): {self.source} is of flavor {found.FLAVOR!r} now; "
                    "register it again"
                )
            return found
        if self.extra is not None and not all(map(_is_there, self.needs)):
            raise ConfigurationError(self._missing())
        module, _, name = self.source.partition(":")
        try:
            built_in: type[BaseArtifactStore] = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if self.extra is None or (error.name or "").partition(".")[0] == "entrepot":
                raise
            raise ConfigurationError(self._missing()) from error
        return built_in

    def _missing(self) -> str:
        return f"flavor {self.name!r} needs entrepot[{self.extra}]: pip install 'entrepot[{self.extra}]'"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a parent is missing, or was put into sys.modules by hand
        return False


BUILT_IN: Final = (
    Flavor("local", "entrepot.flavors.local:LocalArtifactStore", ("", "file")),
    Flavor("memory", "entrepot.flavors.memory:MemoryArtifactStore", ("memory",)),
    Flavor("s3", "entrepot.flavors.s3.store:S3ArtifactStore", ("s3",), extra="s3", needs=("aiohttp",)),
    Flavor(
        "gcp",
        "entrepot.flavors.gcp.store:GcpArtifactStore",
        ("gs",),
        extra="gcp",
        needs=("aiohttp", "google_crc32c"),
    ),
    Flavor(
        "azure",
        "entrepot.flavors.azure.store:AzureArtifactStore",
        ("az", "abfs", "abfss"),
        extra="azure",
        needs=("aiohttp", "google_crc32c"),
    ),
)
"""The flavors that come with entrepot."""


# ---- looking up -----------------------------------------------------------------------------------------


def flavors(home: Home | None = None) -> Mapping[str, Flavor]:
    """The flavors by name; of a name that is taken twice, the one that is used. Cost: reads the configuration file,
    and the metadata of installed distributions; imports nothing.
    """
    found: dict[str, Flavor] = {}
    for flavor in (*BUILT_IN, *_registered(home), *(_of_entry_point(point) for point in _entry_points())):
        found.setdefault(flavor.name, flavor)
    return MappingProxyType(found)


def flavor_named(name: str, home: Home | None = None) -> Flavor:
    """The flavor of that name. Raises ConfigurationError that names the nearest, and all."""
    for flavor in BUILT_IN:
        if flavor.name == name:
            return flavor
    for flavor in _registered(home):
        if flavor.name == name:
            return flavor
    known = flavors(home)
    if name not in known:
        raise ConfigurationError(f"unknown flavor {name!r}; {_instead(name, known)}")
    return known[name]


def flavor_of_scheme(scheme: str, home: Home | None = None) -> Flavor:
    """The flavor for addresses with a scheme (in lower case, `` for a plain path).

    An entry point must be imported to know its schemes: the one that is called as the scheme is asked first, and those
    that cannot be imported are passed over. Raises ConfigurationError that names the nearest scheme, and all.
    """
    for flavor in BUILT_IN:
        if scheme in flavor.schemes:
            return flavor
    registered = _registered(home)
    for flavor in registered:
        if scheme in flavor.schemes:
            return flavor
    taken = {flavor.name for flavor in (*BUILT_IN, *registered)}
    points = [one for one in map(_of_entry_point, _entry_points()) if one.name not in taken]
    broken: list[str] = []
    seen = [one for flavor in (*BUILT_IN, *registered) for one in flavor.schemes if one]
    for flavor in sorted(points, key=lambda one: one.name != scheme):
        try:
            schemes = _schemes_of(flavor.load())
        except ConfigurationError as error:
            broken.append(f"{flavor.name} ({flavor.origin}): {error.message}")
            continue
        if scheme in schemes:
            return Flavor(flavor.name, flavor.source, schemes, origin=flavor.origin)
        seen += schemes
    told = f"unknown scheme {scheme}://; {_instead(f'{scheme}://', [f'{one}://' for one in seen])}, and plain paths"
    raise ConfigurationError("; not usable: ".join([told, *broken]))


def _instead(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}supported: {', '.join(names)}"


def _schemes_of(kind: type[BaseArtifactStore]) -> tuple[str, ...]:
    return tuple(sorted(scheme.removesuffix("://") for scheme in kind.SUPPORTED_SCHEMES))


# ---- entry points ---------------------------------------------------------------------------------------


def _entry_points() -> list[EntryPoint]:
    """Those of installed distributions, sorted, so that which of two is used does not change."""
    from importlib.metadata import entry_points

    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, _distribution(point)))


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _of_entry_point(point: EntryPoint) -> Flavor:
    source = point.value.partition("[")[0].strip()
    return Flavor(point.name, source, (), origin=f"entry point {_distribution(point)}")


# ---- registered by the user -----------------------------------------------------------------------------


def _registered(home: Home | None, document: Mapping[str, Any] | None = None) -> list[Flavor]:
    home = home or Home.of_this_user()
    return [_entry(home.config_file, name, table) for name, table in home.tables(_KIND, document).items()]


def _entry(path: str, name: str, table: Mapping[str, Any]) -> Flavor:
    source, schemes = table.get("source"), table.get("schemes")
    if not isinstance(source, str) or not source:
        raise ConfigurationError(f"{_KIND}.{name} needs a text for 'source'", uri=path)
    if not isinstance(schemes, list) or not all(isinstance(one, str) and one for one in schemes):
        raise ConfigurationError(f"{_KIND}.{name} needs a list of texts for 'schemes'", uri=path)
    return Flavor(name, source, tuple(schemes), origin=REGISTERED_ORIGIN)


def register_flavor(source: str, home: Home | None = None) -> Flavor:
    """Remember a user's own flavor, for addresses with its schemes, in this and in later processes.

    source: `my_package.module:MyStore`, or with a dot in place of the colon. The class is imported once, to be checked;
    the same source again brings its schemes up to date. Raises ConfigurationError for a class that is no flavor, and
    for a name or a scheme that another flavor has.
    """
    from entrepot.registry.sources import class_at, normal_source

    source = normal_source(source)
    kind = class_at(source)
    flavor = Flavor(kind.FLAVOR, source, _schemes_of(kind), origin=REGISTERED_ORIGIN)
    home = home or Home.of_this_user()

    def add(document: TOMLDocument) -> Flavor:
        for other in (*BUILT_IN, *_registered(home, document.unwrap())):
            if other.origin == REGISTERED_ORIGIN and (other.name, other.source) == (flavor.name, source):
                continue
            _refuse_twins(flavor, other)
        put_table(document, _KIND, flavor.name, {"source": source, "schemes": list(flavor.schemes)})
        return flavor

    return home.change(f"the flavor {flavor.name!r} cannot be registered here", add)


def _refuse_twins(flavor: Flavor, other: Flavor) -> None:
    whose = f"the {other.origin} flavor {other.name!r} ({other.source})"
    advice = "" if other.origin == BUILT_IN_ORIGIN else f", or delete that one: flavor delete {other.name}"
    if flavor.name == other.name:
        raise ConfigurationError(f"{flavor.source}: FLAVOR {flavor.name!r} is taken by {whose}; choose another{advice}")
    common = sorted({*flavor.schemes} & {*other.schemes})
    if common:
        raise ConfigurationError(f"{flavor.source}: {common[0]}:// is taken by {whose}; choose another{advice}")


def delete_flavor(name: str, home: Home | None = None) -> Flavor:
    """Forget a registered flavor; returns it. Raises ConfigurationError for any other."""
    home = home or Home.of_this_user()

    def drop(document: TOMLDocument) -> Flavor:
        registered = {flavor.name: flavor for flavor in _registered(home, document.unwrap())}
        if name in registered:
            tables: Any = document[_KIND]
            del tables[name]
            if not tables:
                del document[_KIND]
            return registered[name]
        known = flavors(home)
        if name in known:
            raise ConfigurationError(
                f"flavor {name!r} was not registered by you, it is from: {known[name].origin}; delete a registered one"
            )
        raise ConfigurationError(f"no flavor {name!r} is registered; registered: {', '.join(registered) or 'none'}")

    return home.change(f"the flavor {name!r} cannot be deleted here", drop)


# ---- the list -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlavorRow:
    """One flavor as a list shows it. installed: whether it can be used. hint: what to install, or what is wrong."""

    name: str
    schemes: tuple[str, ...]
    source: str
    origin: str
    installed: bool
    hint: str = ""


def flavor_rows(home: Home | None = None) -> list[FlavorRow]:
    """Every flavor, also those that another hides, and those that cannot be imported.

    Cost: as `flavors`; imports entry points, whose schemes are not known before, and nothing else.
    """
    return list(_rows(home))


def _rows(home: Home | None) -> Iterator[FlavorRow]:
    names: dict[str, Flavor] = {}
    schemes: dict[str, Flavor] = {}
    for flavor in (*BUILT_IN, *_registered(home), *map(_of_entry_point, _entry_points())):
        row = _row(flavor)
        clash = names.get(flavor.name) or next((schemes[one] for one in row.schemes if one in schemes), None)
        if clash is not None:
            hint = f"hidden by {clash.name!r} ({clash.origin}), which comes first"
            yield FlavorRow(row.name, row.schemes, row.source, row.origin, installed=False, hint=hint)
            continue
        names[flavor.name] = flavor
        schemes.update(dict.fromkeys(row.schemes, flavor))
        yield row


def _row(flavor: Flavor) -> FlavorRow:
    schemes, hint = flavor.schemes, ""
    installed = flavor.is_installed
    if flavor.origin.startswith("entry point"):
        try:
            schemes, installed = _schemes_of(flavor.load()), True
        except ConfigurationError as error:
            installed, hint = False, error.message
    elif not installed:
        missing = flavor.source.partition(":")[0]
        hint = f"pip install 'entrepot[{flavor.extra}]'" if flavor.extra else f"no module {missing}; put it on the path"
    return FlavorRow(flavor.name, schemes, flavor.source, flavor.origin, installed, hint)
