"""Questions libpurple would show in a window: on a server nobody answers, so each is refused, at once and visibly.

Without these operations a login that asks for a missing password waits for ever (request.h, notify.h).
"""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_char_p, c_int, c_size_t, c_void_p
from typing import Any

from . import c, glib
from .accounts import account_at
from .callbacks import callback, operations
from .events import Events
from .glib import decode

(
    PURPLE_REQUEST_INPUT,
    PURPLE_REQUEST_CHOICE,
    PURPLE_REQUEST_ACTION,
    PURPLE_REQUEST_FIELDS,
    PURPLE_REQUEST_FILE,
) = range(5)

_ActionCb = CFUNCTYPE(None, c_void_p, c_int)
_CancelCb = CFUNCTYPE(None, c_void_p, c_void_p)

_P, _S, _I = c_void_p, c_char_p, c_int
_Input = CFUNCTYPE(_P, _S, _S, _S, _S, _I, _I, _S, _S, _P, _S, _P, _P, _S, _P, _P)
_Choice = CFUNCTYPE(_P, _S, _S, _S, _I, _S, _P, _S, _P, _P, _S, _P, _P, _P)
_Action = CFUNCTYPE(_P, _S, _S, _S, _I, _P, _S, _P, _P, c_size_t, _P)
_IconAction = CFUNCTYPE(_P, _S, _S, _S, _I, _P, _S, _P, _P, c_size_t, _P, c_size_t, _P)
_Fields = CFUNCTYPE(_P, _S, _S, _S, _P, _S, _P, _S, _P, _P, _S, _P, _P)
_File = CFUNCTYPE(_P, _S, _S, _I, _P, _P, _P, _S, _P, _P)
_Close = CFUNCTYPE(None, _I, _P)
_Message = CFUNCTYPE(_P, _I, _S, _S, _S)
_Formatted = CFUNCTYPE(_P, _S, _S, _S, _S)

_REFUSAL = re.compile(r"reject|cancel|no\b|deny|close|decline", re.IGNORECASE)


class Requests:
    """Refuses every question and reports it; owns the handles of those not yet closed."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._handles = itertools.count(1)
        self._open: set[int] = set()

    def install(self) -> None:
        """purple_request_set_ui_ops and purple_notify_set_ui_ops"""
        requests = operations(
            c.RequestUiOps,
            request_input=callback(_Input, self._input),
            request_choice=callback(_Choice, self._choice),
            request_action=callback(_Action, self._action),
            request_action_with_icon=callback(_IconAction, self._icon_action),
            request_fields=callback(_Fields, self._fields),
            request_file=callback(_File, self._file),
            close_request=callback(_Close, self._closed),
        )
        c.purple.purple_request_set_ui_ops(requests)
        notify = operations(
            c.NotifyUiOps,
            notify_message=callback(_Message, self._message),
            notify_formatted=callback(_Formatted, self._formatted),
        )
        c.purple.purple_notify_set_ui_ops(notify)

    def _input(self, title: bytes, primary: bytes, secondary: bytes, *rest: Any) -> int:
        cancel, account, data = rest[7], rest[8], rest[11]
        return self._cancelled(PURPLE_REQUEST_INPUT, (title, primary, secondary), account, cancel, data)

    def _choice(self, title: bytes, primary: bytes, secondary: bytes, *rest: Any) -> int:
        cancel, account, data = rest[4], rest[5], rest[8]
        return self._cancelled(PURPLE_REQUEST_CHOICE, (title, primary, secondary), account, cancel, data)

    def _fields(self, title: bytes, primary: bytes, secondary: bytes, fields: int, *rest: Any) -> int:
        cancel, account, data = rest[3], rest[4], rest[7]
        return self._cancelled(PURPLE_REQUEST_FIELDS, (title, primary, secondary), account, cancel, data, fields)

    def _file(self, title: bytes, name: bytes, _save: int, _ok: int, cancel: int, account: int, *rest: Any) -> int:
        return self._cancelled(PURPLE_REQUEST_FILE, (title, name), account, cancel, rest[2])

    def _icon_action(self, *arguments: Any) -> int:
        return self._action(*arguments[:7], *arguments[9:])

    def _action(self, title: bytes, primary: bytes, secondary: bytes, _default: int, account: int, *rest: Any) -> int:
        data, count, actions = rest[2], rest[3], rest[4]
        index, address = _refusing_action(count, actions)

        def refuse() -> None:
            if address:
                _ActionCb(address)(data, index)

        return self._refused(PURPLE_REQUEST_ACTION, (title, primary, secondary), account, refuse)

    def _cancelled(
        self,
        kind: int,
        texts: tuple[bytes | None, ...],
        account: int | None,
        cancel: int | None,
        data: int | None,
        argument: int | None = None,
    ) -> int:
        def refuse() -> None:
            if cancel:
                _CancelCb(cancel)(data, argument)

        return self._refused(kind, texts, account, refuse)

    def _refused(
        self, kind: int, texts: tuple[bytes | None, ...], account: int | None, refuse: Callable[[], None]
    ) -> int:
        """The answer comes from the loop: libpurple registers the request only after this returns."""
        handle = next(self._handles)
        self._open.add(handle)

        def answer() -> None:
            if handle in self._open:
                refuse()
                c.purple.purple_request_close(kind, handle)

        glib.call_soon(answer)
        self._events.notified(account_at(account), _joined(texts))
        return handle

    def _closed(self, _kind: int, handle: int) -> None:
        self._open.discard(handle)

    def _message(self, _kind: int, title: bytes, primary: bytes, secondary: bytes) -> None:
        self._events.notified(None, _joined((title, primary, secondary)))

    def _formatted(self, title: bytes, primary: bytes, secondary: bytes, _text: bytes) -> None:
        """The text may be one that a person wrote, and this goes to the log."""
        self._events.notified(None, _joined((title, primary, secondary)))


def _joined(texts: tuple[bytes | None, ...]) -> str:
    return ": ".join(" ".join(decode(text).split()) for text in texts if text)


def _refusing_action(count: int, actions: int) -> tuple[int, int]:
    """(index, callback) of the answer that refuses: the one whose label says so, else the last.

    ``actions`` is a va_list of (label, callback) pairs; only the C library can read one on every processor.
    """
    room = ctypes.create_string_buffer(64 * count)
    c.libc.vsnprintf(room, len(room), b" ".join([b"%p %p"] * count), actions)
    words = [0 if word == b"(nil)" else int(word, 16) for word in room.value.split()]
    pairs = list(zip(words[0::2], words[1::2], strict=True))
    for index, (label, function) in enumerate(pairs):
        if label and _REFUSAL.search(decode(ctypes.string_at(label))):
            return index, function
    return count - 1, pairs[-1][1]
