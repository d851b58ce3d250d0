"""Requests of the web page as values: what is read, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.web.http import MAX_BODY, Raw, Refused, Request

FORM = {"content-type": "application/x-www-form-urlencoded"}


def parse(target: str = "/", body: str = "", **headers: str) -> Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request.parse(Raw("POST", target, {**FORM, **names}, body))


def test_path_and_query_are_decoded() -> None:
    request = parse("/a%20b?q=%C3%A4+x&q=2&empty=")
    assert (request.path, request.query) == ("/a b", {"q": ("ä x", "2"), "empty": ("",)})
    assert (request.asked("q"), request.asked("none")) == ("2", "")


def test_the_target_may_be_absolute() -> None:
    assert parse("http://localhost:8080/queue?page=2").path == "/queue"
    assert parse("http://localhost:8080").path == "/"


@pytest.mark.parametrize(
    ("status", "target", "body", "headers"),
    [
        (400, "/%ff", "", {}),
        (400, "/%00", "", {}),
        (400, "*", "", {}),
        (400, "/?q=%ff", "", {}),
        (400, "/?q=%00", "", {}),
        (400, "/", "a=%ff", {}),
        (400, "/", "a=%1b", {}),
        (400, "/", "&".join(f"a{number}=" for number in range(3000)), {}),
        (400, "/", "", {"content_length": "many"}),
        (400, "/", "", {"content_length": "-1"}),
        (411, "/", "", {"transfer_encoding": "chunked"}),
        (413, "/", "", {"content_length": str(MAX_BODY + 1)}),
        (413, "/", "", {"content_length": "9" * 40}),
        (413, "/", "a" * (MAX_BODY + 1), {}),
        (415, "/", "{}", {"content_type": "application/json"}),
        (415, "/", "", {"content_type": "multipart/form-data; boundary=x"}),
    ],
)
def test_what_is_refused(status: int, target: str, body: str, headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        parse(target, body, **headers)
    assert refused.value.status == status and refused.value.words


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("purple_session=a", "a"),
        ("x=1; purple_session=b", "b"),
        ('purple_session="c"', "c"),
        ("purple_sessions=d", ""),
        ("", ""),
    ],
)
def test_cookies(header: str, value: str) -> None:
    assert parse(cookie=header).cookie("purple_session") == value


@given(st.text(), st.text(), st.text())
def test_nothing_but_a_refusal_comes_of_a_request(target: str, body: str, cookie: str) -> None:
    try:
        request = parse("/" + target, body, cookie=cookie, host=cookie, origin=target)
    except Refused as refused:
        assert refused.status == 400
    else:
        assert isinstance(request.cookie("x") + request.host, str)
        assert request.is_from_elsewhere() in (True, False)
