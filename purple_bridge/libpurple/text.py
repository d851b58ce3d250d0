"""Markup: libpurple's messages are HTML on every network, phones speak plain text."""

from __future__ import annotations

import html

from . import c, glib


def escape(text: str) -> str:
    """Plain text as libpurple's HTML: a line break needs its tag, the rest only escaping (util.h)."""
    return html.escape(text, quote=False).replace("\r\n", "\n").replace("\r", "\n").replace("\n", "<br/>")


def strip(markup: str) -> str:
    """libpurple's HTML as plain text: purple_markup_strip_html (util.h)."""
    if "<" not in markup and "&" not in markup:
        return markup
    return glib.take_string(c.purple.purple_markup_strip_html(markup.encode()))
