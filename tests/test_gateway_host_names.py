"""Phones whose Contact has a host name are reached where they are; nobody waits until what they wrote is looked up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.dialog import Dialog
from tests.agents.phone import Phone
from tests.agents.pidf import pidf
from tests.agents.sip import Response
from tests.gateway import PASSWORD, Gateway, sip
from tests.waiting import wait_until

TIMEOUT = 30.0
NAME = "laptop.invalid"  # RFC 2606: nobody has it


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("names")) as running:
        yield running


@pytest.fixture(params=["udp", "tcp"])
def named(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Phone]:
    """Bob's."""
    proxy = ("127.0.0.1", gateway.kamailio.port)
    with Phone(sip("bob"), PASSWORD, proxy, request.param, name=NAME) as phone:
        assert phone.register().status == 200
        yield phone
        phone.unregister()


def test_a_message(gateway: Gateway, named: Phone) -> None:
    assert gateway.phone("alice").message(sip("bob"), "by its address").status == 200
    named.wait_message(lambda message: message.text == "by its address", TIMEOUT)


def test_a_notification(gateway: Gateway, named: Phone) -> None:
    alice = gateway.phone("alice")
    watch = named.subscribe(sip("alice"))
    assert watch.status in (200, 202)
    assert alice.publish(pidf(sip("alice"), "open", "here")).status == 200
    watch.wait_notify(lambda notify: b"here" in notify.body, TIMEOUT)


@pytest.mark.parametrize(
    "contacts",
    [
        ["<sip:bob@{host}:{port}>", f"<sip:bob@{NAME}>"],
        [f"<sip:bob@{{host}}:{{port}}>, Bob <SIP:bob@{NAME}:{{port}}>;q=0.5"],
        ['"sip:b@127.0.0.1" <sip:bob@127.1:{port}>'],
        [f"<sip:bob@{{host}}:9;maddr={NAME}>"],
        [f"<sip:b;x=%40127.0.0.1@{NAME}>"],
    ],
)
def test_whatever_the_contacts_are_made_of(gateway: Gateway, contacts: list[str]) -> None:
    with Phone(sip("bob"), PASSWORD, ("127.0.0.1", gateway.kamailio.port)) as phone:
        host, port = phone.address
        headers = [("Contact", contact.format(host=host, port=port)) for contact in contacts]
        assert _register(phone, headers).status == 200
        assert gateway.phone("alice").message(sip("bob"), "one of them").status == 200
        phone.wait_message(lambda message: message.text == "one of them", TIMEOUT)
        assert _register(phone, [("Contact", "*"), ("Expires", "0")]).status == 200


def _register(phone: Phone, headers: list[tuple[str, str]]) -> Response:
    return phone.send_in_dialog(Dialog(phone.aor, phone.aor, "sip:example.org"), "REGISTER", headers)


def test_a_proxy_with_a_name(gateway: Gateway, named: Phone) -> None:
    """RFC 3261 §12.1.1: NOTIFYs go by the route of the SUBSCRIBE; the proxy is where that came from."""
    headers = [("Event", "presence"), ("Expires", "600"), ("Record-Route", "<sip:proxy.invalid;lr>")]
    assert named.request("SUBSCRIBE", sip("alice"), headers).status in (200, 202)
    wait_until(lambda: any(one.method == "NOTIFY" for one in named.requests), TIMEOUT, "a NOTIFY has come")
    (notify,) = [one for one in named.requests if one.method == "NOTIFY"][:1]
    assert notify.headers["Route"].startswith("<sip:127.0.0.1:") and NAME in notify.uri
