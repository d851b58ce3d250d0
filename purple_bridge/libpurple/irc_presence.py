"""Who of an IRC contact list is there, and who is away: owns one connection's questions and answers; does no I/O.

IRC tells it only when asked: ISON (RFC 2812 §4.9) says of many nicks who is there, USERHOST (§4.8) of five whether
they are away, too.  PING goes behind, since a server answers in order: at its PONG, who was not named is not there.
"""

from __future__ import annotations

from collections.abc import Iterable

from .irc_lines import Line, lower

SECONDS = 10.0  # between two questions
ISON_OCTETS = 400  # of nicks, so that the answer with its prefix fits a line, too
MOST_HOSTS = 5  # RFC 2812 §4.8

OFFLINE, AVAILABLE, AWAY = b"offline", b"available", b"away"  # ids of libpurple's statuses (irc.c)

Keys = list[bytes]
Changes = list[tuple[bytes, bytes]]  # (nick, status)


class Watch:
    """Of one connection; nicks are as they stand in lines, and compared as IRC does."""

    def __init__(self) -> None:
        self._status: dict[bytes, bytes] = {}  # of who is there, by lower case
        self._names: dict[bytes, bytes] = {}  # the list, by lower case
        self._unsure: set[bytes] = set()  # who is there, but nobody knows yet whether away
        self._asked: Keys = []
        self._seen: set[bytes] = set()
        self._next = self._next_host = 0
        self._questions = 0
        self._waiting = False

    @property
    def token(self) -> bytes:
        """Of the last PING."""
        return b"purple-watch-%d" % self._questions

    def watch(self, nicks: Iterable[bytes]) -> None:
        """The contact list as it is now."""
        self._names = {lower(nick): nick for nick in nicks}
        self._status = {key: status for key, status in self._status.items() if key in self._names}
        self._unsure.intersection_update(self._status)

    def question(self) -> bytes:
        """Lines to send now, b"" for none: the last question is not answered, or nobody is on the list."""
        if self._waiting or not self._names:
            return b""
        self._asked, self._seen = self._some_of([*self._names]), set()
        hosts = self._hosts()
        lines = [b"ISON " + b" ".join(self._names[key] for key in self._asked)]
        if hosts:
            lines.append(b"USERHOST " + b" ".join(self._names[key] for key in hosts))
        return self._with_ping(lines)

    def question_about_new(self) -> bytes:
        """Lines to ask at once whether those who just came are away, b"" for none."""
        if self._waiting or not self._unsure:
            return b""
        self._asked = []
        return self._with_ping([b"USERHOST " + b" ".join(self._names[key] for key in self._hosts())])

    def _with_ping(self, lines: Keys) -> bytes:
        self._waiting = True
        self._questions += 1
        return b"".join(line + b"\r\n" for line in [*lines, b"PING " + self.token])

    def _some_of(self, keys: Keys) -> Keys:
        """As many as fit, the next time those behind them."""
        start = self._next if self._next < len(keys) else 0
        chosen, octets = [], 0
        for key in keys[start:]:
            octets += len(self._names[key]) + 1
            if octets > ISON_OCTETS:
                break
            chosen.append(key)
        self._next = start + len(chosen)
        return chosen

    def _hosts(self) -> Keys:
        """Who is new first, then the others in turn."""
        there = [key for key in self._status if key not in self._unsure]
        start = self._next_host if self._next_host < len(there) else 0
        new = [*self._unsure][:MOST_HOSTS]
        others = there[start : start + MOST_HOSTS - len(new)]
        self._next_host = start + len(others)
        self._unsure.difference_update(new)
        return new + others

    # ------------------------------------------------------------ answers
    def answered(self, line: Line) -> Changes | None:
        """What a line of the server says of the list; None: the line is no answer to what was asked here."""
        if line.command == "303":
            return [change for nick in line.last.split() for change in self._there(nick)]
        if line.command == "302":
            return [change for reply in line.last.split() for change in self._host(reply)]
        if line.command == "PONG" and self._waiting and line.last == self.token:
            self._waiting = False
            return [change for key in self._asked if key not in self._seen for change in self._gone(key)]
        return None

    def happened(self, line: Line) -> Changes:
        """What a line says by the way of somebody in a room that the account is in, too."""
        if line.command in ("QUIT", "NICK"):
            return self._gone(lower(line.nick))
        return self._there(line.nick) if line.command == "JOIN" else []

    def _there(self, nick: bytes) -> Changes:
        key = lower(nick)
        self._seen.add(key)
        if key not in self._names or key in self._status:
            return []
        self._unsure.add(key)
        return self._change(key, AVAILABLE)

    def _host(self, reply: bytes) -> Changes:
        """RFC 2812 §5.1, 302: nickname [ "*" ] "=" ( "+" / "-" ) hostname; "-" is away."""
        nick, equals, host = reply.partition(b"=")
        key = lower(nick.removesuffix(b"*"))
        if not equals or key not in self._status:
            return []
        return self._change(key, AWAY if host.startswith(b"-") else AVAILABLE)

    def _gone(self, key: bytes) -> Changes:
        self._unsure.discard(key)
        return [(self._names[key], OFFLINE)] if self._status.pop(key, None) and key in self._names else []

    def _change(self, key: bytes, status: bytes) -> Changes:
        if self._status.get(key) == status:
            return []
        self._status[key] = status
        return [(self._names[key], status)]
