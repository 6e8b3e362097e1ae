"""Flavors beyond those that are built in: registered by source path, and from entry points."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrepot.errors import ConfigurationError
from entrepot.registry import (
    Flavor,
    FlavorRow,
    Home,
    delete_flavor,
    flavor_named,
    flavor_of_scheme,
    flavor_rows,
    flavors,
    register_flavor,
)
from entrepot.stores import make_store

STORE = """
from dataclasses import dataclass

from entrepot.flavors.memory import MemoryArtifactStore


@dataclass(frozen=True)
class Config:
    path: str


class Store(MemoryArtifactStore):
    FLAVOR = "{name}"
    SUPPORTED_SCHEMES = frozenset({{"{scheme}://"}})
    CONFIG = Config
"""

Write = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ENTREPOT_DATA_DIR", str(tmp_path / "data"))
    return Home.of_this_user()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules that can be imported in this test, and in no other."""
    before = {*sys.modules}
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(name: str, text: str) -> Path:
        path = folder / f"{name}.py"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return path

    yield write
    for name in {*sys.modules} - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def distribution(module: Write, tmp_path: Path) -> Write:
    """Writes what an installer leaves of a distribution with entry points."""

    def write(name: str, **points: str) -> Path:
        info = tmp_path / "modules" / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{point} = {source}" for point, source in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[entrepot.flavors]", *lines]) + "\n")
        importlib.invalidate_caches()
        return info

    return write


def configured(home: Home) -> str:
    return Path(home.config_file).read_text(encoding="utf-8")


def row(name: str) -> FlavorRow:
    return next(one for one in flavor_rows() if one.name == name)


# ---- registered ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["mine:Store", "mine.Store"])
def test_a_registered_flavor_is_used_by_name_and_by_scheme(home: Home, module: Write, source: str) -> None:
    module("mine", STORE.format(name="mine", scheme="mine"))
    registered = register_flavor(source)
    assert registered == Flavor("mine", "mine:Store", ("mine",), origin="registered")
    assert tomllib.loads(configured(home)) == {"flavors": {"mine": {"source": "mine:Store", "schemes": ["mine"]}}}
    assert os.stat(home.config_file).st_mode & 0o777 == 0o600
    assert flavor_named("mine") == flavor_of_scheme("mine") == flavors()["mine"] == registered
    assert type(make_store("mine://here/a")).__name__ == "Store"
    assert row("mine") == FlavorRow("mine", ("mine",), "mine:Store", "registered", installed=True)


def test_what_was_in_the_file_stays_and_the_same_source_again_is_fine(home: Home, module: Write) -> None:
    before = '# mine\n[artifact_stores.team]  # shared\nflavor = "mine"\npath = "mine://team"\n'
    Path(home.config_file).write_text(before)
    module("mine", STORE.format(name="mine", scheme="mine"))
    register_flavor("mine:Store")
    once = configured(home)
    assert once.startswith(before)
    register_flavor("mine.Store")
    assert configured(home) == once
    module("mine", STORE.format(name="mine", scheme="mine2"))
    register_flavor("mine:Store")
    assert flavor_of_scheme("mine2").name == "mine"
    assert configured(home) == once.replace('["mine"]', '["mine2"]')
    delete_flavor("mine")
    assert configured(home).strip() == before.strip()


