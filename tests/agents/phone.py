"""Owns a SIP phone for tests and the demo: sends requests, answers what comes; knows nothing of any IM network."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Self

from tests.agents.dialog import Dialog, new_token
from tests.agents.inbox import Inbox
from tests.agents.pidf import Presence, parse_notify, pidf
from tests.agents.sip import (
    Headers,
    Request,
    Response,
    challenge,
    host_port,
    parameter,
    parse,
    uri_of,
    user_host,
)
from tests.agents.subscription import Notify, Subscription
from tests.agents.transaction import ClientTransaction
from tests.agents.wire import Address, Reply, open_wire

__all__ = [
    "Headers",
    "Notify",
    "Phone",
    "Presence",
    "Received",
    "Request",
    "Response",
    "Subscription",
    "parse_notify",
    "pidf",
]

ALLOW = ("Allow", "MESSAGE, NOTIFY, OPTIONS")
ACCEPT = ("Accept", "text/plain, application/im-iscomposing+xml, application/pidf+xml")
CREDENTIALS = {  # RFC 3261 §22: where a challenge stands, and where its answer goes
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}

Answer = tuple[int, str] | None
HeaderFields = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Received:
    """A MESSAGE that came in, and the status it was answered with (None: not answered)."""

    request_uri: str
    from_uri: str
    headers: Headers
    body: bytes
    answered: int | None

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("Content-Type", "text/plain").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body, decoded by the charset of its Content-Type, default UTF-8 (RFC 3428 §7)."""
        header = Message()
        header["Content-Type"] = self.headers.get("Content-Type", "text/plain")
        return self.body.decode(header.get_content_charset("utf-8"))


