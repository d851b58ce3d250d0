"""Owns typing notices (isComposing, RFC 3994), read and written; must not know who types or when to send one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from purple_bridge.bodies import xml

MEDIA_TYPE = "application/im-iscomposing+xml"

DEFAULT_REFRESH = 120
"""Seconds (§3.3): without a refresh interval, the receiver takes the writer for idle after these."""
MIN_REFRESH = 60
"""Seconds (§3.2): no refresh comes sooner."""

_NAMESPACE = "urn:ietf:params:xml:ns:im-iscomposing"


@dataclass(frozen=True, slots=True)
class Composing:
    """``active``: the sender is typing. ``refresh``: seconds after which that is over, if not said again."""

    active: bool
    refresh: int = DEFAULT_REFRESH


def parse(body: bytes, charset: str | None = None) -> Composing:
    """What a notice says. ``charset``: the Content-Type parameter. Raises BadRequest for what is none.

    §3.5: a state other than "active" and "idle" is an extension, and is taken for idle.
    """
    root = xml.root_of(body, f"{{{_NAMESPACE}}}isComposing", charset)
    active = xml.text_of(root, f"{{{_NAMESPACE}}}state") == "active"
    return Composing(active, _refresh(xml.text_of(root, f"{{{_NAMESPACE}}}refresh")))


def _refresh(text: str) -> int:
    return max(int(text), MIN_REFRESH) if re.fullmatch("[0-9]{1,9}", text) else DEFAULT_REFRESH


def build(active: bool, refresh: int = 90, content_type: str = "text/plain") -> bytes:
    """A notice. ``refresh``: seconds, at least ``MIN_REFRESH``, sent with an active state only.

    ``content_type``: of the message that is being written (§3.4). Raises BadRequest for control characters in it.
    """
    root = Element("isComposing", {"xmlns": _NAMESPACE})
    SubElement(root, "state").text = "active" if active else "idle"
    SubElement(root, "contenttype").text = content_type
    if active:
        SubElement(root, "refresh").text = str(max(refresh, MIN_REFRESH))
    return xml.document(root)