@pytest.mark.parametrize(
    ("text", "source", "complaint"),
    [
        ("", "mine", "is no source path; write my_package.module:MyStore"),
        ("", "no such:path", "is no source path"),
        ("", "nowhere.at_all:Store", "no module nowhere on the path; install it, or add its directory to PYTHONPATH"),
        ("import no_such_sdk", "mine:Store", "module mine needs no_such_sdk, which is not installed"),
        ("1 / 0", "mine:Store", "module mine cannot be imported: ZeroDivisionError"),
        ("def broken(:", "mine:Store", "module mine cannot be imported: SyntaxError"),
        ("class Store: pass", "mine:Stroe", "module mine has no Stroe; did you mean Store?"),
        ("class Store: pass", "mine:Store", "is no subclass of entrepot.BaseArtifactStore"),
        ("Store = 1", "mine:Store", "is no subclass"),
        (
            "from entrepot.filesystem import FileSystemArtifactStore\nclass Store(FileSystemArtifactStore): pass",
            "mine:Store",
            "lacks _list, _make_directory, _open_read, _open_write, _remove_directory, _remove_file, _rename, _stat;",
        ),
        (STORE.format(name="My Store", scheme="mine"), "mine:Store", "FLAVOR must be a short name in lower case"),
        (STORE.format(name="mine", scheme="MINE"), "mine:Store", "'MINE://' in SUPPORTED_SCHEMES is no scheme"),
        (
            STORE.format(name="mine", scheme="mine").replace('frozenset({"mine://"})', "frozenset()"),
            "mine:Store",
            "SUPPORTED_SCHEMES must be a set, such as frozenset({'mine://'})",
        ),
        (
            STORE.format(name="mine", scheme="mine").replace("CONFIG = Config", "CONFIG = dict"),
            "mine:Store",
            "CONFIG must be a pydantic model or a dataclass",
        ),
        (
            STORE.format(name="mine", scheme="mine").replace("    path: str", "    place: str"),
            "mine:Store",
            "CONFIG needs a key 'path'",
        ),
        (STORE.format(name="s3", scheme="mine"), "mine:Store", "FLAVOR 's3' is taken by the built-in flavor 's3'"),
        (STORE.format(name="mine", scheme="s3"), "mine:Store", "s3:// is taken by the built-in flavor 's3'"),
        (STORE.format(name="other", scheme="mine"), "mine:Store", "FLAVOR 'other' is taken by the registered flavor"),
        (STORE.format(name="mine", scheme="other"), "mine:Store", "or delete that one: flavor delete other"),
    ],
)
def test_what_is_no_flavor_is_refused_in_one_line(
    home: Home, module: Write, text: str, source: str, complaint: str
) -> None:
    module("other_module", STORE.format(name="other", scheme="other"))
    register_flavor("other_module:Store")
    before = configured(home)
    module("mine", text)
    with pytest.raises(ConfigurationError) as caught:
        register_flavor(source)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert configured(home) == before


def test_only_registered_flavors_can_be_deleted(home: Home, module: Write) -> None:
    with pytest.raises(ConfigurationError, match="'s3' was not registered by you, it is from: built-in"):
        delete_flavor("s3")
    with pytest.raises(ConfigurationError, match="no flavor 'mine' is registered; registered: none"):
        delete_flavor("mine")
    assert not os.path.exists(home.config_file)
    module("mine", STORE.format(name="mine", scheme="mine"))
    register_flavor("mine:Store")
    assert delete_flavor("mine").source == "mine:Store"
    assert tomllib.loads(configured(home)) == {}
    with pytest.raises(ConfigurationError, match="unknown flavor 'mine'"):
        flavor_named("mine")


def test_nothing_is_imported_but_what_was_registered(home: Home, module: Write) -> None:
    path = module("loud", f"{STORE.format(name='loud', scheme='loud')}\nopen({str(home.data_dir)!r}, 'a').write('x')")
    Path(home.config_file).write_text(
        '[artifact_stores.evil]\nflavor = "loud:Store"\npath = "loud://x"\nsource = "loud:Store"\n'
    )
    with pytest.raises(ConfigurationError, match="unknown flavor 'loud:Store'"):
        make_store("evil")
    with pytest.raises(ConfigurationError, match="unknown scheme loud"):
        make_store("loud://x")
    assert path.exists()
    assert not os.path.exists(home.data_dir)


def test_a_registered_flavor_that_went_away_is_told(home: Home, module: Write) -> None:
    path = module("mine", STORE.format(name="mine", scheme="mine"))
    register_flavor("mine:Store")
    module("mine", STORE.format(name="renamed", scheme="mine"))
    with pytest.raises(ConfigurationError, match="mine:Store is of flavor 'renamed' now; register it again"):
        make_store("mine://here/a")
    path.unlink()
    del sys.modules["mine"]
    importlib.invalidate_caches()
    with pytest.raises(ConfigurationError, match="no module mine on the path"):
        make_store("mine://here/a")
    assert row("mine") == FlavorRow(
        "mine", ("mine",), "mine:Store", "registered", installed=False, hint="no module mine; put it on the path"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("flavors = 1", "flavors must be a table"),
        ("[flavors]\na = 1", "flavors.a must be a table"),
        ("[flavors.a]\nschemes = []", "flavors.a needs a text for 'source'"),
        ('[flavors.a]\nsource = "m:C"\nschemes = "a"', "flavors.a needs a list of texts for 'schemes'"),
    ],
)
def test_a_broken_table_is_named_and_troubles_no_built_in_flavor(home: Home, text: str, complaint: str) -> None:
    Path(home.config_file).write_text(text)
    assert flavor_of_scheme("s3").name == flavor_named("s3").name == "s3"
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        flavor_of_scheme("a")
    assert home.config_file in str(caught.value)


