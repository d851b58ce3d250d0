"""Watched contacts: who watches whom, counted by dialog (RFC 6665), and what the watchers were told last."""

from __future__ import annotations

from dataclasses import dataclass, field

from purple_bridge.addresses import SipAddress


@dataclass(slots=True)
class WatchedContact:
    """One contact of one account; ``dialogs``: dialog -> Unix seconds at which it ends."""

    name: str
    address: SipAddress
    dialogs: dict[str, float] = field(default_factory=dict)
    published: bytes = b""
    published_at: float = 0.0

    def watch(self, dialog: str, expires_at: float, now: float) -> None:
        """A new subscription, a refresh, or (``expires_at`` not after ``now``) the end of one."""
        if expires_at > now:
            self.dialogs[dialog] = expires_at
        else:
            self.dialogs.pop(dialog, None)

    def expire(self, now: float) -> None:
        for dialog in [dialog for dialog, end in self.dialogs.items() if end <= now]:
            del self.dialogs[dialog]

    @property
    def watched(self) -> bool:
        return bool(self.dialogs)
