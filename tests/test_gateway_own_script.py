"""An operator's own KEMI script, and the table of the old module as he has it today."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from purple_bridge.db.engine import make_engine
from tests.agents.pidf import pidf
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody

PROJECT = Path(__file__).parents[1]

CONFIG = """\
#!redefine KEMI_SCRIPT "{script}"
include_file "{project}/kamailio.cfg"
"""

# the form that docs/functions.md shows: the script knows nothing of workers, threads or libpurple
SCRIPT = """\
import KSR
import purple_bridge


def mod_init():
    purple_bridge.install(KSR)
    return MyRoutes()


class MyRoutes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        if KSR.is_OPTIONS():
            KSR.sl.send_reply(200, "OK")
        elif KSR.is_MESSAGE():
            if KSR.purple.send_message() > 0:
                KSR.sl.send_reply(202, "Accepted")
            else:
                KSR.purple.reply_error()
        elif KSR.is_PUBLISH():
            KSR.purple.handle_publish()
            KSR.sl.send_reply(200, "OK")
        return 1
"""


def test_own_script(tmp_path: Path, prosody: Prosody) -> None:
    script, config = tmp_path / "mine.py", tmp_path / "mine.cfg"
    script.write_text(SCRIPT)
    config.write_text(CONFIG.format(script=script, project=PROJECT))
    with Gateway(tmp_path, options=["--config", str(config)]) as gateway:
        gateway.add_xmpp_account("alice", prosody)
        bob = gateway.xmpp_user(prosody, "bob")
        phone = gateway.phone("alice", register=False)
        assert phone.request("PUBLISH", sip("alice"), _publish_headers(), pidf(sip("alice"))).status == 200
        gateway.wait_state("alice@localhost", "online")
        assert phone.message(xmpp_contact("bob@localhost"), "from my own script").status == 202
        assert bob.wait_message().body == "from my own script"


def test_table_of_the_old_module(tmp_path: Path) -> None:
    """No column ext_options, no further columns: the rows are used as they are."""
    with Gateway(tmp_path) as gateway:
        engine = make_engine(gateway.kamailio.db_url)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE purplemap"))
            connection.execute(
                text(
                    "CREATE TABLE purplemap (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "
                    "sip_user VARCHAR(128) NOT NULL, ext_user VARCHAR(128) NOT NULL, "
                    "ext_prot VARCHAR(16) NOT NULL, ext_pass VARCHAR(64))"
                )
            )
            connection.execute(
                text("INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES (:sip, 'al@127.0.0.1', 'prpl-irc')"),
                {"sip": sip("alice")},
            )
        engine.dispose()
        gateway.kamailio.restart()
        phone = gateway.phone("alice")
        assert phone.publish(pidf(sip("alice"))).status == 200
        # nobody listens on the IRC port, so what is shown is that the row was read
        gateway.wait_state("al@127.0.0.1", "error")


def _publish_headers() -> dict[str, str]:
    return {"Event": "presence", "Content-Type": "application/pidf+xml", "Expires": "3600"}
