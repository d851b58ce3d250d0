"""Watched contacts: who watches whom, counted by dialog (RFC 6665), and what the watchers were told last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from purple_bridge.addresses import SipAddress

# seconds
NOTIFY_INTERVAL = 5.0  # RFC 3856 §6.10: at most one NOTIFY in this time
QUIET = 0.5  # who flaps is waited for until so long nothing has changed ...
LONGEST_WAIT = 10.0  # ... but not longer than this after what was published last
REPUBLISH = 1800.0  # half of what a publication lasts
LONGEST_LOOK = 60.0  # between two looks at who watches
# pua needs the answer to one PUBLISH before it can send the next with its ETag
PUBLISH_ANSWER = 1.0


class Permission(Enum):
    """Whether the contact lets the account see its presence (RFC 8048 §5.3.1)."""

    UNKNOWN = "unknown"  # nothing is known while the account is not online
    PENDING = "pending"
    ALLOWED = "allowed"
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class WatchedContact:
    """One contact of one account under one presentity; ``dialogs``: dialog -> Unix seconds at which it ends.

    ``name``: as the account writes to it; ``key``: what makes two names the same contact; ``address``: its SIP address;
    ``presentity``: under which the presence server keeps what is published; ``watcher``: SipAddress.key of the user;
    ``told``: the permission that the presence server has been told.
    """

    name: str
    key: str
    address: SipAddress
    presentity: SipAddress
    watcher: str = ""
    dialogs: dict[str, float] = field(default_factory=dict)
    told: Permission = Permission.UNKNOWN
    published: bytes = b""
    published_at: float = 0.0
    changed_at: float = 0.0
    held: bool = False  # a change had to wait
    lost: bool = False  # the presence server may not have what was published last

    @property
    def private(self) -> bool:
        """The presentity is this watcher's alone; else it is that of a SIP user, who has rules of his own."""
        return self.presentity != self.address

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

    def changed(self, now: float) -> None:
        self.changed_at = now
        self.held = self.held or not self._after(NOTIFY_INTERVAL, now)

    def due(self, now: float, refused: bool = False) -> bool:
        """RFC 3856 §6.10. What changes seldom is published at once; who changes all the time is waited for.

        The end does not wait: nobody watches any more, or nobody may.
        """
        if refused or not self.watched:
            return self._after(PUBLISH_ANSWER, now)
        if not self._after(NOTIFY_INTERVAL, now):
            return False
        return not self.held or now - self.changed_at >= QUIET or self._after(LONGEST_WAIT, now)

    def _after(self, seconds: float, now: float) -> bool:
        return now - self.published_at >= seconds

    def was_published(self, body: bytes, now: float) -> None:
        self.published, self.published_at, self.held = body, now, False


class WatchList:
    """The watched contacts of one account, found by presentity and by contact.

    ``look_at``: Unix seconds from which on one of them may have ended or must be published again; so that a look once a
    second costs nothing while there is nothing to do.
    """

    def __init__(self) -> None:
        self.look_at = 0.0
        self._by_presentity: dict[str, WatchedContact] = {}
        self._by_key: dict[str, list[WatchedContact]] = {}

    def __iter__(self) -> Iterator[WatchedContact]:
        return iter(list(self._by_presentity.values()))

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def at(self, presentity: SipAddress) -> WatchedContact | None:
        return self._by_presentity.get(presentity.uri)

    def of(self, key: str) -> list[WatchedContact]:
        """All who watch the contact with this key."""
        return self._by_key.get(key, [])

    def add(self, contact: WatchedContact) -> None:
        self._by_presentity[contact.presentity.uri] = contact
        self._by_key.setdefault(contact.key, []).append(contact)

    def next_look(self, now: float) -> None:
        """Set ``look_at`` after a look at ``now``."""
        ends = (min(contact.dialogs.values(), default=now) for contact in self._by_presentity.values())
        self.look_at = min((now + LONGEST_LOOK, *ends))

    def remove(self, contact: WatchedContact) -> None:
        if self._by_presentity.get(contact.presentity.uri) is contact:
            del self._by_presentity[contact.presentity.uri]
            self._by_key[contact.key].remove(contact)
            if not self._by_key[contact.key]:
                del self._by_key[contact.key]
