"""Flavors by name and scheme; the configuration file; the local store that needs no set-up."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

import pytest

from entrepot.errors import ConfigurationError
from entrepot.registry import (
    BUILT_IN,
    Flavor,
    Home,
    find_store,
    flavor_named,
    flavor_of_scheme,
    named_store,
    store_names,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "configuration" / "config.toml"))
    monkeypatch.setenv("ENTREPOT_DATA_DIR", str(tmp_path / "data"))
    return Home.of_this_user()


def write(home: Home, text: str) -> None:
    os.makedirs(os.path.dirname(home.config_file), exist_ok=True)
    Path(home.config_file).write_text(text, encoding="utf-8")


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# ---- flavors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [flavor.name for flavor in BUILT_IN])
def test_every_flavor_loads_and_takes_the_schemes_it_is_known_for(name: str) -> None:
    flavor = flavor_named(name)
    name_of_class, schemes = flavor.load().FLAVOR, flavor.load().SUPPORTED_SCHEMES
    assert name_of_class == name
    assert schemes == {f"{scheme}://" if scheme else "" for scheme in flavor.schemes}
    for scheme in flavor.schemes:
        assert flavor_of_scheme(scheme) is flavor


def test_an_unknown_flavor_or_scheme_names_the_supported_and_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean memory"):
        flavor_named("memroy")
    with pytest.raises(ConfigurationError, match=r"unknown scheme s4://; did you mean s3://.*memory://.*plain paths"):
        flavor_of_scheme("s4")
    with pytest.raises(ConfigurationError, match=r"supported: .*s3://"):
        flavor_of_scheme("hdfs")


def test_a_flavor_that_is_not_installed_says_what_to_install() -> None:
    flavor = Flavor("s3", "no_such_sdk_is_installed:Store", ("s3",), extra="s3")
    with pytest.raises(ConfigurationError, match=r"needs entrepot\[s3\]: pip install 'entrepot\[s3\]'"):
        flavor.load()
    with pytest.raises(ModuleNotFoundError):  # our own fault is not the user's
        Flavor("s3", "entrepot.no_such_module:Store", ("s3",), extra="s3").load()


# ---- where it is kept ------------------------------------------------------------------------------------


def test_the_platform_says_where_unless_the_environment_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import platformdirs

    monkeypatch.delenv("ENTREPOT_CONFIG", raising=False)
    monkeypatch.delenv("ENTREPOT_DATA_DIR", raising=False)
    home = Home.of_this_user()
    assert home.config_file == os.path.join(platformdirs.user_config_dir("entrepot", appauthor=False), "config.toml")
    assert home.data_dir == platformdirs.user_data_dir("entrepot", appauthor=False)
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "c"))
    assert Home.of_this_user() == Home(str(tmp_path / "c"), home.data_dir)


# ---- the default store -----------------------------------------------------------------------------------


def test_the_default_store_is_made_once(home: Home) -> None:
    assert store_names() == ["default"]
    assert not os.path.exists(home.config_file)
    entry = named_store("default")
    assert named_store("default") == entry
    assert entry.flavor == "local"
    assert str(uuid.UUID(entry.id)) == entry.id
    assert entry.path == os.path.join(home.data_dir, "local_stores", entry.id)
    assert mode_of(home.config_file) == 0o600
    assert mode_of(os.path.dirname(home.config_file)) == 0o700
    assert tomllib.loads(Path(home.config_file).read_text(encoding="utf-8")) == {
        "artifact_stores": {"default": {"id": entry.id, "flavor": "local", "path": entry.path}}
    }
    assert entry.make().path == entry.path


def test_what_was_in_the_file_stays(home: Home) -> None:
    before = '# mine\n[artifact_stores.team]  # shared\nflavor = "memory"\npath = "memory://team"'
    write(home, before)
    os.chmod(home.config_file, 0o644)
    named_store("default")
    after = Path(home.config_file).read_text(encoding="utf-8")
    assert after.startswith(before + "\n\n[artifact_stores.default]\n")
    assert mode_of(home.config_file) == 0o600
    assert store_names() == ["default", "team"]


def test_a_link_to_the_file_stays_a_link(home: Home, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "entrepot.toml"
    os.makedirs(os.path.dirname(home.config_file))
    os.symlink(real, home.config_file)
    entry = named_store("default")
    assert os.path.islink(home.config_file)
    assert entry.id in real.read_text(encoding="utf-8")


def test_odd_paths_are_written_so_that_they_are_read_back(tmp_path: Path) -> None:
    home = Home(str(tmp_path / "config.toml"), str(tmp_path / 'da"ta\\ü\x7f\tx'))
    entry = named_store("default", home)
    assert named_store("default", home) == entry
    assert entry.path.startswith(home.data_dir)


def test_processes_at_first_use_agree_on_one_store(home: Home) -> None:
    code = "from entrepot.registry import named_store; input(); print(named_store('default').id)"
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    found = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert found == {named_store("default").id}


def test_looking_at_a_local_store_imports_neither_pydantic_nor_asyncio(home: Home) -> None:
    named_store("default")
    code = (
        "from entrepot.registry import named_store; named_store('default')\n"
        "import sys; print({'pydantic', 'asyncio', 'filelock', 'tomlkit', 'importlib.metadata'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


# ---- configured stores, and mistakes ---------------------------------------------------------------------


def test_a_configured_store_has_its_keys(home: Home) -> None:
    write(home, '[artifact_stores.fast]\nflavor = "local"\npath = "/data"\ndurability = "none"\n')
    entry = named_store("fast")
    assert (entry.id, entry.options) == ("", {"durability": "none"})
    store = entry.make()
    assert (store.path, store.config.durability) == ("/data", "none")
    assert entry.make(below="a/b").path == "/data/a/b"
    assert entry.make(durability="full").config.durability == "full"


def test_an_unknown_store_lists_the_known(home: Home) -> None:
    assert find_store("team") is None
    write(home, '[artifact_stores.team]\nflavor = "memory"\npath = "memory://t"\n')
    with pytest.raises(
        ConfigurationError, match=r"no store is called 'taem'; did you mean team:\? known: default, team"
    ):
        named_store("taem")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[artifact_stores", "not valid TOML"),
        ("artifact_stores = 1", "must be a table"),
        ("[artifact_stores]\na = 1", "artifact_stores.a must be a table"),
        ('[artifact_stores.a]\npath = "x"', "needs a text for 'flavor'"),
        ('[artifact_stores.a]\nflavor = "local"\npath = 3', "needs a text for 'path'"),
    ],
)
def test_a_broken_file_is_named(home: Home, text: str, complaint: str) -> None:
    write(home, text)
    for use in (lambda: named_store("default"), store_names):
        with pytest.raises(ConfigurationError, match=complaint) as caught:
            use()
        assert home.config_file in str(caught.value)
    assert Path(home.config_file).read_text(encoding="utf-8") == text


def test_a_file_of_other_bytes_is_named(home: Home) -> None:
    write(home, "")
    Path(home.config_file).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        named_store("default")


def test_a_table_in_one_line_is_added_to(home: Home) -> None:
    write(home, 'artifact_stores = { a = { flavor = "memory", path = "memory://a" } }  # mine\n')
    entry = named_store("default")
    text = Path(home.config_file).read_text(encoding="utf-8")
    assert text.endswith("# mine\n")
    assert tomllib.loads(text)["artifact_stores"]["default"]["id"] == entry.id
    assert store_names() == ["a", "default"]


def test_a_file_that_cannot_be_added_to_is_left_alone(home: Home) -> None:
    text = 'artifact_stores.a.flavor = "memory"\nartifact_stores.a.path = "memory://a"\n'
    write(home, text)
    assert named_store("a").flavor == "memory"
    with pytest.raises(ConfigurationError, match="write plain tables"):
        named_store("default")
    assert Path(home.config_file).read_text(encoding="utf-8") == text


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = Home(str(tmp_path / "file" / "config.toml"), str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"Not a directory; ENTREPOT_CONFIG"):
        named_store("default", home)


def test_a_failed_write_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "# mine\n")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigurationError, match="No space left"):
        named_store("default")
    assert Path(home.config_file).read_text(encoding="utf-8") == "# mine\n"
    assert not [name for name in os.listdir(os.path.dirname(home.config_file)) if len(name) > len("config.toml.lock")]
