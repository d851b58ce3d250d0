"""What one SIP user wants of his accounts: owns what his phones publish and for how long; knows no account."""

from __future__ import annotations

from dataclasses import dataclass, replace

from purple_bridge.presence import AVAILABLE, OFFLINE, Presence, most_available

ALWAYS = float("inf")


@dataclass(frozen=True, slots=True)
class Publication:
    """One phone's presence (RFC 3903 §3); ``expires_at``: Unix seconds."""

    presence: Presence
    expires_at: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """``publications``: of all his phones; ``here_until``: he is online until then (Unix seconds) whatever they say.

    ``here_until`` is None where only publications count (purple.connect_on=publish).
    """

    publications: tuple[Publication, ...] = ()
    here_until: float | None = None

    @property
    def presence(self) -> Presence:
        """All phones together: the most available wins (RFC 8048 §6.2); OFFLINE: the account is not to be online."""
        published = most_available(publication.presence for publication in self.publications)
        if self.here_until is None:
            return published
        if not self.here_until:
            return OFFLINE
        return published if published.open else AVAILABLE

    @property
    def expires_at(self) -> float:
        """When nothing of it is left."""
        ends = [publication.expires_at for publication in self.publications if publication.presence.open]
        return max(ends, default=0.0) if self.here_until is None else self.here_until

    def later(self, seconds: float) -> Wanted:
        """The clock was set forward by so many seconds, or back: what was to last for an hour still does."""
        moved = tuple(replace(each, expires_at=each.expires_at + seconds) for each in self.publications)
        return replace(self, publications=moved, here_until=self.here_until and self.here_until + seconds)

    def at(self, now: float) -> Wanted:
        """RFC 3903 §4.1: what was not refreshed is gone. The same object where nothing is."""
        if not self.publications and (self.here_until is None or self.here_until > now):
            return self
        left = tuple(publication for publication in self.publications if publication.expires_at > now)
        here_until = self.here_until
        if here_until is not None and here_until <= now:
            here_until = 0.0
        if len(left) == len(self.publications) and here_until == self.here_until:
            return self
        return replace(self, publications=left, here_until=here_until)
