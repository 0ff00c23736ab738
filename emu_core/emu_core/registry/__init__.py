"""Registries: what can be chosen by name, and how a file outside this project adds to them.

    DEPTH_LOSSES: Registry[DepthLoss] = Registry("depth loss")

    @DEPTH_LOSSES.register("huber")
    def huber(...): ...

    DEPTH_LOSSES["huber"]

The environment variable EMU_PLUGINS names Python files or modules, separated by commas. They are
imported when a registry is read for the first time, in every program and in all of its worker
processes: `EMU_PLUGINS=my_losses.py python training/train_teacher.py --loss.depth huber`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

PLUGINS = "EMU_PLUGINS"

T = TypeVar("T")


class RegistryError(KeyError, ValueError):
    """A name that no registry knows, a name that is taken, or a plugin that cannot be imported."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print it in quotes


class Registry(Mapping[str, T]):
    """Values by name, in the order of registration.

    Args:
        what: What a value is, for messages, e.g. "depth loss".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._values: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that adds a value under `name`."""

        def add(value: Any) -> Any:
            self.add(name, value)
            return value

        return add

    def add(self, name: str, value: T) -> None:
        """Add a value; RegistryError if the name is taken."""
        if name in self._values:
            raise RegistryError(f"There is already a {self.what} named {name!r}.")
        self._values[name] = value

    def check(self, name: str) -> str:
        """Return `name`; RegistryError with the list of names if there is no such value."""
        load_plugins()
        if name not in self._values:
            raise RegistryError(
                f"Expected a {self.what} of {', '.join(self._values)}, but got {name!r}."
            )
        return name

    def __getitem__(self, name: str) -> T:
        return self._values[self.check(name)]

    def __contains__(self, name: object) -> bool:
        load_plugins()
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(tuple(self._values))

    def __len__(self) -> int:
        load_plugins()
        return len(self._values)


_loaded: set[str] = set()


def load_plugins() -> None:
    """Import what EMU_PLUGINS names, once per process; RegistryError if that fails."""
    for name in filter(None, map(str.strip, os.environ.get(PLUGINS, "").split(","))):
        if name not in _loaded:
            _loaded.add(name)  # first: a plugin reads registries while it is imported
            try:
                _import(name)
            except Exception as error:
                _loaded.discard(name)
                raise RegistryError(
                    f"The plugin {name} of {PLUGINS} cannot be imported "
                    f"({type(error).__name__}: {error})."
                ) from error


def _import(name: str) -> None:
    if not name.endswith(".py"):
        importlib.import_module(name)
        return
    path = Path(name).resolve()
    module_name = f"emu_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
