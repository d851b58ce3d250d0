"""Kamailio's custom global parameters (``group.name = value desc "…"``), read where KSR cannot: in mod_init.

``$sel(cfg_get.group.name)`` is empty until the workers are forked, and evaluated earlier it crashes Kamailio 5.6 later.
Until then the values are a list of cfg_script_var_t in the core (core/cfg/cfg_script.h, cfg_struct.h), whose layout is
the same from 5.6 to 6.0.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, Union, c_char_p, c_int, c_uint, c_void_p

CFG_VAR_INT, CFG_VAR_STR = 1, 3  # core/cfg/cfg.h


class _Str(Structure):
    _fields_ = (("s", c_void_p), ("len", c_int))


class _Value(Union):
    _fields_ = (("s", _Str), ("i", c_int))


class _ScriptVar(Structure):
    """cfg_script_var_t"""


_ScriptVar._fields_ = [
    ("type", c_uint),
    ("val", _Value),
    ("min", c_int),
    ("max", c_int),
    ("next", POINTER(_ScriptVar)),
    ("name_len", c_int),
    ("name", c_char_p),
    ("descr", c_char_p),
]


class _Group(Structure):
    """cfg_group_t, up to the variables"""

    _fields_ = (("mapping", c_void_p), ("vars", POINTER(_ScriptVar)))


_known: dict[str, dict[str, str | int]] = {}


def read_group(group: str) -> dict[str, str | int]:
    """Name -> value of every parameter of the group; empty where kamailio.cfg has none of it.

    As kamailio.cfg had them, also in a script that is read again: once the workers are forked, the list is gone.
    """
    if group not in _known:
        _known[group] = _read_group(group)
    return dict(_known[group])


def _read_group(group: str) -> dict[str, str | int]:
    look_up = ctypes.CDLL(None).cfg_lookup_group
    look_up.restype, look_up.argtypes = POINTER(_Group), (c_char_p, c_int)
    name = group.encode()
    found = look_up(name, len(name))
    values: dict[str, str | int] = {}
    variable = found.contents.vars if found else None
    while variable:
        values[variable.contents.name.decode()] = _value(variable.contents)
        variable = variable.contents.next
    return values


def _value(variable: _ScriptVar) -> str | int:
    if variable.type == CFG_VAR_INT:
        return int(variable.val.i)
    text = variable.val.s
    return ctypes.string_at(text.s, text.len).decode("utf-8", "replace") if text.s else ""
