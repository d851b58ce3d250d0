"""Name look-ups without libpurple's own helper processes, against the system's resolver and a real DNS server."""

from __future__ import annotations

import ctypes
import socket
import threading
from collections.abc import Iterator
from typing import Any

import dns.message
import dns.resolver
import dns.rrset
import pytest

from purple_bridge.libpurple import c
from purple_bridge.libpurple.dns import THREADS, LookUps, Resolver
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import started, wait_error, wait_online, xmpp_account
from tests.servers.prosody import Prosody


def by_name(port: int, server: str) -> bool:
    started()
    wait_online(xmpp_account("alice", port, connect_server=server))
    return True


def test_a_server_is_found_by_its_name(prosody: Prosody) -> None:
    assert run_in_child(by_name, prosody.port, "localhost")


def nowhere() -> dict[str, Any]:
    recorder = started()
    xmpp_account("alice", 5222, connect_server="no-such-host.invalid")
    return wait_error(recorder)


def test_a_name_that_does_not_exist_is_an_error() -> None:
    error = run_in_child(nowhere)
    assert not error["fatal"]
    assert error["text"]


class DnsServer:
    """Answers SRV questions over UDP with one record, as a DNS server for one zone (RFC 2782)."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self._record = dns.rrset.from_text(f"{name}.", 60, "IN", "SRV", f"0 5 {port} {host}.")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            question, address = self._socket.recvfrom(512)
            if question == b"end":
                return
            query = dns.message.from_wire(question)
            answer = dns.message.make_response(query)
            self.asked.append(query.question[0].name.to_text())
            if query.question[0].name == self._record.name:
                answer.answer.append(self._record)
            self._socket.sendto(answer.to_wire(), address)

    def close(self) -> None:
        self._socket.sendto(b"end", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@pytest.fixture
def dns_server(prosody: Prosody) -> Iterator[DnsServer]:
    server = DnsServer("_xmpp-client._tcp.localhost", "localhost", prosody.port)
    yield server
    server.close()


def by_service(dns_port: int) -> bool:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], dns_port
    dns.resolver.default_resolver = resolver
    started()
    # the port is wrong on purpose: the SRV record knows the right one
    wait_online(xmpp_account("alice", 1, connect_server=""))
    return True


def test_a_server_is_found_by_its_service_record(dns_server: DnsServer) -> None:
    assert run_in_child(by_service, dns_server.port)
    assert "_xmpp-client._tcp.localhost." in dns_server.asked


def given_up(port: int) -> list[bool]:
    """The account is deleted while its look-up runs; libpurple has freed the query by the time of the answer."""
    recorder = started()
    for _ in range(20):
        xmpp_account("bob", port, connect_server="localhost").delete()
    account = xmpp_account("alice", port, connect_server="localhost")
    wait_online(account)
    return [account.connected, recorder.errors == []]


def test_a_look_up_that_was_given_up_is_forgotten(prosody: Prosody) -> None:
    assert run_in_child(given_up, prosody.port) == [True, True]


def test_an_old_answer_is_not_given_to_a_new_query_at_the_same_address() -> None:
    """libpurple frees a query it gave up, and the next one may lie at the same address."""
    resolver, seen = Resolver(), list[str]()
    old_may_answer, new_may_answer = threading.Event(), threading.Event()
    resolved = ctypes.CFUNCTYPE(None, c.Pointer, c.Pointer)(lambda query, _list: seen.append(f"resolved {query}"))
    failed = ctypes.CFUNCTYPE(None, c.Pointer, ctypes.c_char_p)(lambda _query, text: seen.append(text.decode()))
    on_resolved, on_failed = [ctypes.cast(function, c.Pointer).value or 0 for function in (resolved, failed)]

    def old() -> list[Any]:
        old_may_answer.wait(10)
        return ["old"]

    def new() -> list[Any]:
        new_may_answer.wait(10)
        raise OSError("the new answer")

    look_ups = resolver._look_ups
    resolver._follow(1, look_ups.start("host", "old.test", old), on_resolved, on_failed, lambda _found: None)
    resolver._given_up(1)
    resolver._follow(1, look_ups.start("host", "new.test", new), on_resolved, on_failed, lambda _found: None)
    old_may_answer.set()
    run_for(0.2)
    new_may_answer.set()
    run_until(lambda: seen, "an answer")
    resolver.close()
    assert seen == ["the new answer"]


def test_who_asks_the_same_gets_the_same_answer() -> None:
    look_ups, may_answer, asked = LookUps(), threading.Event(), list[str]()

    def look_up() -> list[Any]:
        asked.append("asked")
        may_answer.wait(10)
        return ["there"]

    same = [look_ups.start("host", "one.test", look_up, 5222) for _ in range(100)]
    other = look_ups.start("host", "one.test", lambda: ["elsewhere"], 5223)
    may_answer.set()
    assert {tuple(future.result(10)) for future in same} == {("there",)}
    assert (asked, other.result(10)) == (["asked"], ["elsewhere"])
    look_ups.close()


def test_silent_domains_keep_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purple_bridge.libpurple.dns.SLOW_SECONDS", 0.0)
    look_ups, ending = LookUps(), threading.Event()
    for number in range(3 * THREADS):  # each is slow, and known for it from then on
        look_ups.start("SRV", f"_xmpp-client._tcp.silent{number}.test", lambda: []).result(10)
    monkeypatch.setattr("purple_bridge.libpurple.dns.SLOW_SECONDS", 3.0)
    hanging = [
        look_ups.start("host", f"silent{number}.test", lambda: [ending.wait(10)]) for number in range(3 * THREADS)
    ]
    assert look_ups.start("host", "well.test", lambda: ["there"]).result(10) == ["there"]
    assert not any(future.done() for future in hanging)
    ending.set()
    look_ups.close()
