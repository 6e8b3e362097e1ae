"""From a value to files and back, by its type. A materializer works on a folder of this machine alone."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, ClassVar, Final

from entrepot.errors import ConfigurationError

__all__ = ["Materializer", "materializer_named", "materializer_of", "register_materializer"]


class Materializer(ABC):
    """How values of some types are kept. A subclass names itself and its types, and is registered.

    NAME: what manifests say; it stays the same for ever. TYPES: `package.Class`, the top-level package alone, so that
    nothing is imported to look a type up; subclasses are found too. is_code: loading it may run code.
    """

    NAME: ClassVar[str]
    TYPES: ClassVar[tuple[str, ...]] = ()
    is_code: ClassVar[bool] = False

    @abstractmethod
    def save(self, value: Any, folder: Path) -> Path:
        """Write the value into an empty folder; returns the folder that is to be kept, this one or another."""

    @abstractmethod
    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        """The value. kind: its class, where it can be imported."""

    def describe(self, value: Any) -> dict[str, Any]:
        """What a list shows of the value, as JSON values."""
        return {}


class _Bytes(Materializer):
    NAME, TYPES = "bytes", ("builtins.bytes", "builtins.bytearray", "builtins.memoryview")

    def save(self, value: Any, folder: Path) -> Path:
        (folder / "data.bin").write_bytes(value)
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        data = (folder / "data.bin").read_bytes()
        return bytearray(data) if kind is bytearray else data


class _Text(Materializer):
    NAME, TYPES = "text", ("builtins.str",)

    def save(self, value: Any, folder: Path) -> Path:
        (folder / "text.txt").write_text(value, encoding="utf-8", newline="")
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        with (folder / "text.txt").open(encoding="utf-8", newline="") as file:
            return file.read()


class _Json(Materializer):
    NAME = "json"
    TYPES = (
        "builtins.dict", "builtins.list", "builtins.int", "builtins.float", "builtins.bool", "builtins.NoneType",
    )  # fmt: skip

    def save(self, value: Any, folder: Path) -> Path:
        try:
            text = json.dumps(value, ensure_ascii=False)
            # As text nan is equal to itself, and a tuple, or a key that is no text, shows.
            same = repr(json.loads(text)) == repr(value)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"it is not all JSON ({error}); {_INSTEAD}") from error
        if not same:
            raise ConfigurationError(f"JSON makes another value of it (a tuple, a key that is no text); {_INSTEAD}")
        (folder / "value.json").write_text(text, encoding="utf-8")
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        return json.loads((folder / "value.json").read_text(encoding="utf-8"))


class _Model(Materializer):
    NAME, TYPES = "pydantic", ("pydantic.BaseModel",)

    def save(self, value: Any, folder: Path) -> Path:
        text = value.model_dump_json(by_alias=True, round_trip=True)
        _require_same(dict(value), text, lambda text: dict(type(value).model_validate_json(text)))
        (folder / "model.json").write_text(text, encoding="utf-8")
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        return _required(kind).model_validate_json((folder / "model.json").read_text(encoding="utf-8"))


class _Dataclass(Materializer):
    NAME = "dataclass"

    def save(self, value: Any, folder: Path) -> Path:
        adapter = _adapter(type(value))
        text = adapter.dump_json(value, by_alias=True, round_trip=True)
        _require_same(value, text, adapter.validate_json)
        (folder / "fields.json").write_bytes(text)
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        return _adapter(_required(kind)).validate_json((folder / "fields.json").read_bytes())


def _adapter(kind: type[Any]) -> Any:
    from pydantic import PydanticSchemaGenerationError, TypeAdapter

    try:
        return TypeAdapter(kind)
    except PydanticSchemaGenerationError as error:
        raise ConfigurationError(f"its fields are not all JSON; {_INSTEAD}") from error


def _require_same(value: Any, text: str | bytes, load: Callable[[str | bytes], Any]) -> None:
    """Secrets are masked in JSON, fields can be left out of it, and a tuple may come back as a list."""
    try:
        same = load(text) == value
    except ValueError as error:
        raise ConfigurationError(f"it cannot be loaded from its own JSON ({error}); {_INSTEAD}") from error
    if not same:
        raise ConfigurationError(f"its fields do not come back from JSON as they were; {_INSTEAD}")


class _Directory(Materializer):
    """With all below it; what is loaded lies in a folder of the run."""

    NAME = "directory"

    def save(self, value: Any, folder: Path) -> Path:
        return Path(value)

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        return folder


class _File(Materializer):
    """One file, under its name."""

    NAME = "file"

    def save(self, value: Any, folder: Path) -> Path:
        path = Path(value)
        if not path.is_file():
            raise ConfigurationError(f"nothing is at {path}; a step that gives a path has written there")
        shutil.copyfile(path, folder / path.name)
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        return next(folder.iterdir())


class _Array(Materializer):
    NAME, TYPES = "numpy", ("numpy.ndarray", "numpy.generic")

    def save(self, value: Any, folder: Path) -> Path:
        import numpy as np

        np.save(folder / "array.npy", value, allow_pickle=False)
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        import numpy as np

        found = np.load(folder / "array.npy", allow_pickle=False)
        return found[()] if kind is not None and issubclass(kind, np.generic) else found

    def describe(self, value: Any) -> dict[str, Any]:
        return {"shape": list(value.shape), "dtype": str(value.dtype)}


class _Table(Materializer):
    NAME, TYPES = "parquet", ("pandas.DataFrame", "pandas.Series", "pyarrow.Table")

    def save(self, value: Any, folder: Path) -> Path:
        if type(value).__name__ == "Table":
            _parquet().write_table(value, folder / "table.parquet")
        else:
            frame = value.to_frame(_UNNAMED if value.name is None else value.name) if value.ndim == 1 else value
            frame.to_parquet(folder / "table.parquet")
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        if kind is not None and kind.__name__ == "Table":
            return _parquet().read_table(folder / "table.parquet")
        import pandas as pd

        frame = pd.read_parquet(folder / "table.parquet")
        if kind is None or kind.__name__ != "Series":
            return frame
        series = frame.iloc[:, 0]
        return series.rename(None) if series.name == _UNNAMED else series

    def describe(self, value: Any) -> dict[str, Any]:
        # The columns of an arrow table are their content; its names are told apart.
        names: Any = getattr(value, "column_names", None) or getattr(value, "columns", ())
        return {"rows": len(value), "columns": [str(one) for one in names][:100]}


_UNNAMED: Final = "(unnamed)"


def _parquet() -> Any:
    return importlib.import_module("pyarrow.parquet")


class _Image(Materializer):
    NAME, TYPES = "image", ("PIL.Image",)

    def save(self, value: Any, folder: Path) -> Path:
        value.save(folder / "image.png")
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        image = importlib.import_module("PIL.Image").open(folder / "image.png")
        image.load()
        return image

    def describe(self, value: Any) -> dict[str, Any]:
        return {"width": value.width, "height": value.height}


class _Tensor(Materializer):
    NAME, TYPES = "torch", ("torch.Tensor", "torch.Module")

    def save(self, value: Any, folder: Path) -> Path:
        torch = importlib.import_module("torch")
        torch.save(value if isinstance(value, torch.Tensor) else value.state_dict(), folder / "tensors.pt")
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        found = importlib.import_module("torch").load(folder / "tensors.pt", weights_only=True)
        if not isinstance(found, dict) or kind is None:
            return found
        module = kind()
        module.load_state_dict(found)
        return module


class Pickle(Materializer):
    """Any value, for those who have asked for it."""

    NAME, is_code = "pickle", True

    def save(self, value: Any, folder: Path) -> Path:
        import pickle

        with (folder / "value.pkl").open("wb") as file:
            pickle.dump(value, file, protocol=5)
        return folder

    def load(self, folder: Path, kind: type[Any] | None) -> Any:
        import pickle

        with (folder / "value.pkl").open("rb") as file:
            return pickle.load(file)  # noqa: S301  # who loads it has asked for it


_INSTEAD: Final = "return something else, register a materializer for its type, or allow pickle (allow_pickle=True)"
_BY_TYPE: dict[str, Materializer] = {}
_BY_NAME: dict[str, Materializer] = {}


def register_materializer(kind: type[Materializer]) -> type[Materializer]:
    """Use it for its types from now on, also in place of one that comes with entrepot. Usable as a decorator.

    Raises: ConfigurationError for one without a name, or with that of another class.
    """
    if not getattr(kind, "NAME", ""):
        raise ConfigurationError(f"{kind.__name__} needs a NAME: what manifests call it")
    known = _BY_NAME.get(kind.NAME)
    if known is not None and type(known).__qualname__ != kind.__qualname__:
        raise ConfigurationError(f"the name {kind.NAME!r} is taken by {type(known).__name__}; choose another")
    made = kind()
    _BY_NAME[kind.NAME] = made
    _BY_TYPE.update(dict.fromkeys(kind.TYPES, made))
    return kind


for _kind in (
    _Bytes, _Text, _Json, _Model, _Dataclass, _Directory, _File, _Array, _Table, _Image, _Tensor, Pickle,
):  # fmt: skip
    register_materializer(_kind)


def materializer_of(value: Any, *, allow_pickle: bool = False) -> Materializer:
    """Which one keeps the value: of its class, or the nearest base. Raises: ConfigurationError where there is none."""
    for base in type(value).__mro__:
        found = _BY_TYPE.get(f"{base.__module__.partition('.')[0]}.{base.__qualname__}")
        if found is not None:
            return found
        if isinstance(value, PurePath) and base is PurePath:
            return _BY_NAME["directory" if Path(value).is_dir() else "file"]
        if base is type(value) and dataclasses.is_dataclass(value):
            return _BY_NAME["dataclass"]
    if allow_pickle:
        return _BY_NAME["pickle"]
    raise ConfigurationError(f"nothing is known that keeps a {type(value).__qualname__}; {_INSTEAD}")


def materializer_named(name: str, *, allow_pickle: bool = False) -> Materializer:
    """The one that a manifest names. Raises: ConfigurationError where it is not registered, or may run code."""
    found = _BY_NAME.get(name)
    if found is None:
        raise ConfigurationError(f"no materializer {name!r} is registered; import the module that registers it")
    if found.is_code and not allow_pickle:
        raise ConfigurationError("it is a pickle, which may run any code when it is loaded; allow_pickle=True loads it")
    return found


def type_name(value: Any) -> str:
    """`module:Class`, as manifests name types."""
    kind = type(value)
    return f"{kind.__module__}:{kind.__qualname__}"


def type_named(name: str) -> type[Any] | None:
    """The class, if it can be had; a script's own is that of the script that runs.

    A manifest is whoever's could write to the store: only packages that materializers are registered for are imported
    for its sake, any other module is to be there already.
    """
    module_name, _, qualname = name.partition(":")
    known = {one.partition(".")[0] for one in _BY_TYPE}
    try:
        found: Any = sys.modules.get(module_name)
        if found is None and module_name.partition(".")[0] in known:
            found = importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) else None


def _required(kind: type[Any] | None) -> Any:
    if kind is None:
        raise ConfigurationError("its class cannot be imported here; import the module that defines it")
    return kind
