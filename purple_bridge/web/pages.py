"""Owns templates and files: how what is shown becomes HTML; escapes everything, since names come from strangers."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from purple_bridge.web.http import TEXT, Refused, Response

HERE = Path(__file__).parent
MEDIA_TYPES = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
FOR_GOOD = ("Cache-Control", "public, max-age=31536000, immutable")  # the address changes with the content
STATE_WORDS = {
    "online": "online",
    "connecting": "connecting",
    "offline": "offline",
    "error": "error",
    "disabled": "disabled",
}
# beside the colour and the word, a shape
STATE_SIGNS = {"online": "●", "connecting": "◐", "offline": "○", "error": "▲", "disabled": "✕"}


class Pages:
    """Reads all templates and files at once: nothing on the disk is needed later."""

    def __init__(self) -> None:
        self._files = {name: (HERE / "static" / name).read_text(encoding="utf-8") for name in MEDIA_TYPES}
        self._versions = {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in self._files.items()}
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(static=self._static, signs=STATE_SIGNS, state_words=STATE_WORDS)
        self._templates.filters.update(duration=duration, moment=moment, iso=iso, address=address)
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    def html(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(values)

    def file(self, name: str, version: str) -> Response:
        """Raises Refused for one that is not there."""
        if name not in self._files:
            raise Refused(404, "There is no such file.")
        headers = (FOR_GOOD,) if version == self._versions[name] else ()
        return Response(200, self._files[name], MEDIA_TYPES.get(name, TEXT), headers)

    def _static(self, name: str) -> str:
        return f"/static/{name}?v={self._versions[name]}"


def address(text: str) -> Markup:
    """A SIP or IM address as lists show it: without scheme, and with the place where it may be cut into lines."""
    name, at, host = text.removeprefix("sip:").partition("@")
    return Markup("{}{}<wbr>{}").format(name, at, host) if at else Markup("{}").format(name)


def duration(seconds: float) -> str:
    """The largest unit: ``3 d``, ``5 min``."""
    rest = max(0, int(seconds))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if rest >= length:
            return f"{rest // length} {unit}"
    return f"{rest} s"


def moment(seconds: float) -> str:
    """Unix time as the server's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def iso(seconds: float) -> str:
    """For programs (RFC 3339)."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
