"""XEP-0198 on one stream: owns the count of what was sent and what of it waits for the server; does no I/O."""

from __future__ import annotations

from collections import deque

MODULUS = 1 << 32  # XEP-0198 §4: "h" is an unsignedInt and starts again at 0


# of most streams: an empty deque takes 760 octets
_NONE_WAITS: deque[tuple[int, str]] = deque()
_NONE_PAST: deque[int] = deque()


class Stream:
    """From the moment <enable/> is sent; ``enabled`` once the server agreed.

    ``resending``: libpurple writes again what the last stream's server did not acknowledge. It does so right after
    <enable/>, before it reads anything more. ``dropped``: stanzas of the server that libpurple has not seen.
    """

    def __init__(self) -> None:
        self.enabled = False
        self.resending = True
        self.dropped = 0
        self._sent = 0
        self._acknowledged = 0
        self._waiting = _NONE_WAITS
        self._past = _NONE_PAST  # of those sent past libpurple, the places of what is not acknowledged
        self._past_acknowledged = 0

    def sent(self, ident: str) -> None:
        """A message, iq or presence stanza was written; ``ident`` "": nobody waits for its acknowledgement."""
        self._sent += 1
        if ident:
            if self._waiting is _NONE_WAITS:
                self._waiting = deque()
            self._waiting.append((self._sent, ident))

    def sent_past_libpurple(self, ident: str) -> None:
        """As ``sent``, for a stanza that libpurple neither counts nor keeps."""
        self.sent(ident)
        if self._past is _NONE_PAST:
            self._past = deque()
        self._past.append(self._sent)

    def acknowledge(self, h: int) -> list[str]:
        """<a h='...'/>: the idents that are new among the first ``h`` stanzas, in the order of sending.

        §4: a server that acknowledges more than was sent breaks the protocol; nothing is believed then.
        """
        total = self._acknowledged + (h - self._acknowledged) % MODULUS
        if total > self._sent:
            return []
        self._acknowledged = total
        while self._past and self._past[0] <= total:
            self._past.popleft()
            self._past_acknowledged += 1
        idents = []
        while self._waiting and self._waiting[0][0] <= total:
            idents.append(self._waiting.popleft()[1])
        return idents

    @property
    def for_libpurple(self) -> int:
        """``h`` as a server would say it that had not seen what was sent past libpurple."""
        return (self._acknowledged - self._past_acknowledged) % MODULUS