class Phone:
    """A user agent with one address of record, on a port of its own at `host`.

    Every public call blocks until its work is done and may come from any thread. Requests go to `proxy`
    (requests in a dialog where the dialog says) and are sent again as RFC 3261 §17.1.2 asks on UDP.
    `answer` is what an incoming MESSAGE gets: (status, reason), or None for silence, or a function that says
    so for each; `answer_headers` go with it. `t1` is RFC 3261's T1 in seconds: a request without a final
    response raises TimeoutError after 64 * t1. `trace` is all wire text, oldest first.
    """

    def __init__(
        self,
        aor: str,
        password: str = "",
        proxy: Address = ("127.0.0.1", 5060),
        transport: str = "udp",
        username: str | None = None,
        host: str = "127.0.0.1",
        name: str = "",
    ) -> None:
        """``name``: of this host, in Contact instead of its address."""
        self.aor = aor
        self.proxy = proxy
        self.t1 = 0.5
        self.answer: Answer | Callable[[Request], Answer] = (200, "OK")
        self.answer_headers: dict[str, str] = {}
        self.etag: str | None = None
        self.requests: list[Request] = []
        self.stray_responses: list[Response] = []
        self.retransmissions = 0
        self.trace: list[str] = []
        self._user, self._domain = user_host(aor)
        self._name = name
        self._username, self._password = username or self._user, password
        self._messages: Inbox[Received] = Inbox(f"MESSAGE for {aor}")
        self._answered: dict[tuple[str, str, str], bytes | None] = {}
        self._subscriptions: dict[tuple[str, str], Subscription] = {}
        self._transactions: dict[tuple[str, str], ClientTransaction] = {}
        self._registration = Dialog(aor, aor, f"sip:{self._domain}")
        self._reading = threading.Event()
        self._reading.set()
        self._wire = open_wire(transport, self._receive, host)

    @property
    def address(self) -> Address:
        """Host and port where this phone listens."""
        return self._wire.address

    @property
    def contact(self) -> str:
        """The Contact URI (RFC 3261 §8.1.1.8)."""
        host, port = self.address
        transport = f";transport={self._wire.transport.lower()}" if self._wire.reliable else ""
        return f"sip:{self._user}@{self._name or host}:{port}{transport}"

    @property
    def messages(self) -> list[Received]:
        """Every MESSAGE received, in order; a retransmission is not one."""
        return self._messages.items

    def wait_message(self, predicate: Callable[[Received], bool] | None = None, timeout: float = 30.0) -> Received:
        """The first matching MESSAGE not given before; AssertionError after `timeout` seconds."""
        return self._messages.wait(predicate, timeout)

    def register(self, expires: int = 600) -> Response:
        """Bind the contact to the address of record for `expires` seconds (RFC 3261 §10.2)."""
        headers = [("Contact", f"<{self.contact}>"), ("Expires", str(expires))]
        return self.send_in_dialog(self._registration, "REGISTER", headers)

    def unregister(self) -> Response:
        return self.register(expires=0)

    def message(
        self,
        to_uri: str,
        text: str,
        content_type: str = "text/plain",
        headers: HeaderFields = (),
        call_id: str | None = None,
        from_uri: str | None = None,
    ) -> Response:
        """Send a MESSAGE (RFC 3428 §4: no Contact) and return the final response.

        `from_uri` goes into From; the credentials stay those of this phone.
        """
        dialog = Dialog(from_uri or self.aor, to_uri, to_uri, call_id=call_id or new_token())
        fields = [("Content-Type", content_type), *_fields(headers)]
        return self.send_in_dialog(dialog, "MESSAGE", fields, text.encode())

    def publish(self, body: bytes | None, expires: int = 3600, etag: str | None = None) -> Response:
        """Publish presence (RFC 3903 §4); with an `etag`, else `self.etag`, a publication is changed.

        `body` None refreshes, or with `expires` 0 removes it.
        """
        used = etag or self.etag
        fields = [("Event", "presence"), ("Expires", str(expires))]
        fields += [("SIP-If-Match", used)] if used else []
        fields += [("Content-Type", "application/pidf+xml")] if body is not None else []
        response = self.request("PUBLISH", self.aor, fields, body or b"")
        self._remember_etag(response, expires)
        return response

    def subscribe(self, uri: str, event: str = "presence", expires: int = 3600) -> Subscription:
        """Watch `uri`; the answer is in the subscription's `response`, be it a refusal."""
        dialog = Dialog(self.aor, uri, uri)
        subscription = Subscription(self, dialog, event, expires)
        self._subscriptions[dialog.call_id, dialog.local_tag] = subscription
        subscription.subscribe(expires)
        return subscription

    def options(self, uri: str | None = None) -> Response:
        """Ask the proxy, or `uri`, what it can do (RFC 3261 §11)."""
        return self.request("OPTIONS", uri or f"sip:{self._domain}", [ACCEPT])

    def request(self, method: str, uri: str, headers: HeaderFields = (), body: bytes | str = b"") -> Response:
        """Any other request outside a dialog, sent to the proxy; the final response."""
        data = body.encode() if isinstance(body, str) else body
        return self.send_in_dialog(Dialog(self.aor, uri, uri), method, _fields(headers), data)

    def send_raw(self, data: bytes, destination: Address | None = None) -> None:
        """Any bytes, to the proxy by default; answers that match no request are in `stray_responses`."""
        self._send(data, destination or self.proxy)

    def send_in_dialog(
        self, dialog: Dialog, method: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> Response:
        """The final response, after answering a challenge once, or again if the nonce was stale.

        Raises TimeoutError when no final response comes, with the end of the trace.
        """
        with dialog.sending:
            response = self._send_once(dialog, method, headers, body)
            credentials = self._credentials(response, method, dialog.remote_target)
            while credentials:
                response = self._send_once(dialog, method, [*headers, credentials], body)
                credentials = self._credentials(response, method, dialog.remote_target, only_stale=True)
            return response

    def hold(self) -> None:
        """Read nothing until `go_on`: what comes waits in the socket, unanswered, so the sender waits, too."""
        self._reading.clear()

    def go_on(self) -> None:
        """After hold()."""
        self._reading.set()

    def close(self) -> None:
        """Close the sockets; nothing is sent."""
        self.go_on()
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- requests that go out

    def _send_once(self, dialog: Dialog, method: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        branch = f"z9hG4bK{new_token()}"
        data = self._build(dialog, method, branch, headers, body).encode()
        destination = self._destination(dialog.next_hop)
        transaction = ClientTransaction(lambda: self._send(data, destination), self._wire.reliable, self.t1)
        self._transactions[branch, method] = transaction
        try:
            return transaction.run()
        except TimeoutError as error:
            error.add_note("\n\n".join(["end of the trace:", *self.trace[-6:]]))
            raise
        finally:
            del self._transactions[branch, method]

    def _build(self, dialog: Dialog, method: str, branch: str, headers: list[tuple[str, str]], body: bytes) -> Request:
        host, port = self.address
        fields = [
            ("Via", f"SIP/2.0/{self._wire.transport} {host}:{port};rport;branch={branch}"),
            ("Max-Forwards", "70"),
            *dialog.next_headers(method),
        ]
        if method == "SUBSCRIBE":
            fields.append(("Contact", f"<{self.contact}>"))
        return Request(method, dialog.remote_target, Headers([*fields, *headers]), body)

    def _destination(self, next_hop: str | None) -> Address:
        """Names are not looked up: a next hop that is no IPv4 address is reached by the proxy."""
        if next_hop is None:
            return self.proxy
        host, port = host_port(next_hop)
        return (host, port) if re.fullmatch(r"[\d.]+", host) else self.proxy

    def _credentials(
        self, response: Response, method: str, uri: str, only_stale: bool = False
    ) -> tuple[str, str] | None:
        if response.status not in CREDENTIALS or not self._password:
            return None
        asked_in, answered_in = CREDENTIALS[response.status]
        found = challenge(response.headers.get_all(asked_in))
        if found is None or (only_stale and not found.stale):
            return None
        return answered_in, found.answer(self._username, self._password, method, uri)

    def _remember_etag(self, response: Response, expires: int) -> None:
        """RFC 3903 §4.1; §5: after a 412 the tag is of no use any more."""
        if 200 <= response.status < 300:
            self.etag = response.headers.get("SIP-ETag") if expires else None
        elif response.status == 412:
            self.etag = None

    def _send(self, data: bytes, destination: Address) -> None:
        self._log(f"-> {destination[0]}:{destination[1]}", data)
        self._wire.send(data, destination)

    def _log(self, head: str, data: bytes) -> None:
        self.trace.append(f"{head}\n{data.decode('utf-8', 'replace')}")

    # ---- what comes in, all in the reading thread

    def _receive(self, data: bytes, reply: Reply) -> None:
        """A phone outlives whatever it is sent: what cannot be understood is only traced."""
        self._reading.wait()
        self._log("<-", data)
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._on_response(message)
            else:
                self._on_request(message, reply)
        except (ValueError, KeyError, IndexError, OSError) as error:
            self.trace.append(f"!! {type(error).__name__}: {error}")

    def _on_response(self, response: Response) -> None:
        branch = parameter(response.headers.values("Via")[0], "branch") or ""
        method = response.headers["CSeq"].split()[1]
        transaction = self._transactions.get((branch, method))
        if transaction is None:
            self.stray_responses.append(response)
        else:
            transaction.receive(response)

    def _on_request(self, request: Request, reply: Reply) -> None:
        """RFC 3261 §17.2.2: a request that was seen gets the same answer, and does nothing else."""
        if request.method == "ACK":
            return
        key = _transaction_key(request)
        if key in self._answered:
            self.retransmissions += 1
        else:
            self.requests.append(request)
            self._answered[key] = self._answer(request)
        answer = self._answered[key]
        if answer is not None:
            self._log("-> (answer)", answer)
            reply(answer)

    def _answer(self, request: Request) -> bytes | None:
        if request.method == "MESSAGE":
            return self._on_message(request)
        if request.method == "NOTIFY":
            return _response(request, self._on_notify(request), [])
        if request.method == "OPTIONS":
            return _response(request, (200, "OK"), [ALLOW, ACCEPT])
        return _response(request, (405, "Method Not Allowed"), [ALLOW])

    def _on_message(self, request: Request) -> bytes | None:
        answer = self.answer(request) if callable(self.answer) else self.answer
        extra = list(self.answer_headers.items())
        status = answer[0] if answer else None
        sender = uri_of(request.headers["From"])
        self._messages.put(Received(request.uri, sender, request.headers, request.body, status))
        return _response(request, answer, extra) if answer else None

    def _on_notify(self, request: Request) -> tuple[int, str]:
        key = (request.headers["Call-ID"], parameter(request.headers["To"], "tag") or "")
        subscription = self._subscriptions.get(key)
        return subscription.receive(request) if subscription else (481, "Subscription does not exist")


def _fields(headers: HeaderFields) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def _transaction_key(request: Request) -> tuple[str, str, str]:
    branch = parameter(request.headers.values("Via")[0], "branch") or ""
    return branch, request.headers["Call-ID"], request.headers["CSeq"]


def _response(request: Request, answer: tuple[int, str], extra: list[tuple[str, str]]) -> bytes:
    """RFC 3261 §8.2.6: Via, From, Call-ID and CSeq as they came, To with a tag."""
    to = request.headers["To"]
    tagged = to if parameter(to, "tag") else f"{to};tag={new_token()}"
    fields = [
        *(("Via", via) for via in request.headers.values("Via")),
        ("From", request.headers["From"]),
        ("To", tagged),
        ("Call-ID", request.headers["Call-ID"]),
        ("CSeq", request.headers["CSeq"]),
        *extra,
    ]
    return Response(answer[0], answer[1], Headers(fields)).encode()
