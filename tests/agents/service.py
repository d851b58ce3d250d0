"""Owns a look at the service of an installed gateway, in a machine that `.ci/service` has booted and that nobody needs.

It changes the machine: it must not be run anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.agents.phone import Phone, pidf
from tests.agents.xmpp import XmppUser
from tests.installed import PROJECT, install_wheel, make_environment, make_wheel, run
from tests.servers.base import HOST
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

NAME = "kamailio-purple"
PLACE = Path("/opt") / NAME
FAULTS = Path("/opt/faults")
CONFIG = Path("/etc") / NAME / "kamailio.cfg"
DROP_IN = Path("/run/systemd/system") / f"{NAME}.service.d/faults.conf"
PASSWORD = "secret"
ALICE, ALICE_XMPP = "sip:alice@example.org", "alice@localhost"
BOB, BOB_XMPP = "sip:bob*localhost@xmpp.im.example.org", "bob@localhost"
PORT = 5060
LISTEN = ("--listen", f"udp:{HOST}:{PORT}", "--listen", f"tcp:{HOST}:{PORT}", "--domain", "example.org")
CRASHES = "this text crashes libpurple"  # tests/faults
EXPOSURE = 20


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        Prosody(Path(directory), dict.fromkeys(("alice", "bob"), PASSWORD)) as im,
    ):
        wheel = _install()
        _provision(im)
        with Phone(ALICE, PASSWORD, (HOST, PORT)) as phone, XmppUser(BOB_XMPP, PASSWORD, (HOST, im.port)) as bob:
            _sign_on(phone)
            _talk(phone, bob, "hello")
            _kill_a_worker()
            _set_a_message_aside(phone)
            _talk(phone, bob, "the next one")
            _upgrade(wheel)
            _sign_on(phone)
    _stop()
    _uninstall()


def _install() -> Path:
    wheel = make_wheel(Path(tempfile.mkdtemp()))
    make_environment(PLACE, wheel, copy=True)
    run([str(PLACE / "bin/purplectl"), "install", *LISTEN])
    _quiet(["systemd-analyze", "verify", f"{NAME}.service"])
    run(["systemd-analyze", "security", f"--threshold={EXPOSURE}", f"{NAME}.service"])
    since = time.monotonic()
    run(["systemctl", "enable", "--now", NAME])
    _say("systemd is content with the unit, and the gateway told that it is ready", since)
    return wheel


def _quiet(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == "", done


def _provision(im: Prosody) -> None:
    _purplectl("user", "add", ALICE, "--password-stdin", text=f"{PASSWORD}\n")
    words = [word for name, value in im.account_options.items() for word in ("--option", f"{name}={value}")]
    _purplectl("account", "add", ALICE, "prpl-jabber", ALICE_XMPP, "--password-stdin", *words, text=f"{PASSWORD}\n")


def _sign_on(phone: Phone) -> None:
    assert phone.register().status == 200

    def is_online() -> bool:
        assert phone.publish(pidf(ALICE)).status == 200
        return _is_online()

    wait_until(is_online, 20, "the account is online")
    _say("a phone registers, and its account signs on")


def _talk(phone: Phone, bob: XmppUser, text: str) -> None:
    assert phone.message(BOB, text).status == 202
    assert bob.wait_message(lambda message: message.body == text, timeout=20)
    wait_until(lambda: not json.loads(_purplectl("queue", "list", "--waiting", "--json")), 10, "nothing waits")
    _say("a message reaches XMPP")


def _kill_a_worker() -> None:
    restarts, since = _restarts(), time.monotonic()
    processes = sorted(map(int, run(["pgrep", "--exact", "--uid", NAME, "kamailio"]).split()))
    os.kill(processes[1], signal.SIGKILL)  # the first is the main process, the next the first worker
    wait_until(lambda: _restarts() > restarts, 30, "systemd starts it again")
    wait_until(_is_online, 30, "the account is online again")
    _say("a worker is killed, and the account is online again", since)


def _set_a_message_aside(phone: Phone) -> None:
    """libpurple's crash comes from tests/faults."""
    shutil.copytree(PROJECT / "tests/faults", FAULTS)
    DROP_IN.parent.mkdir(parents=True)
    DROP_IN.write_text(f"[Service]\nEnvironment=PYTHONPATH={FAULTS}\n")
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "restart", NAME])
    _sign_on(phone)
    restarts, since = _restarts(), time.monotonic()
    assert phone.message(BOB, CRASHES).status == 202
    wait_until(lambda: json.loads(_purplectl("queue", "list", "--held", "--json")), 60, "it is set aside")
    wait_until(_is_online, 30, "the account is online again")
    assert _restarts() - restarts >= 2
    _say("a message that crashes libpurple is set aside after two crashes, and the account is online", since)
    _purplectl("queue", "drop", "--all", "--yes")
    DROP_IN.unlink()
    run(["systemctl", "daemon-reload"])
    assert phone.register().status == 200


def _upgrade(wheel: Path) -> None:
    CONFIG.write_text(CONFIG.read_text() + "# edited\n")
    install_wheel(PLACE, wheel)
    assert "edited" in run([str(PLACE / "bin/purplectl"), "install"])
    _purplectl("db", "upgrade")
    run(["systemctl", "restart", NAME])
    assert CONFIG.read_text().endswith("# edited\n")
    assert ALICE in _purplectl("user", "list")
    _say("an upgrade keeps users, accounts and what was edited")


def _stop() -> None:
    since = time.monotonic()
    run(["systemctl", "stop", NAME])
    assert _property("Result") == "success"
    assert _property("ExecMainStatus") == "0"
    _say("it stops", since)


def _uninstall() -> None:
    _purplectl("uninstall")
    assert CONFIG.exists()
    assert Path("/var/lib", NAME, "purple.db").exists()
    assert not Path("/etc/systemd/system", f"{NAME}.service").exists()
    _say("uninstall leaves the data and what was edited")


def _purplectl(*words: str, text: str = "") -> str:
    return run([str(PLACE / "bin/purplectl"), *words], text=text)


def _is_online() -> bool:
    done = subprocess.run(["purplectl", "status", "--json"], capture_output=True, text=True, check=False)
    return '"state": "online"' in done.stdout


def _restarts() -> int:
    return int(_property("NRestarts"))


def _property(name: str) -> Any:
    return run(["systemctl", "show", f"--property={name}", "--value", NAME]).strip()


def _say(what: str, since: float | None = None) -> None:
    took = f" ({time.monotonic() - since:.1f} s)" if since is not None else ""
    print(f"seen: {what}{took}", flush=True)


if __name__ == "__main__":
    main()
