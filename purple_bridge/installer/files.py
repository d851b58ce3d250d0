"""Owns putting files in place and taking them away, and what becomes of those that an operator has edited.

As dpkg does with its conffiles: what was not edited is replaced; a shipped file that has changed is put beside an
edited one, as ``NAME.new``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from purple_bridge.errors import ConfigurationError
from purple_bridge.installer.layout import LINK, Entry, digest

Action = Literal["created", "replaced", "unchanged", "edited", "beside", "removed", "left"]
WORDS: dict[Action, str] = {
    "edited": "edited here, and stays so",
    "beside": "edited here, and what is shipped has changed: compare {name}.new with it, then remove that",
    "left": "edited here, so it stays; remove it yourself",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with one file."""

    action: Action
    path: str

    @property
    def words(self) -> str:
        return WORDS.get(self.action, "").format(name=Path(self.path).name)


@dataclass(slots=True)
class Manifest:
    """What an earlier `purplectl install` put there. ``files``: path -> digest; ``options``: of `purplectl run`."""

    version: str = ""
    user: str = ""
    options: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


class Tree:
    """The file system below ``root``. With ``dry``, everything is looked at and nothing is changed."""

    def __init__(self, root: Path, dry: bool) -> None:
        self._root, self._dry = root, dry

    def at(self, path: Path | str) -> Path:
        return self._root / Path(path).relative_to("/")

    # ------------------------------------------------------------ manifests
    def read_manifest(self, path: Path) -> Manifest | None:
        """None if nothing is installed. Raises ConfigurationError for a file that is none."""
        try:
            return Manifest(**json.loads(self.at(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{path} is damaged: remove it and install again") from error

    def write_manifest(self, path: Path, manifest: Manifest) -> None:
        self._write(Entry(path, json.dumps(asdict(manifest), indent=2) + "\n"))

    def remove_manifest(self, path: Path) -> None:
        self._remove(str(path))

    def neighbours(self, path: Path) -> list[Manifest]:
        """The manifests of the other gateways on this machine."""
        others = (each for each in self.at(path).parent.glob("*.json") if each.name != path.name)
        return [found for each in others if (found := self.read_manifest(path.with_name(each.name)))]

    # ------------------------------------------------------------ put in place
    def place(self, entry: Entry, known: set[str]) -> Step:
        """``known``: digests of what has been shipped here before."""
        step = Step(self._decide(entry, known), str(entry.path))
        if step.action in ("created", "replaced"):
            self._write(entry)
        elif step.action == "beside":
            self._write(Entry(entry.path.with_name(f"{entry.path.name}.new"), entry.text, entry.private))
        return step

    def _decide(self, entry: Entry, known: set[str]) -> Action:
        found = self._read(entry.path)
        if found is None:
            return "created"
        if found == entry.text:
            return "unchanged"
        if digest(found) in known:
            return "replaced"
        return "edited" if entry.digest in known else "beside"

    # ------------------------------------------------------------ take away
    def take(self, files: Mapping[str, str], others: Iterable[Manifest]) -> list[Step]:
        """Remove ``files`` (path -> digest) unless they were edited, or another gateway has them, too."""
        shared = {path for other in others for path in other.files}
        steps = [self._take(path, shipped) for path, shipped in files.items() if path not in shared]
        return [step for step in steps if step]

    def _take(self, path: str, shipped: str) -> Step | None:
        """None if it is gone already. What lies beside it is of no use any more, either."""
        beside = self._read(Path(f"{path}.new"))
        if beside is not None and digest(beside) == shipped:
            self._remove(f"{path}.new")
        found = self._read(Path(path))
        if found is None:
            return None
        if digest(found) != shipped:
            return Step("left", path)
        self._remove(path)
        return Step("removed", path)

    def remove_empty(self, directory: Path) -> None:
        place = self.at(directory)
        if not self._dry and place.is_dir() and not any(place.iterdir()):
            place.rmdir()

    # ------------------------------------------------------------ the file system
    def _read(self, path: Path) -> str | None:
        place = self.at(path)
        if place.is_symlink():
            return LINK + str(place.readlink())
        if place.exists() and not os.access(place, os.R_OK):
            raise ConfigurationError(f"{path}: only root may read it; run this with sudo")
        return place.read_text(encoding="utf-8", errors="replace") if place.exists() else None

    def _remove(self, path: str) -> None:
        if not self._dry:
            self.at(path).unlink(missing_ok=True)

    def _write(self, entry: Entry) -> None:
        """In one step: whoever reads meanwhile gets the old file or the new one."""
        if self._dry:
            return
        place = self.at(entry.path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.tmp")
        temporary.unlink(missing_ok=True)
        if entry.text.startswith(LINK):
            temporary.symlink_to(entry.text.removeprefix(LINK))
        else:
            _write_private(temporary, entry.text)
            _set_access(temporary, place, entry.mode)
        temporary.replace(place)


def _write_private(place: Path, text: str) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - of a descriptor
        file.write(text)


def _set_access(new: Path, old: Path, mode: int) -> None:
    """What the operator has made of the old file's owner and mode stays."""
    if old.is_file() and not old.is_symlink():
        status = old.stat()
        if os.geteuid() == 0:
            os.chown(new, status.st_uid, status.st_gid)
        mode = status.st_mode & 0o7777
    new.chmod(mode)