# ---- entry points ----------------------------------------------------------------------------------------


def test_an_entry_point_is_used_by_name_and_by_scheme(home: Home, module: Write, distribution: Write) -> None:
    module("packed", STORE.format(name="packed", scheme="pk"))
    distribution("packed-flavors", packed="packed:Store")
    assert flavor_named("packed") == Flavor("packed", "packed:Store", (), origin="entry point packed-flavors")
    assert flavor_of_scheme("pk").load().FLAVOR == "packed"
    assert make_store("pk://here/a").FLAVOR == "packed"
    assert row("packed") == FlavorRow("packed", ("pk",), "packed:Store", "entry point packed-flavors", installed=True)
    assert not os.path.exists(home.config_file)


def test_a_broken_entry_point_breaks_no_other(home: Home, module: Write, distribution: Write) -> None:
    module("packed", STORE.format(name="packed", scheme="pk"))
    module("broken", "import no_such_sdk")
    distribution("a-broken", broken="broken:Store", nowhere="no_such_module:Store", odd="!!")
    distribution("packed-flavors", packed="packed:Store")
    assert flavor_of_scheme("pk").name == "packed"
    assert flavor_named("packed").load().FLAVOR == "packed"
    broken = row("broken")
    assert (broken.installed, broken.schemes) == (False, ())
    assert broken.hint == "module broken needs no_such_sdk, which is not installed; pip install it"
    assert "no module no_such_module" in row("nowhere").hint
    assert "is no source path" in row("odd").hint
    with pytest.raises(ConfigurationError, match=r"unknown scheme pq://; did you mean pk://.*; not usable: broken"):
        flavor_of_scheme("pq")
    with pytest.raises(ConfigurationError, match="needs no_such_sdk"):
        flavor_named("broken").load()


def test_what_is_built_in_or_registered_comes_first_and_the_list_tells(
    home: Home, module: Write, distribution: Write
) -> None:
    module("packed", STORE.format(name="s3", scheme="s3") + "\n\nclass Other(Store):\n    FLAVOR = 'mine'\n")
    distribution("usurper", s3="packed:Store", mine="packed:Other")
    module("mine", STORE.format(name="mine", scheme="mine"))
    register_flavor("mine:Store")
    assert flavor_of_scheme("s3").source.startswith("entrepot.")
    assert flavor_named("mine").source == "mine:Store"
    hidden = {one.name: one for one in flavor_rows() if one.origin == "entry point usurper"}
    assert hidden["s3"].hint == "hidden by 's3' (built-in), which comes first"
    assert hidden["mine"].hint == "hidden by 'mine' (registered), which comes first"
    assert not any(one.installed for one in hidden.values())
    assert len([one for one in flavor_rows() if one.name == "s3"]) == 2


# ---- built in --------------------------------------------------------------------------------------------


def test_the_list_tells_what_to_install_without_importing_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "entrepot.registry.catalog.BUILT_IN",
        (Flavor("s3", "entrepot.flavors.s3.store:S3ArtifactStore", ("s3",), extra="s3", needs=("no_such_sdk.part",)),),
    )
    found = row("s3")
    assert (found.installed, found.hint, found.origin) == (False, "pip install 'entrepot[s3]'", "built-in")
    with pytest.raises(ConfigurationError, match=r"'s3' needs entrepot\[s3\]: pip install 'entrepot\[s3\]'"):
        flavor_of_scheme("s3").load()


def test_the_list_imports_no_sdk_and_a_built_in_flavor_reads_no_metadata(home: Home) -> None:
    code = (
        "import sys; from entrepot.registry import flavor_of_scheme, flavor_rows; flavor_of_scheme('s3')\n"
        "print({'importlib.metadata', 'tomlkit', 'pydantic', 'asyncio'} & set(sys.modules)); flavor_rows()\n"
        "print({'aiohttp', 'aiobotocore', 'gcloud.aio.auth', 'azure.storage.blob', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "set()"]
