"""The order of what goes to each SIP user, and where it goes when no phone takes it; must not know IM and sockets.

One MESSAGE is outstanding for each user (RFC 3428 §8), the others wait in order. Kamailio's routes tell what became of
it: a 2xx of a phone; 513 of their own, too large for a phone reached over UDP; 480, no phone; what a phone answered.
What was kept goes out in front of all others when a phone has registered; its row stays until a phone has it.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from typing import Protocol

from purple_bridge import logs, metrics
from purple_bridge.addresses import SipAddress
from purple_bridge.bodies import composing, cpim, outgoing
from purple_bridge.bodies.content import parse_content_type
from purple_bridge.bodies.splitting import split
from purple_bridge.db import silo
from purple_bridge.db.silo import KeptRow, StoredMessage
from purple_bridge.errors import GatewayError
from purple_bridge.libpurple import glib
from purple_bridge.meter import Meter
from purple_bridge.metrics import Outcome
from purple_bridge.sip_headers import clean_display, header_block, name_addr
from purple_bridge.tokens import new_token
from purple_bridge.worker.kept import HandOut, Shelf
from purple_bridge.worker.typist import REFRESH, Typist

logger = logging.getLogger(__name__)

TEXT_PLAIN = "text/plain;charset=utf-8"

LARGEST = 1300  # octets of a MESSAGE over UDP, RFC 3428 §8
# what Kamailio adds on the way to a phone: its Via, received and rport in ours, a contact longer than our request URI
GROWTH = 300
SMALLEST_PART = 200  # octets of text, however long the headers are

TOO_LARGE = 513
NO_SUCH_TYPE = 415
NOT_REGISTERED = 480
# no phone is there, or none answers, or it cannot be reached (477, 478: tm's own)
NOBODY_THERE = frozenset({408, 430, 477, 478, 480, 500, 503, 504})
# of these a phone's own, perhaps for one message alone: tm makes 500 of its 503, and 408 and 503 are mostly Kamailio's
PHONE_FAILED = frozenset({500, 504})
NO_MESSAGES = frozenset({404, 405})  # of the routes: no such user, no phone that takes messages, whatever they say

KEEP_SECONDS = 7 * 24 * 3600
STORE_AGAIN = (1.0, 5.0, 15.0)  # seconds
FORGET_REFUSAL = 3600.0

# RFC 5646 §2.1
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4}")

Done = Callable[[int, str], None]
Headers = list[tuple[str, str]]
Prepared = tuple[str, str, bytes]  # uac.Prepared


class Client(Protocol):
    """uac.UserAgentClient"""

    def send(self, request_uri: str, headers: Headers, body: bytes, done: Done, method: str = "MESSAGE") -> None: ...

    def prepare(self, request_uri: str, headers: Headers, body: bytes) -> Prepared: ...

    def start(self, prepared: Prepared, done: Done) -> None: ...

    def size(self, request_uri: str, headers: Headers, body: bytes) -> int: ...

    def read(self) -> None: ...


@dataclass(slots=True)
class Letter:
    """One message for a SIP user; nobody changes it (frozen, it would take twice the time to make).

    ``user``: SipAddress.key. ``body``: UTF-8 where it is text/plain.

    ``written_at``: Unix seconds, 0: now. ``keep``: for later, if no phone takes it. ``origin``: the caller's own.
    ``protocol``: of the IM network it comes from, for the metrics.
    ``message_id``: what a receipt for it names, where its body does not say so. ``token``: of its Call-ID.
    ``account``, ``stanza``: as lines of the log name them, "" where there is none.
    """

    sender: SipAddress
    user: str
    body: bytes
    content_type: str = TEXT_PLAIN
    written_at: int = 0
    subject: str = ""
    language: str = ""
    keep: bool = True
    origin: object = None
    protocol: str = metrics.OWN
    message_id: str = ""
    token: str = field(default_factory=new_token, compare=False)
    account: str = field(default="", compare=False)
    stanza: str = field(default="", compare=False)

    def call_id(self, part: int = 0) -> str:
        """Of its MESSAGE, or of the MESSAGE with this part of it, from 1."""
        return outgoing.call_id(f"{self.token}-{part}" if part else self.token, self.message_id)

    def in_log(self, part: int = 0) -> str:
        return logs.about(self.call_id(part), self.account, self.stanza)


Failed = Callable[[Letter, int, str], None]
Late = Callable[[str, bool], None]
NoCpim = Callable[[str], None]


@dataclass(slots=True)
class _Page:
    """What one MESSAGE carries: a letter or a part of one; nobody changes that.

    ``as_is``: to be relayed whatever its size.

    ``came_at``: by the monotonic clock. ``is_last``: no other part follows. ``part``: which one, 0: all of it.
    ``prepared``: its MESSAGE, written while the one in front of it is outstanding.
    """

    letter: Letter
    body: bytes
    posted_at: int
    as_is: bool = False
    came_at: float = 0.0
    is_last: bool = True
    part: int = 0
    prepared: Prepared | None = None

    @property
    def in_log(self) -> str:
        return self.letter.in_log(self.part)


@dataclass(slots=True)
class _Box:
    """What is on its way to one user. ``busy``: a MESSAGE is outstanding, or the database is being asked.

    ``hand_out``: what was kept, on its way; ``registered``: a phone has registered since it began, or before;
    ``added``: a worker has stored more. ``left``: rows on which a phone has failed, for its next REGISTER.
    ``notices``: who has begun or stopped writing meanwhile, by SipAddress.key: the last state of each.
    """

    waiting: deque[_Page] = field(default_factory=deque)
    outstanding: _Page | None = None
    busy: bool = False
    hand_out: HandOut | None = None
    registered: bool = False
    added: bool = False
    left: set[KeptRow] = field(default_factory=set)
    sent_at: int = 0
    notices: dict[str, tuple[SipAddress, bool]] = field(default_factory=dict)


class Postman:
    """``shelf``: keeps messages for the user's next REGISTER. ``failed``: no phone will ever take the letter; the SIP
    status and reason say why. ``late``: where the user's rows are handed out, has ``registered`` called for a phone
    that registered while messages were on their way to the shelf, or with False ``added``. ``no_cpim``: a phone of the
    user does not read CPIM, as was seen with a message that was kept; of a letter ``failed`` says it."""

    def __init__(
        self,
        client: Client,
        shelf: Shelf,
        failed: Failed,
        late: Late,
        no_cpim: NoCpim,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Meter.detached()
        self._client, self._shelf, self._failed, self._late = client, shelf, failed, late
        self._no_cpim = no_cpim
        self._boxes: dict[str, _Box] = {}
        self._typist = Typist(self._notify)
        self._refused: dict[str, float] = {}
        self._closed = False

    def post(self, letter: Letter) -> None:
        """Send it, after all that was posted for the same user."""
        self._typist.wrote(letter.sender, letter.user)
        page = _Page(letter, letter.body, int(time.time()), came_at=time.monotonic())
        if self._closed:
            self._write_down([page])
            return
        box = self._box(letter.user)
        if box.notices:
            box.notices.pop(letter.sender.key, None)
        box.waiting.append(page)
        if box.busy:
            self._client.read()  # many may come at once, and the phone need not wait for the last of them
        else:
            self._next(letter.user)

    def registered(self, user: str) -> None:
        """A phone of the user has registered: what was kept goes to it, in front of what comes meanwhile."""
        if not self._closed and self._shelf.may_have(user):
            self._box(user).registered = True
            self._next(user)

    def added(self, user: str) -> None:
        """Another worker has put messages behind those that are being handed out here."""
        if not self._closed and self._shelf.may_have(user):
            self._box(user).added = True
            self._next(user)

    def close(self) -> None:
        """The process is about to end: what no phone has taken yet is kept for the user's next REGISTER.

        Also what a phone is about to answer, and may get again: better twice than never.
        """
        self._closed = True
        for box in self._boxes.values():
            self._write_down([*([box.outstanding] if box.outstanding else []), *box.waiting])
            box.waiting.clear()

    def _write_down(self, pages: list[_Page]) -> None:
        rows = [row for _page, row in self._rows(pages) if row is not None]
        self._shelf.store(rows, lambda _well: None)

    def typing(self, sender: SipAddress, user: str, active: bool) -> None:
        """The IM contact writes to the user, or has stopped (RFC 3994): of use now or not at all."""
        self._typist.typing(sender, user, active)

    @property
    def waiting(self) -> int:
        """Messages, or parts of one, that no phone has taken yet."""
        return sum(len(box.waiting) + box.busy for box in self._boxes.values())

    def _box(self, user: str) -> _Box:
        box = self._boxes.get(user)
        if box is None:
            box = self._boxes[user] = _Box()
        return box

    # ------------------------------------------------------------ one after the other
    def _next(self, user: str) -> None:
        box = self._boxes[user]
        if box.busy or self._closed:
            return
        if (box.registered or box.added) and box.hand_out is None:
            if box.registered:
                box.left.clear()
            box.registered = box.added = False
            box.hand_out = self._shelf.open(user, box.left)
        if box.hand_out is not None:
            box.busy = True
            box.hand_out.next(partial(self._send_kept, box.hand_out))
        elif box.waiting and self._shelf.is_handing_out(user):
            self._put_behind(user, box, box.waiting.popleft())
        elif box.waiting:
            self._send(user, box, box.waiting.popleft())
        elif box.notices:
            _key, (sender, active) = box.notices.popitem()
            self._send_notice(sender, user, active)
        else:
            del self._boxes[user]

    def _send(self, user: str, box: _Box, page: _Page) -> None:
        box.outstanding, box.busy, box.sent_at = page, True, int(time.time())
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s sent to the phones of %s, %d octets", page.in_log, user, len(page.body))
        try:
            self._client.start(page.prepared or self._prepare(page), partial(self._answered, page))
        except GatewayError as error:
            status, reason = error.status, error.reason
            glib.call_soon(lambda: self._fail([page], status, reason))
        if box.waiting and box.waiting[0].prepared is None:
            with suppress(GatewayError):  # it comes again when it is sent
                box.waiting[0].prepared = self._prepare(box.waiting[0])

    def _prepare(self, page: _Page) -> Prepared:
        """Raises GatewayError."""
        uri = _request_uri(page.letter.user, "size=any" if page.as_is else "")
        return self._client.prepare(uri, _headers(page.letter, page.part), page.body)

    def _free(self, user: str) -> None:
        self._boxes[user].busy = False
        self._next(user)

    def _answered(self, page: _Page, status: int, reason: str) -> None:
        user = page.letter.user
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s answered for %s: %d %s", page.in_log, user, status, reason)
        if self._closed:
            return
        self._boxes[user].outstanding = None
        if status < 300:
            self._free(user)  # first the next one: it need not wait for the figures of this one
            self._delivered(page)
        elif status == TOO_LARGE and not page.as_is:
            self._boxes[user].waiting.extendleft(reversed(self._parts(page)))
            self._free(user)
        elif status in NOBODY_THERE:
            self._nobody_there(user, [page], status, reason)
        else:
            self._fail([page], status, reason)

    def _delivered(self, page: _Page) -> None:
        if page.is_last:
            self._count(page.letter, Outcome.DELIVERED)
            seconds = time.monotonic() - page.came_at
            self._meter.observe(metrics.LATENCY, seconds, metrics.IM_TO_SIP, page.letter.protocol)

    def _count(self, letter: Letter, outcome: Outcome) -> None:
        self._meter.count(metrics.MESSAGES, metrics.IM_TO_SIP, letter.protocol, outcome)

    def _fail(self, pages: list[_Page], status: int, reason: str) -> None:
        """No phone will take these, nor the parts behind them."""
        user = pages[0].letter.user
        letters = _letters(pages)
        box = self._boxes[user]
        box.waiting = deque(page for page in box.waiting if not _is_of(page, letters))
        self._report(letters, status, reason)
        self._free(user)

    def _report(self, letters: list[Letter], status: int, reason: str) -> None:
        for letter in letters:
            try:
                self._failed(letter, status, reason)
            except Exception:  # the letters behind it must not wait for ever
                names = letter.in_log(), letter.sender.uri, letter.user
                logger.exception("%s from %s to %s: %d %s", *names, status, reason)

    # ------------------------------------------------------------ parts
    def _parts(self, page: _Page) -> list[_Page]:
        """Each at most ``LARGEST`` octets where it arrives; what is no text stays whole (RFC 3428 §8)."""
        letter = page.letter
        texts = [page.body]
        if parse_content_type(letter.content_type).media_type == "text/plain":
            whole = self._client.size(_request_uri(letter.user, "size=any"), _headers(letter, 99), page.body)
            limit = max(LARGEST - GROWTH - (whole - len(page.body)), SMALLEST_PART)
            texts = [text.encode() for text in split(page.body.decode("utf-8", "replace"), limit)] or texts
        numbered = enumerate(texts, 1)
        whole_page = replace(page, as_is=True, is_last=False, prepared=None)
        parts = [replace(whole_page, body=text, part=number) for number, text in numbered]
        if logger.isEnabledFor(logging.DEBUG):
            call_ids = " ".join(f"[{letter.call_id(part.part)}]" for part in parts)
            logger.debug("%s too large for some phones: it comes as %s", page.in_log, call_ids)
        return [*parts[:-1], replace(parts[-1], is_last=True)]

    # ------------------------------------------------------------ for later
    def _nobody_there(self, user: str, pages: list[_Page], status: int, reason: str) -> None:
        """These and all that waits for the user go the same way at once: nothing waits for a silent phone again."""
        box = self._boxes[user]
        pages = [*pages, *box.waiting]
        box.waiting.clear()
        box.notices.clear()
        rows = self._rows(pages)
        self._report(_letters([page for page, row in rows if row is None]), status, reason)
        kept = [(page, row) for page, row in rows if row is not None]
        if kept:
            self._keep(user, kept, status, reason)
        else:
            self._free(user)

    def _rows(self, pages: list[_Page]) -> list[tuple[_Page, StoredMessage | None]]:
        """Small enough for any phone, each with its row; None for what is not to be kept, or cannot be."""
        rows: list[tuple[_Page, StoredMessage | None]] = []
        for page in pages:
            try:
                parts = self._parts(page) if page.letter.keep and not page.as_is else [page]
                rows += [(part, _row(part) if page.letter.keep else None) for part in parts]
            except (GatewayError, ValueError) as error:  # such as an address longer than the column
                names = page.in_log, page.letter.sender.uri, page.letter.user
                text = error.reason if isinstance(error, GatewayError) else logs.in_words(error)
                logger.error("%s from %s to %s cannot be kept: %s", *names, text)
                rows.append((page, None))
        return rows

    def _keep(
        self, user: str, kept: list[tuple[_Page, StoredMessage]], status: int, reason: str, attempt: int = 0
    ) -> None:
        def stored(well: bool) -> None:
            if well:
                for page, _row in kept:
                    logger.info("%s kept for %s: %d %s", page.in_log, user, status, reason)
                for letter in _letters([page for page, _row in kept]):
                    self._count(letter, Outcome.KEPT)
                self._kept(user, status)
            elif attempt < len(STORE_AGAIN):
                glib.add_timer(STORE_AGAIN[attempt], lambda: self._keep(user, kept, status, reason, attempt + 1))
            else:
                self._fail([page for page, _row in kept], status, reason)

        self._shelf.store([row for _page, row in kept], stored)

    def _kept(self, user: str, status: int) -> None:
        """A phone that registered while its messages were on the way here gets them now, not an hour later.

        Kamailio knows the second in which one registered, by a clock that may be some milliseconds late. Where there
        was none it is a new one; else one of the second of the sending may be the one that did not answer.
        """
        since = self._boxes[user].sent_at + (-1 if status == NOT_REGISTERED else 1)

        def asked(registered: bool) -> None:
            if registered:
                self._shelf.ask(user)
                self._late(user, True)
            self._free(user)

        self._if_registered_since(user, since, asked)

    def _put_behind(self, user: str, box: _Box, page: _Page) -> None:
        """Another worker hands out what was kept for the user: this comes after it, so it is stored as well."""
        box.busy = True
        rows = [row for _page, row in self._rows([page]) if row is not None]

        def stored(well: bool) -> None:
            if not well:
                self._send(user, box, page)  # too early is better than too late
                return
            logger.debug("%s put behind what was kept for %s", page.in_log, user)
            if page.is_last:
                self._count(page.letter, Outcome.KEPT)
            self._shelf.ask(user)
            self._late(user, False)
            self._free(user)

        if rows:
            self._shelf.store(rows, stored)
        else:
            self._send(user, box, page)

    def _if_registered_since(self, user: str, since: int, then: Callable[[bool], None]) -> None:
        """Asks the routes whether a phone has registered at ``since`` or after it."""
        headers = _addresses(_address(user), user)
        uri = _request_uri(user, f"since={since}")
        self._client.send(uri, headers, b"", lambda status, _reason: then(status == 200), "OPTIONS")

    # ------------------------------------------------------------ what was kept
    def _send_kept(self, hand_out: HandOut, row: KeptRow | None, plain: KeptRow | None = None) -> None:
        """``row`` None: that was all. ``plain``: its text, which goes in its place."""
        user = hand_out.user
        if row is None or self._closed:
            self._end_hand_out(hand_out)
            return
        self._boxes[user].sent_at = int(time.time())
        call_id = outgoing.call_id(new_token())
        sent = plain or row
        answered = partial(self._kept_answered, hand_out, row, sent, call_id)
        logger.debug("[%s] kept message %d from %s sent to the phones of %s", call_id, row.id, row.src_addr, user)
        try:
            headers = [*_kept_headers(user, sent), ("Call-ID", call_id)]
            self._client.send(_request_uri(user, "size=any"), headers, sent.body, answered)
        except GatewayError as error:
            glib.call_soon(partial(answered, error.status, error.reason))

    def _kept_answered(
        self, hand_out: HandOut, row: KeptRow, sent: KeptRow, call_id: str, status: int, reason: str
    ) -> None:
        """The row stays where a phone may take it later; what it has, or will never take, goes, and then the next.

        A row on which the phone fails does not stop those behind it. Who read CPIM when the row was stored may have
        another phone now, which gets the text alone.
        """
        user = hand_out.user
        logger.debug("[%s] answered for %s: %d %s", call_id, user, status, reason)
        plain = _without_cpim(sent) if status == NO_SUCH_TYPE else None
        if status in PHONE_FAILED and hand_out.leave(row):
            words = "[%s] what was kept from %s to %s waits for the next REGISTER: %d %s"
            logger.info(words, call_id, row.src_addr, user, status, reason)
            self._free(user)
        elif status in NOBODY_THERE:
            self._boxes[user].added = False  # for them nobody is there either
            self._close_hand_out(hand_out)
            self._nobody_there(user, [], status, reason)
        elif status in NO_MESSAGES:
            self._end_hand_out(hand_out)
        elif plain is not None:
            self._no_cpim(user)
            self._send_kept(hand_out, row, plain)
        else:
            outcome = Outcome.DELIVERED_LATER if status < 300 else Outcome.REFUSED
            self._meter.count(metrics.MESSAGES, metrics.IM_TO_SIP, metrics.KEPT, outcome)
            if status >= 300:
                words = "[%s] what was kept from %s to %s is given up: %d %s"
                logger.error(words, call_id, row.src_addr, user, status, reason)
            hand_out.erase(row, lambda well: self._free(user) if well else self._end_hand_out(hand_out))

    def _end_hand_out(self, hand_out: HandOut) -> None:
        self._close_hand_out(hand_out)
        self._free(hand_out.user)

    def _close_hand_out(self, hand_out: HandOut) -> None:
        hand_out.close()
        self._boxes[hand_out.user].hand_out = None

    # ------------------------------------------------------------ typing notices
    def _notify(self, sender: SipAddress, user: str, active: bool) -> None:
        refused_at = self._refused.get(user)
        if refused_at is None or time.time() - refused_at > FORGET_REFUSAL:
            self._refused.pop(user, None)
            self._send_notice(sender, user, active)
            return

        def asked(registered: bool) -> None:
            if registered:
                self._refused.pop(user, None)
                self._send_notice(sender, user, active)

        self._if_registered_since(user, int(refused_at) + 1, asked)

    def _send_notice(self, sender: SipAddress, user: str, active: bool) -> None:
        """Not while something is outstanding; after it, the phone learns what is true then."""
        box = self._box(user)
        box.notices.pop(sender.key, None)
        if box.busy:
            box.notices[sender.key] = (sender, active)
            return
        headers = [*_addresses(sender, user), ("Content-Type", composing.MEDIA_TYPE)]
        box.busy, box.sent_at = True, int(time.time())

        def answered(status: int, reason: str) -> None:
            if status == NO_SUCH_TYPE:  # RFC 3994 §4: no more of them
                self._refused[user] = time.time()
            if status in NOBODY_THERE:
                self._nobody_there(user, [], status, reason)
            else:
                self._free(user)

        self._client.send(_request_uri(user, ""), headers, composing.build(active, REFRESH), answered)


# ------------------------------------------------------------ what a MESSAGE is made of
@lru_cache(maxsize=4096)
def _address(user: str) -> SipAddress:
    name, _, host = user.rpartition("@")
    return SipAddress(name, host)


def _request_uri(user: str, parameter: str) -> str:
    """``proto=purple``: from the gateway, as the old module wrote it. The routes put a phone's contact in its place."""
    uri = f"{_address(user).uri};proto=purple"
    return f"{uri};{parameter}" if parameter else uri


