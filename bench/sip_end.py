"""Owns a phone that sends and takes MESSAGEs as cheaply as Python can; knows no more of SIP than that needs."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket

_NUMBER = re.compile(rb"\r\n\r\n#(\d+)")
_COPIED = re.compile(rb"^(?:Via|From|To|Call-ID|CSeq):.*\r\n", re.MULTILINE)
_CHALLENGE = re.compile(rb'(?:Proxy|WWW)-Authenticate: Digest .*?nonce="([^"]+)"')
_ANSWERED = re.compile(rb"Call-ID: (\d+)-")
BUFFER = 4 << 20


class SipEnd:
    """A UDP socket with the address of record ``user``, whose server is ``proxy``.

    ``password``: the server asks for digest credentials (RFC 2617); one nonce serves all requests, as in phones.
    """

    def __init__(self, user: str, proxy: tuple[str, int], password: str = "") -> None:
        self.user, self._proxy, self._password = user, proxy, password
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(proxy)
        self._socket.setblocking(False)
        self.host, self.port = self._socket.getsockname()
        self.refused: dict[int, int] = {}  # status -> answers with it
        self.keep_answers, self.answered = False, list[int]()  # numbers of the MESSAGEs that were answered with 2xx
        self._token, self._nonce, self._count = secrets.token_hex(4), "", 0

    @property
    def sockets(self) -> list[int]:
        return [self._socket.fileno()]

    def to(self, uri: str) -> Outgoing:
        """Messages to one contact."""
        return Outgoing(self, uri)

    def register(self) -> None:
        """Bind this socket to the address of record. Raises ConnectionError if the server does not take it."""
        realm = self.user.partition("@")[2]
        self._socket.setblocking(True)
        self._socket.settimeout(5)
        for number in (1, 2):
            proof = self.authorization("REGISTER", f"sip:{realm}").removeprefix("Proxy-")
            self.transmit(
                f"REGISTER sip:{realm} SIP/2.0\r\nVia: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bKr{number}\r\n"
                f"Max-Forwards: 70\r\nFrom: <{self.user}>;tag=r\r\nTo: <{self.user}>\r\nCall-ID: r-{self._token}\r\n"
                f"CSeq: {number} REGISTER\r\nContact: <sip:bench@{self.host}:{self.port}>\r\nExpires: 3600\r\n"
                f"{proof}Content-Length: 0\r\n\r\n".encode()
            )
            answer = self._socket.recv(65536)
            self._answered(answer)
            if answer.startswith(b"SIP/2.0 200 "):
                break
        else:
            raise ConnectionError(f"REGISTER of {self.user}: {answer[:60].decode()}")
        self._socket.setblocking(False)
        self.refused.clear()

    def transmit(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def authorization(self, method: str, uri: str) -> str:
        """RFC 2617 §3.2.2.1 with qop=auth; "" without a password or a challenge."""
        if not self._nonce:
            return ""
        self._count += 1
        name, _, realm = self.user.removeprefix("sip:").partition("@")
        first, second = _md5(f"{name}:{realm}:{self._password}"), _md5(f"{method}:{uri}")
        proof = _md5(f"{first}:{self._nonce}:{self._count:08x}:x:auth:{second}")
        return (
            f'Proxy-Authorization: Digest username="{name}", realm="{realm}", nonce="{self._nonce}", uri="{uri}", '
            f'qop=auth, nc={self._count:08x}, cnonce="x", response="{proof}"\r\n'
        )

    def read(self) -> None:
        """Answers: a challenge is remembered, a refusal counted."""
        self.receive()

    def receive(self) -> list[int]:
        """Numbers of the MESSAGEs that have come, each answered with 200."""
        numbers: list[int] = []
        while True:
            try:
                datagram = self._socket.recv(65536)
            except (BlockingIOError, ConnectionRefusedError):
                return numbers
            if datagram.startswith(b"SIP/2.0 "):
                self._answered(datagram)
            elif datagram.startswith(b"MESSAGE ") and (found := _NUMBER.search(datagram)):
                numbers.append(int(found[1]))
                self._socket.send(ok(datagram))

    def _answered(self, datagram: bytes) -> None:
        status = int(datagram[8:11])
        if status >= 300:
            self.refused[status] = self.refused.get(status, 0) + 1
        if self.keep_answers and status < 300 and (number := _ANSWERED.search(datagram)):
            self.answered.append(int(number[1]))
        if challenge := _CHALLENGE.search(datagram):
            self._nonce, self._count = challenge[1].decode(), 0

    def close(self) -> None:
        self._socket.close()


class Outgoing:
    """The MESSAGEs of one phone to one address; a ``flow.Sender``."""

    def __init__(self, end: SipEnd, uri: str) -> None:
        self._end, self._uri = end, uri
        self._head = (
            f"MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {end.host}:{end.port};rport;branch=z9hG4bK{end._token}"
        ).encode()
        self._middle = (
            f"Max-Forwards: 70\r\nFrom: <{end.user}>;tag={end._token}\r\nTo: <{uri}>\r\nCSeq: 1 MESSAGE\r\n"
            f"Content-Type: text/plain\r\n"
        ).encode()

    @property
    def sockets(self) -> list[int]:
        return self._end.sockets

    def send(self, number: int) -> None:
        body = b"#%d" % number
        unique = b"%d\r\nCall-ID: %d-%s\r\n" % (number, number, self._end._token.encode())
        proof = self._end.authorization("MESSAGE", self._uri).encode()
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        self._end.transmit(self._head + unique + self._middle + proof + length + body)

    def read(self) -> None:
        self._end.read()


def ok(request: bytes) -> bytes:
    """The answer 200 (RFC 3261 §8.2.6.2)."""
    return b"SIP/2.0 200 OK\r\n" + b"".join(_COPIED.findall(request)) + b"Content-Length: 0\r\n\r\n"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
