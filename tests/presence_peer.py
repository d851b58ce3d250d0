"""Owns a presence server's end of dialogs over UDP: it answers SUBSCRIBE and sends NOTIFY when a test wants it."""

from __future__ import annotations

from tests.agents.sip import Request, Response, parse
from tests.loops import run_until
from tests.sip_listener import Listener

CONTACT = "sip:server@127.0.0.1:5070;transport=udp"


class PresencePeer:
    """``listener``: in the place of Kamailio's internal listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._sent = 0

    def subscribes(self) -> list[Request]:
        """Each SUBSCRIBE once, in order; what is sent again counts no more."""
        branches = {request.headers["Via"]: request for request in self._listener.read()}
        return [request for request in branches.values() if request.method == "SUBSCRIBE"]

    def wait(self, count: int) -> Request:
        """The last of so many SUBSCRIBEs."""
        run_until(lambda: len(self.subscribes()) >= count, f"{count} SUBSCRIBEs")
        requests = self.subscribes()
        assert len(requests) == count
        return requests[-1]

    def answer(self, subscribe: Request, status: int, reason: str = "OK") -> None:
        self._listener.answer(subscribe, status, reason)

    def notify(self, subscribe: Request, state: str, tag: str = "servertag", method: str = "NOTIFY") -> Response:
        """In the dialog of the SUBSCRIBE; returns the answer. ``state``: of Subscription-State, "" for no such line."""
        self._sent += 1
        branch = f"z9hG4bKpeer{self._sent}"
        lines = [
            f"{method} {subscribe.headers['Contact'].strip('<>')} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:5070;branch={branch}",
            f"From: {subscribe.headers['To'].partition(';')[0]};tag={tag}",
            f"To: {subscribe.headers['From']}",
            f"Call-ID: {subscribe.headers['Call-ID']}",
            f"CSeq: {self._sent} {method}",
            f"Contact: <{CONTACT}>",
            "Event: presence",
            *([f"Subscription-State: {state}"] if state else []),
            "Content-Length: 0",
        ]
        self._listener.send("\r\n".join([*lines, "", ""]).encode())
        run_until(lambda: self._answers(branch), f"an answer to {method} {self._sent}")
        return self._answers(branch)[0]

    def _answers(self, branch: str) -> list[Response]:
        self._listener.read()
        read = (parse(datagram) for datagram in self._listener.datagrams)
        return [one for one in read if isinstance(one, Response) and branch in one.headers["Via"]]
