"""A small SIP user agent over UDP: owns a worker's socket towards Kamailio and the client transactions on it.

Kamailio's RPC ``tm.t_uac_start`` never tells the final reply; this does. Requests that come (NOTIFY) are handed on and
answered at once. Knows no IM and no order of messages.
"""

from __future__ import annotations

import errno
import logging
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

from purple_bridge.errors import BadRequest
from purple_bridge.libpurple import glib
from purple_bridge.sip_headers import header_block, name_addr
from purple_bridge.tokens import new_token

logger = logging.getLogger(__name__)

# seconds, RFC 3261 §17.1.1.1 and table 4
T1, T2 = 0.5, 4.0
TIMER_F = 64 * T1
TICK = 0.002  # GLib's timers count milliseconds

DATAGRAM_BYTES = 65536
RESPONSES_AT_ONCE = 64
COOKIE = "z9hG4bK"  # RFC 3261 §8.1.1.7
# octets that a socket's receive buffer holds at least, and what the kernel adds to each datagram it counts there
RECEIVE_BUFFER = 212_992
KERNEL_BYTES = 1024

REQUEST_TIMEOUT = (408, "Request Timeout")
TOO_LARGE = (513, "Message Too Large")

Done = Callable[[int, str], None]
Answer = Callable[["Request"], tuple[int, str]]
Headers = Iterable[tuple[str, str]]
Prepared = tuple[str, str, bytes]  # branch, method, datagram

