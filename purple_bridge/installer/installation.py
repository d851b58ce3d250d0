"""Owns the order in which one gateway is put into a system, and taken out of it. Knows no command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from purple_bridge.errors import ConfigurationError
from purple_bridge.installer import system
from purple_bridge.installer.files import Manifest, Step, Tree
from purple_bridge.installer.layout import DEFAULT_USER, Entry, Layout, entries, option_line, user_entry
from purple_bridge.installer.system import Owner

HERE = Path("/")
Options = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where: below ``root``; with ``dry``, nothing is changed."""

    root: Path = HERE
    dry: bool = False

    @property
    def is_here(self) -> bool:
        """This machine is to be changed: its users, its systemd."""
        return self.root == HERE and not self.dry

    def check_rights(self) -> None:
        """Raises ConfigurationError if this user may not change the system."""
        if self.is_here:
            system.check_root()

    def check_place(self) -> None:
        """Raises ConfigurationError if the service could not use the Python environment that runs this."""
        if self.root == HERE:
            system.check_place()


class Installation:
    """The gateway of ``prefix``. ``user``: None for that of an earlier time, else the default.

    Raises ConfigurationError for names that cannot be.
    """

    def __init__(self, target: Target, prefix: Path, user: str | None = None) -> None:
        self._target = target
        self._tree = Tree(target.root, target.dry)
        found = self._tree.read_manifest(Layout(prefix, user or DEFAULT_USER).manifest)
        self.exists = found is not None
        self._before = found or Manifest()
        self.layout = Layout(prefix, user or self._before.user or DEFAULT_USER)

    def options(self, given: Options) -> dict[str, list[str]]:
        """Options of `purplectl run`, name -> values: what is given, else what was given at an earlier time."""
        return {name: list(values) or self._before.options.get(name, []) for name, values in given.items()}

    def install(self, options: Options, pages: Mapping[str, str], version: str) -> list[Step]:
        """``pages``: path below /usr/local -> text, what the command line has to say about itself."""
        owner = self._make_owner()
        files = entries(self.layout, owner.group, option_line(options), pages)
        steps = [*self._place(files), *self._take_obsolete(files)]
        digests = {str(entry.path): entry.digest for entry in files}
        chosen = {name: list(values) for name, values in options.items()}
        self._tree.write_manifest(self.layout.manifest, Manifest(version, self.layout.user, chosen, digests))
        if self._target.is_here:
            system.reload_systemd()
        return steps

    def remove(self) -> list[Step]:
        """Raises ConfigurationError if it is not installed."""
        if not self.exists:
            raise ConfigurationError(f"{self.layout.name} is not installed here (there is no {self.layout.manifest})")
        if self._target.is_here:
            system.stop_service(self.layout)
        steps = self._tree.take(self._before.files, self._neighbours())
        self._tree.remove_manifest(self.layout.manifest)
        for directory in (self.layout.prefix, self.layout.manifest.parent):
            self._tree.remove_empty(directory)
        if self._target.is_here:
            system.reload_systemd()
        return steps

    def _make_owner(self) -> Owner:
        if not self._target.is_here:
            return system.find_owner(self.layout.user)
        os.umask(0o022)  # man pages are for everybody
        owner = system.make_user(self.layout, user_entry(self.layout).text)
        system.make_state_directory(self.layout, owner)
        return owner

    def _place(self, files: Sequence[Entry]) -> list[Step]:
        others = [self._before, *self._neighbours()]
        return [
            self._tree.place(entry, {other.files[path] for other in others if (path := str(entry.path)) in other.files})
            for entry in files
        ]

    def _take_obsolete(self, files: Sequence[Entry]) -> list[Step]:
        """What an earlier version put there and this one does not."""
        wanted = {str(entry.path) for entry in files}
        gone = {path: digest for path, digest in self._before.files.items() if path not in wanted}
        return self._tree.take(gone, self._neighbours())

    def _neighbours(self) -> list[Manifest]:
        return self._tree.neighbours(self.layout.manifest)
