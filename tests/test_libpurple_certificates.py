"""How often NSS is asked about a chain of certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from purple_bridge.libpurple import certificates
from tests.children import run_in_child
from tests.purple_client import PASSWORD, started, wait_error, wait_online, xmpp_account
from tests.servers.prosody import Prosody

NAMES = ("one", "two", "three")


def asked(port: int, authorities: str) -> list[int]:
    """After each sign-on; before the last one the minute is over."""
    started()
    certificates.trust_authorities(authorities)
    verified, calls, counts = certificates._verified, [0], []

    def counting(*given: Any) -> int:
        calls[0] += 1
        return verified(*given)

    certificates._verified = counting  # type: ignore[assignment]
    for name in NAMES:
        if name == NAMES[-1]:
            certificates._good_until = dict.fromkeys(certificates._good_until, 0.0)
        wait_online(xmpp_account(name, port))
        counts.append(calls[0])
    return counts


def refused_twice(port: int) -> list[str]:
    """Nobody stands behind the certificate."""
    texts = []
    recorder = started()
    for name in NAMES[:2]:
        recorder.errors.clear()
        xmpp_account(name, port)
        texts.append(wait_error(recorder)["text"])
    return texts


def test_a_valid_chain_is_remembered_for_a_while_and_no_other(tmp_path: Path) -> None:
    with Prosody(tmp_path, dict.fromkeys(NAMES, PASSWORD), tls=True) as prosody:
        assert prosody.ca_file is not None
        assert run_in_child(asked, prosody.port, str(prosody.ca_file.parent)) == [1, 1, 2]
        texts = run_in_child(refused_twice, prosody.port)
        assert [" is not known; its key is sha256:" in text for text in texts] == [True, True]
