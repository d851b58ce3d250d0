"""Pictures of IM contacts: owns how a phone gets one (purple.avatars); knows no contact and no account."""

from __future__ import annotations

import base64
import logging
import os
from hashlib import sha1
from pathlib import Path

logger = logging.getLogger(__name__)

OFF, INLINE = "off", "inline"
LARGEST_INLINE = 16_384  # octets: the document travels in every NOTIFY
LARGEST_FILE = 1 << 20  # octets
# how files of these kinds begin; others are not shown, for a browser might run them
KINDS = {
    b"\x89PNG\r\n\x1a\n": ("png", "image/png"),
    b"\xff\xd8\xff": ("jpg", "image/jpeg"),
    b"GIF8": ("gif", "image/gif"),
}


class Avatars:
    """``mode``: off, inline, or the URL under which ``directory`` is served."""

    def __init__(self, mode: str, directory: Path) -> None:
        self.mode, self._directory = mode, directory

    def url(self, octets: bytes) -> str:
        """A data: URI (RFC 2397), a URL, or "" where there is no picture."""
        kind = next((kind for start, kind in KINDS.items() if octets.startswith(start)), None)
        if self.mode == OFF or kind is None:
            return ""
        if self.mode == INLINE:
            too_large = len(octets) > LARGEST_INLINE
            return "" if too_large else f"data:{kind[1]};base64,{base64.b64encode(octets).decode()}"
        return "" if len(octets) > LARGEST_FILE else self._file(octets, kind[0])

    def _file(self, octets: bytes, suffix: str) -> str:
        """Named by its content (as XEP-0153 and XEP-0084 do), so that it is written once and never changes."""
        name = f"{sha1(octets, usedforsecurity=False).hexdigest()}.{suffix}"
        path = self._directory / name
        try:
            if not path.exists():
                self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
                unfinished = path.with_name(f".{name}.{os.getpid()}")
                unfinished.write_bytes(octets)
                unfinished.replace(path)
        except OSError as error:
            logger.error("%s: %s", path, error.strerror)
            return ""
        return f"{self.mode.rstrip('/')}/{name}"
