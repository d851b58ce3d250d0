"""The protocol plugins that are installed and the account options they declare; plugin.h, accountopt.h."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from . import c, glib
from .glib import decode

Kind = Literal["bool", "int", "string", "list"]

_KINDS: dict[int, Kind] = {
    c.PURPLE_PREF_BOOLEAN: "bool",
    c.PURPLE_PREF_INT: "int",
    c.PURPLE_PREF_STRING: "string",
    c.PURPLE_PREF_STRING_LIST: "list",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One account option; ``choices``: the values a ``list`` may take."""

    name: str
    text: str
    kind: Kind
    default: bool | int | str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol plugin; ``id`` is what the mapping's ``ext_prot`` holds."""

    id: str
    name: str
    summary: str
    options: tuple[Option, ...]


def list_protocols(allowed: Collection[str] = ()) -> list[Protocol]:
    """Every installed protocol plugin, by id; ``allowed``: only of these ids, the others are not even opened.

    Starts libpurple in this process if it is not running; if it is, what was allowed then counts.
    """
    from .core import Core  # noqa: PLC0415 - the worker, which has a running core, does not need this import

    if not c.purple.purple_plugins_get_protocols():
        Core(protocols=allowed).start()
    return sorted(installed_protocols(), key=lambda protocol: protocol.id)


def installed_protocols() -> list[Protocol]:
    """The protocol plugins of the running libpurple."""
    return [_protocol(plugin) for plugin in glib.iterate_list(c.purple.purple_plugins_get_protocols())]


def _protocol(pointer: int) -> Protocol:
    info = ctypes.cast(pointer, ctypes.POINTER(c.Plugin)).contents.info.contents
    details = ctypes.cast(info.extra_info, ctypes.POINTER(c.ProtocolInfo)).contents
    options = tuple(_option(option) for option in glib.iterate_list(details.protocol_options))
    return Protocol(decode(info.id), decode(info.name), decode(info.summary), options)


def _option(pointer: int) -> Option:
    quick = c.purple_quick
    kind = _KINDS.get(quick.purple_account_option_get_type(pointer), "string")
    return Option(
        name=decode(quick.purple_account_option_get_setting(pointer)),
        text=decode(quick.purple_account_option_get_text(pointer)).replace("_", ""),
        kind=kind,
        default=_default(kind, pointer),
        choices=tuple(_choices(pointer)) if kind == "list" else (),
    )


def _default(kind: Kind, pointer: int) -> bool | int | str:
    quick = c.purple_quick
    if kind == "bool":
        return bool(quick.purple_account_option_get_default_bool(pointer))
    if kind == "int":
        return int(quick.purple_account_option_get_default_int(pointer))
    if kind == "list":
        return decode(quick.purple_account_option_get_default_list_value(pointer))
    return decode(quick.purple_account_option_get_default_string(pointer))


def _choices(pointer: int) -> list[str]:
    pairs = glib.iterate_list(c.purple_quick.purple_account_option_get_list(pointer))
    return [decode(ctypes.cast(pair, ctypes.POINTER(c.KeyValuePair)).contents.value) for pair in pairs]


def convert(option: Option, value: Any) -> bool | int | str:
    """``value`` (as JSON or text) in the type the option declares; ValueError says what is expected."""
    if option.kind == "bool":
        return _boolean(option, value)
    if option.kind == "int":
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ValueError(f"{option.name} takes a number") from None
    text = str(value)
    if option.choices and text not in option.choices:
        raise ValueError(f"{option.name} is one of {', '.join(option.choices)}")
    return text


def _boolean(option: Option, value: Any) -> bool:
    word = str(value).lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{option.name} takes true or false")
