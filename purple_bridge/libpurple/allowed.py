"""Which plugin files libpurple may open; of the others it learns the names only; plugin.c.

``purple_core_init`` opens every file of its plugin directory to see what is in it, and opening runs code of the file.
But it opens none of which it has an entry already. So an entry is made for each file that it is to leave alone.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from . import c, glib

# libpurple's own, none of which a gateway has a use for; perl and tcl each start an interpreter
USELESS = frozenset(
    {
        *("autoaccept.so", "buddynote.so", "dbus-example.so", "idle.so", "joinpart.so", "log_reader.so", "newline.so"),
        *("nss-prefs.so", "offlinemsg.so", "perl.so", "psychic.so", "statenotify.so", "tcl.so"),
    }
)
TLS = re.compile(r"ssl(-\w+)?\.so")  # core-ssl, and the library below it

_PLUGIN_ID = re.compile(rb"(?<![!-~])(prpl-[A-Za-z0-9_.-]{1,64})\0")
_UNKNOWN = -1  # PURPLE_PLUGIN_UNKNOWN
_ROOM = 512  # octets, more than the structures have in any version

_chosen: set[str] = set()  # what this process may load; none: all
_left_alone: set[str] = set()
_kept_alive: list[ctypes.Array[ctypes.c_char]] = []


def plugin_ids(file: Path) -> frozenset[str]:
    """The ids of protocols that the file names, read without opening it as a library; empty if it cannot be read."""
    try:
        content = file.read_bytes()
    except OSError:
        return frozenset()
    return frozenset(found.decode("ascii") for found in _PLUGIN_ID.findall(content))


def may_be_opened(file: Path, protocols: Collection[str]) -> bool:
    """``protocols``: ids of plugins; none: every protocol."""
    if file.name in USELESS:
        return False
    if TLS.fullmatch(file.name) or not protocols:
        return True
    return not plugin_ids(file).isdisjoint(protocols)


def leave_alone(protocols: Collection[str]) -> None:
    """To be called once, while ``purple_core_init`` runs, before it looks for plugins (CoreUiOps.ui_prefs_init)."""
    _chosen.update(protocols)
    c.purple.purple_plugins_init()  # adds the directory; libpurple calls it again, which changes nothing
    for file in plugin_files():
        if not may_be_opened(file, protocols):
            _make_entry(file)
            _left_alone.update(plugin_ids(file) if file.name not in USELESS else ())


def loaded() -> set[str]:
    """The ids of the protocols that the running libpurple has."""
    plugins = glib.iterate_list(c.purple.purple_plugins_get_protocols())
    return {glib.decode(c.Plugin.from_address(pointer).info.contents.id) for pointer in plugins}


def left_alone() -> list[str]:
    """The ids of protocols that are installed and not allowed in this process."""
    return sorted(_left_alone)


def why_missing(plugin: str) -> str:
    """Why the running libpurple has no such plugin, and what to do."""
    if _chosen and plugin not in _chosen:
        return f"purple.protocols does not allow {plugin!r}: add it there and restart, or remove the account"
    return f"no protocol plugin {plugin!r} is installed (purplectl protocols lists them)"


def plugin_files() -> Iterator[Path]:
    """What the running libpurple looks at."""
    for pointer in glib.iterate_list(c.purple.purple_plugins_get_search_paths()):
        directory = Path(glib.decode(ctypes.string_at(pointer)))
        yield from sorted(directory.glob("*.so")) if directory.is_dir() else ()


def _make_entry(file: Path) -> None:
    """It has no kind, so that nobody loads it, and no magic number, so that libpurple frees nothing but the entry."""
    about = ctypes.create_string_buffer(_ROOM)
    _kept_alive.append(about)
    info = c.PluginInfo.from_buffer(about)
    info.type, info.id = _UNKNOWN, b"kamailio-purple-left-alone"
    pointer: int = c.glib_quick.g_malloc0(_ROOM)
    plugin = c.Plugin.from_address(pointer)
    plugin.native_plugin = 1
    plugin.info = ctypes.pointer(info)
    path = ctypes.c_void_p.from_address(pointer + c.Plugin.path.offset)
    path.value = c.glib_quick.g_strdup(bytes(file))
    c.purple.purple_plugin_register(pointer)
