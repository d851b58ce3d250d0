"""Owns signed cookies, the tokens of forms, and how many log-ins may fail; no I/O, the time is an argument."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "purple_session"
IDLE_SECONDS = 8 * 3600
RENEW_SECONDS = 300  # a cookie that is older than that is replaced by a fresh one
WINDOW_SECONDS = 60.0
FAILURES_OF_USER, FAILURES_OF_ADDRESS = 5, 30  # in that time
REMEMBERED = 10_000  # addresses, users and ended sessions: strangers choose how many there are


@dataclass(frozen=True, slots=True)
class Session:
    """Whose browser it is. ``user``: ``SipAddress.key``, empty before the log-in. ``issued``: Unix seconds."""

    sid: str
    user: str
    issued: int

    @classmethod
    def new(cls, user: str, now: float) -> Session:
        return cls(secrets.token_urlsafe(16), user, int(now))

    def renewed(self, now: float) -> Session:
        return Session(self.sid, self.user, int(now))

    def is_old(self, now: float) -> bool:
        return now - self.issued > RENEW_SECONDS


class Sessions:
    """Nothing is stored: a cookie says who it is, signed together with what the password is checked with.

    So all sessions of a user end when his SIP password changes, and all end with the process.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._ended: OrderedDict[str, None] = OrderedDict()

    def cookie(self, session: Session, ha1: str) -> str:
        """The cookie's value; ``ha1``: the user's, empty for a session without one."""
        text = f"{session.sid}.{session.issued:x}.{_encoded(session.user)}"
        return f"{text}.{self._mac('session', text, ha1)}"

    def read(self, cookie: str, now: float, ha1_of: Callable[[str], str | None]) -> Session | None:
        """The session of a cookie that we made, has not been idle for too long, and has not been ended."""
        text, _, mac = cookie.rpartition(".")
        session = _session(text)
        if session is None or session.sid in self._ended or not 0 <= now + 60 - session.issued < IDLE_SECONDS + 60:
            return None
        ha1 = ha1_of(session.user) if session.user else ""
        if ha1 is None or not hmac.compare_digest(self._mac("session", text, ha1).encode(), mac.encode()):
            return None
        return session

    def end(self, session: Session) -> None:
        """A copy of the cookie is of no use from now on."""
        self._ended[session.sid] = None
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def token(self, session: Session) -> str:
        """What a form of this session has to send back."""
        return self._mac("form", session.sid, session.user)

    def has_sent(self, session: Session, token: str) -> bool:
        return hmac.compare_digest(self.token(session).encode(), token.encode())

    def _mac(self, *parts: str) -> str:
        return hmac.new(self._secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def _session(text: str) -> Session | None:
    parts = text.split(".")
    if len(text) > 1024 or len(parts) != 3 or not text.isascii():
        return None
    try:
        return Session(parts[0], _decoded(parts[2]), int(parts[1], 16))
    except ValueError:
        return None


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    """Raises ValueError."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except binascii.Error as error:
        raise ValueError(str(error)) from None


class Failures:
    """Log-ins that failed of late, by address and by address and user."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def too_many(self, address: str, user: str, now: float) -> bool:
        """Whether this one is not even tried."""
        of_user, of_address = self._recent(address, user.lower(), now), self._recent(address, "", now)
        return of_user >= FAILURES_OF_USER or of_address >= FAILURES_OF_ADDRESS

    def add(self, address: str, user: str, now: float) -> None:
        for key in ((address, user.lower()), (address, "")):
            self._times.setdefault(key, deque(maxlen=FAILURES_OF_ADDRESS)).append(now)
            self._times.move_to_end(key)
        while len(self._times) > REMEMBERED:
            self._times.popitem(last=False)

    def forget(self, address: str, user: str) -> None:
        """The right password came."""
        self._times.pop((address, user.lower()), None)

    def _recent(self, address: str, user: str, now: float) -> int:
        return sum(now - moment < WINDOW_SECONDS for moment in self._times.get((address, user), ()))
