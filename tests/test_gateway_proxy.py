"""purple.httpProxy_host and purple.httpProxy_port: accounts connect through the proxy."""

from __future__ import annotations

from pathlib import Path

from tests.gateway import Gateway
from tests.servers.http_proxy import HttpProxy
from tests.servers.prosody import Prosody


def test_accounts_connect_through_the_http_proxy(tmp_path: Path, prosody: Prosody) -> None:
    with HttpProxy() as proxy:
        settings = {"httpProxy_host": "127.0.0.1", "httpProxy_port": proxy.port}
        with Gateway(tmp_path, settings=settings) as gateway:
            gateway.add_xmpp_account("alice", prosody)
            gateway.online_phone("alice", "alice@localhost")
            assert proxy.targets == [f"127.0.0.1:{prosody.port}"]