def _addresses(sender: SipAddress | str, user: str) -> Headers:
    return [("From", f"{name_addr(sender)};tag={new_token()}"), ("To", _to(user))]


@lru_cache(maxsize=4096)
def _to(user: str) -> str:
    return name_addr(_address(user))


def _headers(letter: Letter, part: int) -> Headers:
    call_id = ("Call-ID", letter.call_id(part))
    headers = [*_addresses(letter.sender, letter.user), call_id, ("Content-Type", letter.content_type)]
    if letter.subject or letter.language:
        headers += _optional(letter)
    if letter.written_at:
        headers.append(_date(letter.written_at))
    return headers


def _kept_headers(user: str, row: KeptRow) -> Headers:
    """Raises BadRequest for what is no address or header."""
    lines = [line.partition(":") for line in row.extra_hdrs.split("\r\n") if line]
    extra = [(name.strip(), value.strip()) for name, _, value in lines]
    return [*_addresses(row.src_addr, user), ("Content-Type", row.ctype), *extra, _date(row.inc_time)]


def _without_cpim(row: KeptRow) -> KeptRow | None:
    """The row with its text alone, for which no receipt is asked; None: there is no envelope, or no text in it."""
    try:
        if parse_content_type(row.ctype).media_type != cpim.MEDIA_TYPE:
            return None
        inner = cpim.parse(row.body)
        content_type = inner.content_type or TEXT_PLAIN
        is_text = parse_content_type(content_type).media_type == "text/plain"
    except GatewayError:
        return None
    return replace(row, ctype=content_type, body=inner.body) if is_text else None


def _date(seconds: int) -> tuple[str, str]:
    return "Date", format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def _optional(letter: Letter) -> Headers:
    """RFC 7572 §4: Subject, one line and short since every part has it, and Content-Language."""
    subject = clean_display(letter.subject)
    headers = [("Subject", subject)] if subject else []
    if _LANGUAGE.fullmatch(letter.language):
        headers.append(("Content-Language", letter.language))
    return headers


def _row(page: _Page) -> StoredMessage:
    """Raises ValueError for what the table cannot hold."""
    letter = page.letter
    username, domain = silo.owner(letter.user)
    return StoredMessage(
        src_addr=letter.sender.uri,
        dst_addr=_address(letter.user).uri,
        username=username,
        domain=domain,
        inc_time=letter.written_at or page.posted_at,
        exp_time=page.posted_at + KEEP_SECONDS,
        ctype=letter.content_type,
        body=page.body,
        extra_hdrs=header_block(_optional(letter)),
    )


def _letters(pages: list[_Page]) -> list[Letter]:
    """Each once, also where several of the pages are parts of it."""
    return list({id(page.letter): page.letter for page in pages}.values())


def _is_of(page: _Page, letters: list[Letter]) -> bool:
    return any(page.letter is letter for letter in letters)
