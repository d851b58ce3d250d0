"""Owns one gateway under test with its accounts: what the end-to-end tests say of it, in their own words."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

from sqlalchemy import delete, func, insert, select, update

from purple_bridge.control_client import ask
from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import purplemap_table, silo
from tests.agents.irc import IrcUser
from tests.agents.phone import Phone
from tests.agents.pidf import pidf
from tests.agents.xmpp import XmppUser
from tests.purplectl import run_purplectl
from tests.servers.kamailio import Kamailio
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

DOMAIN = "example.org"
PASSWORD = "secret"


def sip(user: str) -> str:
    return f"sip:{user}@{DOMAIN}"


def xmpp_contact(jid: str) -> str:
    """The SIP address of an XMPP contact without a row."""
    return f"sip:{jid.replace('@', '*')}@xmpp.im.{DOMAIN}"


class Gateway:
    """A running gateway and the people around it: phones stay until it ends, chat clients until the test ends.

    ``keeps_chat_clients``: they stay as well, for tests that run at the same time.
    """

    running: ClassVar[list[Gateway]] = []

    def __init__(self, directory: Path, **options: Any) -> None:
        self.keeps_chat_clients = bool(options.pop("keeps_chat_clients", False))
        options.setdefault("users", {"alice": PASSWORD, "bob": PASSWORD})
        self.kamailio = Kamailio(directory, domain=DOMAIN, **options)
        self._phones, self._chat_clients = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        self._phones.enter_context(self.kamailio)
        Gateway.running.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in Gateway.running:
            Gateway.running.remove(self)
        self.close_chat_clients()
        self._phones.close()

    def close_chat_clients(self) -> None:
        """So that one test's client does not answer for the contact in the next."""
        self._chat_clients.close()

    # ------------------------------------------------------------ accounts
    def add_user(self, user: str) -> None:
        """A SIP user, who can register at once."""
        self.kamailio.add_users({user: PASSWORD})

    def add_account(
        self, user: str, protocol: str, ext_user: str, password: str | None = PASSWORD, **options: bool | int | str
    ) -> None:
        row = {"sip_user": sip(user), "ext_prot": protocol, "ext_user": ext_user, "ext_pass": password}
        self._execute(insert(self._table()).values(**row, ext_options=json.dumps(options)))

    def add_xmpp_account(self, user: str, prosody: Prosody, name: str | None = None, **more: bool | int | str) -> None:
        options = prosody.account_options | more
        self.add_account(user, "prpl-jabber", f"{name or user}@{prosody.domain}", **options)

    def add_irc_account(self, user: str, ngircd: Ngircd, nick: str, **more: bool | int | str) -> None:
        options: dict[str, Any] = {"port": ngircd.port, **more}
        self.add_account(user, "prpl-irc", f"{nick}@127.0.0.1", None, **options)

    def set_password(self, ext_user: str, password: str) -> None:
        self.change_account(ext_user, ext_pass=password)

    def change_account(self, ext_user: str, /, **values: str | None) -> None:
        """Columns of the account's rows, by plain SQL."""
        table = self._table()
        self._execute(update(table).where(table.c.ext_user == ext_user).values(values))

    def remove_account(self, ext_user: str) -> None:
        table = self._table()
        self._execute(delete(table).where(table.c.ext_user == ext_user))

    def _table(self) -> Any:
        return purplemap_table("purplemap", make_engine(self.kamailio.db_url).dialect.name)

    def _execute(self, statement: Any) -> None:
        engine = make_engine(self.kamailio.db_url)
        with engine.begin() as connection:
            connection.execute(statement)
        engine.dispose()

    # ------------------------------------------------------------ what is seen of it
    def accounts(self) -> list[dict[str, Any]]:
        """Every account that a worker knows, as `purplectl status` gets it."""
        found: list[dict[str, Any]] = []
        for socket in sorted((self.kamailio.state_dir / "run").glob("worker-*.sock")):
            found += ask(socket, "status")["accounts"]
        return found

    def account(self, ext_user: str) -> dict[str, Any]:
        """One account; its state is `unknown` while no worker knows it."""
        known = [account for account in self.accounts() if account["ext_user"] == ext_user]
        assert len(known) <= 1, f"owned twice: {known}"
        return known[0] if known else {"state": "unknown", "error": ""}

    def wait_state(self, ext_user: str, state: str, timeout: float = 30.0) -> dict[str, Any]:
        wait_until(lambda: self.account(ext_user)["state"] == state, timeout, f"{ext_user} {state}")
        return self.account(ext_user)

    def kept_messages(self) -> int:
        """How many messages, or parts of one, lie in the database until their phone registers."""
        engine = make_engine(self.kamailio.db_url)
        with engine.connect() as connection:
            count = connection.execute(select(func.count()).select_from(silo)).scalar_one()
        engine.dispose()
        return int(count)

    def purplectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`purplectl` for this gateway, whatever comes of it."""
        words = (*words, "--state-dir", str(self.kamailio.state_dir))
        return run_purplectl(*words, stdin=stdin, PURPLE_DB_URL=self.kamailio.db_url)

    def purplectl_done(self, *words: str) -> str:
        """What `purplectl` prints that has to succeed."""
        done = self.purplectl(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # ------------------------------------------------------------ people around it
    def phone(self, user: str, register: bool = True, transport: str = "udp") -> Phone:
        """A phone of this user, registered."""
        phone = self._phones.enter_context(Phone(sip(user), PASSWORD, ("127.0.0.1", self.kamailio.port), transport))
        if register:
            assert phone.register().status == 200
        return phone

    def online_phone(self, user: str, ext_user: str, transport: str = "udp", register: bool = True) -> Phone:
        """A phone that has published its presence and whose account is signed on."""
        phone = self.phone(user, register, transport)
        self.publish_until_seen(phone, user, ext_user)
        self.wait_state(ext_user, "online")
        return phone

    def publish_until_seen(self, phone: Phone, user: str, ext_user: str) -> None:
        """That a user has no row is remembered for three seconds, so a new row may need a second PUBLISH."""

        def seen() -> bool:
            assert phone.publish(pidf(sip(user))).status == 200
            return bool(self.account(ext_user)["state"] != "unknown")

        wait_until(seen, 30, f"the row of {ext_user}")

    def xmpp_user(self, prosody: Prosody, name: str, resource: str = "") -> XmppUser:
        """A chat client of this user, online, with an empty contact list policy of its own."""
        jid = f"{name}@{prosody.domain}" + (f"/{resource}" if resource else "")
        return self._chat_clients.enter_context(XmppUser(jid, PASSWORD, (prosody.host, prosody.port)))

    def irc_user(self, ngircd: Ngircd, nick: str) -> IrcUser:
        return self._chat_clients.enter_context(IrcUser(nick, ("127.0.0.1", ngircd.port)))
