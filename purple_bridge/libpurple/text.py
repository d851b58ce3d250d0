"""Markup: libpurple's messages are HTML on every network, phones speak plain text."""

from __future__ import annotations

import html
import re

from . import c, glib

# what no network can carry in a line of text: C0 controls but tab and line breaks, DEL, lone surrogates, noncharacters
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def escape(text: str) -> str:
    """Plain text as libpurple's HTML: a line break needs its tag, the rest only escaping (util.h)."""
    return html.escape(text, quote=False).replace("\r\n", "\n").replace("\r", "\n").replace("\n", "<br/>")


def strip(markup: str) -> str:
    """libpurple's HTML as plain text: purple_markup_strip_html (util.h)."""
    if "<" not in markup and "&" not in markup:
        return markup
    return glib.take_string(c.purple.purple_markup_strip_html(markup.encode()))


def without_controls(text: str) -> str:
    """``text`` for a place where a control character would end a line, a string or a stream."""
    return _CONTROLS.sub("", text)