_STATUS = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9]) ([^\r\n]*)\r\n")
_BRANCH = re.compile(rb"^(?:via|v)[ \t]*:[^\r\n,]*?;[ \t]*branch[ \t]*=[ \t]*([^;,\s]+)", re.IGNORECASE | re.MULTILINE)
_USUAL = re.compile(
    rb"SIP/2\.0 ([1-6][0-9][0-9]) ([^\r\n]*)\r\n"
    rb"Via: [^\r\n,;]*(?:;(?:rport|received)[^\r\n,;]*)*;branch=([A-Za-z0-9]+)[;\r]"
)
_REQUEST = re.compile(rb"([A-Z]+) ([^ \r\n]+) SIP/2\.0\r\n")
_FIELD = re.compile(r"^([A-Za-z0-9.!%*_+`'~-]+)[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE)
_TAG = re.compile(r";[ \t]*tag[ \t]*=[ \t]*([^;,\s]+)", re.IGNORECASE)
_URI = re.compile(r"<([^<>]*)>")
_CONTACT = re.compile(rb"^(?:contact|m)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')  # a display name may hold anything
_COMPACT = {"f": "from", "t": "to", "i": "call-id", "m": "contact", "v": "via"}  # RFC 3261 §7.3.3
_ECHOED = ("via", "from", "to", "call-id", "cseq")  # RFC 3261 §8.2.6.2
_METHOD = re.compile(rb"^cseq[ \t]*:[ \t]*[0-9]+[ \t]+([A-Z]+)", re.IGNORECASE | re.MULTILINE)


def open_socket(listener: str) -> socket.socket:
    """A UDP socket on the address of the internal listener (HOST:PORT) with a port of its own.

    Made before the fork, so that every process knows the port; only one worker uses it. It is connected: the kernel
    passes on what comes from the listener and nothing else. Raises OSError.
    """
    host, _, port = listener.rpartition(":")
    host = host.strip("[]")
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind((host, 0))
    opened.connect((host, int(port)))
    return opened


@dataclass(slots=True)  # not frozen, which would take twice the time to make
class Response:
    """What matters of a response: the transaction it belongs to (RFC 3261 §17.1.3), and what it says.

    ``reason``: the reason phrase; behind it, in angle brackets, the new address that a 3xx names in Contact
    (RFC 3261 §8.1.3.4).
    """

    status: int
    reason: str
    branch: str
    method: str


def parse_response(datagram: bytes) -> Response | None:
    """None for what is no SIP response."""
    response = _usual(datagram) or _unusual(datagram)
    if response is not None and response.status // 100 == 3:
        response.reason = _with_contact(response.reason, datagram.partition(b"\r\n\r\n")[0])
    return response


def _with_contact(reason: str, head: bytes) -> str:
    found = _CONTACT.search(head)
    try:
        return f"{reason} {name_addr(_uri_in(found[1].decode('utf-8', 'replace')))}" if found else reason
    except BadRequest:  # no SIP URI
        return reason


def _uri_in(contact: str) -> str:
    """The first URI of a Contact header."""
    bracketed = _URI.search(_QUOTED.sub("", contact))
    return bracketed[1] if bracketed else contact.partition(";")[0].partition(",")[0].strip()


def _usual(datagram: bytes) -> Response | None:
    """As Kamailio hands on what a phone with plain headers answers: a fraction of the time of the search below."""
    found, head_ends = _USUAL.match(datagram), datagram.find(b"\r\n\r\n")
    begin = datagram.find(b"\r\nCSeq: ", 0, head_ends) + 8
    if found is None or begin < 8:
        return None
    _number, _space, method = datagram[begin : datagram.find(b"\r\n", begin)].partition(b" ")
    return Response(int(found[1]), found[2].decode("utf-8", "replace"), found[3].decode(), method.decode("latin-1"))


def _unusual(datagram: bytes) -> Response | None:
    head = datagram.partition(b"\r\n\r\n")[0] + b"\r\n"
    status, branch, method = _STATUS.match(head), _BRANCH.search(head), _METHOD.search(head)
    if not status or not branch or not method:
        return None
    reason = status[2].decode("utf-8", "replace")
    return Response(int(status[1]), reason, branch[1].decode("latin-1"), method[1].decode("latin-1"))


@dataclass(frozen=True, slots=True)
class Request:
    """What matters of a request that came; ``fields``: (name in lower case, value) in order."""

    method: str
    fields: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """The first one of this name, "" if there is none."""
        return next((value for field, value in self.fields if field == name.lower()), "")

    def tag(self, name: str) -> str:
        found = _TAG.search(_QUOTED.sub("", self.header(name)))
        return found[1] if found else ""

    @property
    def target(self) -> str:
        """The URI in Contact, to which requests in the dialog go (RFC 3261 §12.1.2)."""
        return _uri_in(self.header("contact"))

    def answer(self, status: int, reason: str) -> bytes:
        """RFC 3261 §8.2.6."""
        echoed = "".join(f"{name.title()}: {value}\r\n" for name, value in self.fields if name in _ECHOED)
        return f"SIP/2.0 {status} {reason}\r\n{echoed}Content-Length: 0\r\n\r\n".encode()


def parse_request(datagram: bytes) -> Request | None:
    """None for what is no SIP request; folded lines (RFC 3261 §7.3.1) are not among what Kamailio writes."""
    start = _REQUEST.match(datagram)
    if not start:
        return None
    head = datagram.partition(b"\r\n\r\n")[0][start.end() :].decode("utf-8", "replace")
    found = ((name.lower(), value.strip()) for name, value in _FIELD.findall(head))
    return Request(start[1].decode(), tuple((_COMPACT.get(name, name), value) for name, value in found))


@lru_cache(maxsize=4096)
def _checked(uri: str) -> str:
    """Raises BadRequest for what is no URI."""
    return name_addr(uri)[1:-1]


@dataclass(slots=True)
class Transaction:
    """A non-INVITE client transaction (RFC 3261 §17.1.2). ``unread``: Kamailio may not have read it yet."""

    method: str
    datagram: bytes
    done: Done
    ends_at: float = 0.0
    interval: float = T1
    proceeding: bool = False
    unread: bool = True
    timer: int = 0

    @property
    def cost(self) -> int:
        """Octets of the receiver's buffer, at most: the kernel rounds up to a power of two."""
        return 2 * len(self.datagram) + KERNEL_BYTES


class UserAgentClient:
    """Sends requests to the internal listener; ``workers``: how many share Kamailio's receive buffer."""

    def __init__(self, opened: socket.socket, workers: int = 1) -> None:
        self._socket = opened
        host, port = opened.getsockname()[:2]
        self._sent_by = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._via = f"Via: SIP/2.0/UDP {self._sent_by};rport;branch="
        self._room = RECEIVE_BUFFER // workers
        self._unread = 0
        self._waiting: deque[tuple[str, Transaction]] = deque()
        self._transactions: dict[str, Transaction] = {}
        # the first timer E of each: all take T1, so they are due in the order of sending, and one of GLib's is enough
        self._first: deque[tuple[float, str]] = deque()
        self._clock = 0
        self._blocked = 0
        self._unsent: deque[tuple[str, Transaction]] = deque()
        self._reading = glib.watch(opened.fileno(), glib.READ, self._readable)
        self._answers: dict[str, Answer] = {}

    @property
    def sent_by(self) -> str:
        """HOST:PORT of the socket, for Contact."""
        return self._sent_by

    def expect(self, call_id: str, answer: Answer) -> None:
        """Requests of this dialog are answered with the status and reason that ``answer`` returns."""
        self._answers[call_id] = answer

    def forget(self, call_id: str) -> None:
        """The dialog has ended: what still comes is answered with 481."""
        self._answers.pop(call_id, None)

    def send(self, request_uri: str, headers: Headers, body: bytes, done: Done, method: str = "MESSAGE") -> None:
        """``headers``: From with its tag, To, and what describes the body. ``done(status, reason)`` comes later, once.

        A request in a dialog brings its Call-ID and CSeq along.

        408 stands for no answer (RFC 3261 §8.1.3.1), 513 for more than a datagram holds. Raises BadRequest.
        """
        self.start(self.prepare(request_uri, headers, body, method), done)

    def prepare(self, request_uri: str, headers: Headers, body: bytes, method: str = "MESSAGE") -> Prepared:
        """What ``start`` sends, once: ``send`` in two steps. Raises BadRequest."""
        branch = COOKIE + new_token()
        return branch, method, self._request(method, request_uri, branch, headers, body)

    def start(self, prepared: Prepared, done: Done) -> None:
        branch, method, datagram = prepared
        self._waiting.append((branch, Transaction(method, datagram, done)))
        self._start_waiting()

    def size(self, request_uri: str, headers: Headers, body: bytes) -> int:
        """The octets of the MESSAGE that ``send`` would make. Raises BadRequest."""
        return len(self._request("MESSAGE", request_uri, COOKIE + new_token(), headers, body))

    @property
    def waiting(self) -> int:
        """Requests without a final answer."""
        return len(self._waiting) + len(self._transactions)

    def _request(self, method: str, request_uri: str, branch: str, headers: Headers, body: bytes) -> bytes:
        given = list(headers)
        names = [name for name, _value in given]
        call_id = "" if "Call-ID" in names else f"Call-ID: {new_token()}@purple\r\n"
        cseq = "" if "CSeq" in names else f"CSeq: 1 {method}\r\n"
        return (
            f"{method} {_checked(request_uri)} SIP/2.0\r\n{self._via}{branch}\r\nMax-Forwards: 70\r\n"
            f"{header_block(given)}{call_id}{cseq}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    # ------------------------------------------------------------ out
    def _start_waiting(self) -> None:
        """As many as Kamailio's receive buffer has room for: what does not fit there is lost for 500 ms."""
        while self._waiting and (self._waiting[0][1].cost <= self._room or not self._unread):
            branch, transaction = self._waiting.popleft()
            self._room -= transaction.cost
            self._unread += 1
            self._transactions[branch] = transaction
            now = time.monotonic()
            transaction.ends_at = now + TIMER_F
            self._first.append((now + T1, branch))
            if not self._clock:
                self._clock = glib.add_timer(T1, self._first_due)
            self._transmit(branch, transaction)

    def _read(self, transaction: Transaction) -> None:
        """Answered, or on its way for so long that Kamailio has read it or lost it."""
        if transaction.unread:
            transaction.unread = False
            self._room += transaction.cost
            self._unread -= 1

    def _transmit(self, branch: str, transaction: Transaction) -> None:
        if self._blocked:
            if transaction.unread:  # a retransmission need not wait: the next one comes
                self._unsent.append((branch, transaction))
            return
        try:
            self._socket.send(transaction.datagram)
        except OSError as error:
            self._not_sent(branch, transaction, error)

    def _not_sent(self, branch: str, transaction: Transaction, error: OSError) -> None:
        if isinstance(error, BlockingIOError) or error.errno == errno.ENOBUFS:
            self._unsent.append((branch, transaction))
            self._blocked = glib.watch(self._socket.fileno(), glib.WRITE, self._writable)
        elif error.errno == errno.EMSGSIZE:
            glib.call_soon(lambda: self._finish(branch, *TOO_LARGE))
        else:  # nobody listens there at the moment: timer E tries again
            logger.debug("%s: %s", self._sent_by, error.strerror)

    def _writable(self, _descriptor: int, _condition: int) -> None:
        glib.remove(self._blocked)
        self._blocked = 0
        unsent, self._unsent = self._unsent, deque()
        for branch, transaction in unsent:
            if branch in self._transactions:
                self._transmit(branch, transaction)

    def _first_due(self) -> None:
        """Most have been answered long before, and leave the queue here."""
        due, now = [], time.monotonic()
        while self._first and (self._first[0][0] < now + TICK or self._first[0][1] not in self._transactions):
            due.append(self._first.popleft()[1])
        self._clock = glib.add_timer(self._first[0][0] - now, self._first_due) if self._first else 0
        for branch in due:
            if branch in self._transactions:
                glib.call_soon(partial(self._timer_e, branch))  # one by one: a fault in one is no other's

    def _timer_e(self, branch: str) -> None:
        """RFC 3261 §17.1.2.2: again after T1, 2 T1, 4 T1 … T2; in the state Proceeding every T2; timer F ends it."""
        transaction = self._transactions.get(branch)
        if transaction is None:
            return
        self._read(transaction)
        left = transaction.ends_at - time.monotonic()
        if left < TICK:
            self._finish(branch, *REQUEST_TIMEOUT)
            return
        self._transmit(branch, transaction)
        transaction.interval = T2 if transaction.proceeding else min(2 * transaction.interval, T2)
        transaction.timer = glib.add_timer(min(transaction.interval, left), partial(self._timer_e, branch))
        self._start_waiting()

    def _finish(self, branch: str, status: int, reason: str) -> None:
        transaction = self._transactions.pop(branch, None)
        if transaction is None:
            return
        if transaction.timer:
            glib.remove(transaction.timer)
        self._read(transaction)
        if self._waiting:
            self._start_waiting()
        transaction.done(status, reason)

    # ------------------------------------------------------------ in
    def read(self) -> None:
        """What has come meanwhile; calls ``done`` of what is answered."""
        self._readable(self._socket.fileno(), glib.READ)

    def _readable(self, _descriptor: int, _condition: int) -> None:
        expected = max(1, len(self._transactions))  # what comes beyond that calls again
        for _ in range(min(expected, RESPONSES_AT_ONCE)):
            try:
                datagram = self._socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:  # ICMP: nobody listens there; timer E tries again
                continue
            response = parse_response(datagram)
            if response is not None:
                self._received(response)
            elif (request := parse_request(datagram)) is not None:
                self._requested(request)

    def _requested(self, request: Request) -> None:
        """One that comes again is answered again: whoever takes it must not mind."""
        if request.method == "ACK":
            return
        answer = self._answers.get(request.header("call-id"))
        try:
            status, reason = answer(request) if answer else (481, "Call/Transaction Does Not Exist")
        except Exception:
            logger.exception("[%s] a %s failed", request.header("call-id"), request.method)
            status, reason = 500, "Server Internal Error"
        try:
            self._socket.send(request.answer(status, reason))
        except OSError as error:  # it comes again
            logger.debug("%s: %s", self._sent_by, error.strerror)

    def _received(self, response: Response) -> None:
        """RFC 3261 §17.1.3: the branch and the method of CSeq; what matches nothing is a late copy."""
        transaction = self._transactions.get(response.branch)
        if transaction is None or transaction.method != response.method:
            return
        if response.status >= 200:
            self._finish(response.branch, response.status, response.reason)
        else:
            transaction.proceeding = True
            self._read(transaction)
