"""Owns a reader of the web page without a browser and without Kamailio: requests as values, cookies, forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from purple_bridge.web.http import Raw, Response
from purple_bridge.web.site import Site

HOST = "127.0.0.1:8080"
DOMAIN = "example.org"


class WebClient:
    """Keeps the cookie and sends forms as a browser does; ``headers`` of a call are added, "" takes one away."""

    def __init__(self, site: Site, address: str = "127.0.0.1", secure: bool = False) -> None:
        self.site, self.address, self.secure = site, address, secure
        self.cookie = ""

    def get(self, target: str, **headers: str) -> Response:
        return self.send("GET", target, "", headers)

    def post(self, target: str, fields: Mapping[str, str | list[str]], **headers: str) -> Response:
        body = urlencode(dict(fields), doseq=True)
        form = {"content_type": "application/x-www-form-urlencoded", "content_length": str(len(body))}
        return self.send("POST", target, body, {**form, "origin": self._origin, **headers})

    def submit(self, page: str, target: str, **fields: str | list[str]) -> Response:
        """Get the page with the form, then send the form with its token."""
        return self.post(target, {"token": token_of(self.get(page)), **fields})

    def log_in(self, name: str, password: str, then: str = "") -> Response:
        return self.submit("/login", "/login", name=name, password=password, next=then)

    def send(self, method: str, target: str, body: str, headers: Mapping[str, str]) -> Response:
        known = {
            "host": HOST,
            "cookie": self.cookie,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        given = {name: value for name, value in known.items() if value}
        response = self.site.answer(
            Raw(method, target, given, body, self.address, self.secure), lambda name: name == DOMAIN
        )
        for name, value in response.headers:
            if name == "Set-Cookie":
                self.cookie = value.partition(";")[0]
        return response

    @property
    def _origin(self) -> str:
        return f"http{'s' if self.secure else ''}://{HOST}"


def token_of(page: Response) -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', page.body)
    assert found, page.body
    return found[1]


def header(response: Response, name: str) -> str:
    return next((value for key, value in response.all_headers() if key == name), "")
