"""Owns ``purplectl`` in this process, with its database; as a process of its own it is tests/purplectl.py."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from purple_bridge.cli.account_arguments import ProtocolSource
from purple_bridge.cli.main import cli
from purple_bridge.libpurple.plugins import Option, Protocol

JABBER = "prpl-jabber"
PROTOCOLS = (
    Protocol(
        JABBER,
        "XMPP",
        "",
        (
            Option("port", "Port", "int", 5222),
            Option("auth_plain_in_clear", "Plain text", "bool", False),
            Option("connect_server", "Server", "string", ""),
            Option("connection_security", "Security", "list", "require_tls", ("require_tls", "opportunistic_tls")),
        ),
    ),
    Protocol("prpl-irc", "IRC", "", (Option("port", "Port", "int", 6667),)),
)


class Purplectl:
    """The command line on one database and one state directory, with the protocols above.

    ``words``: what every call begins with.
    """

    def __init__(self, url: str, state_dir: Path, *words: str) -> None:
        self.url, self.state_dir = url, state_dir
        self.environment = {"PURPLE_DB_URL": url, "PURPLE_STATE_DIR": str(state_dir)}
        self._words = words

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        source = ProtocolSource(lambda _allowed: PROTOCOLS)
        return CliRunner().invoke(cli, [*self._words, *arguments], input=stdin, obj=source, env=self.environment)

    def done(self, *arguments: str, stdin: str = "") -> str:
        """What a command prints that has to succeed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, code: int, *arguments: str, stdin: str = "") -> str:
        """What a command prints that has to fail with this exit code; nothing of it on stdout."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        return result.stderr

    def accounts(self) -> list[dict[str, object]]:
        listed = json.loads(self.done("account", "list", "--json"))
        assert isinstance(listed, list)
        return listed
