"""`purplectl run` and `purplectl check` on the real Kamailio: start, refusals, every way to end, no leftovers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.environment import shared_megabytes
from purple_bridge.launcher.listeners import Listener, parse_listener
from purple_bridge.launcher.parameters import SHIPPED, define_lines, parse_settings, read_config, read_fixed
from purple_bridge.launcher.runner import DRAIN_SECONDS, _drain
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.launcher.versions import Kamailio as InstalledKamailio
from purple_bridge.launcher.versions import check_version
from purple_bridge.launcher.wrapper import INTERNAL_RECEIVERS, Run
from tests.agents.phone import Phone, pidf
from tests.purplectl import run_purplectl
from tests.servers.kamailio import PROJECT, PURPLECTL, Kamailio
from tests.waiting import free_port, wait_until


def start_in(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`purplectl run` that is expected to refuse."""
    listen = () if "--listen" in arguments else ("--listen", f"udp:127.0.0.1:{free_port()}")
    return run_purplectl("run", "--state-dir", str(directory), *listen, *arguments)


def processes_of(kamailio: Kamailio) -> list[int]:
    """Process ids that the launcher started: their HOME is the state directory."""
    home = f"HOME={kamailio.state_dir}".encode()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and home in _environ(entry)]


def _environ(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def can_bind(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if kind is socket.SOCK_STREAM else 0)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def nothing_is_left(kamailio: Kamailio) -> bool:
    ports_are_free = (
        can_bind(kamailio.port, socket.SOCK_DGRAM)
        and can_bind(kamailio.port, socket.SOCK_STREAM)
        and can_bind(kamailio.internal_port, socket.SOCK_DGRAM)
    )
    return ports_are_free and not processes_of(kamailio)


def sockets_of(kamailio: Kamailio) -> list[Path]:
    return [path for path in (kamailio.state_dir / "run").iterdir() if path.is_socket()]


@pytest.fixture
def kamailio(tmp_path: Path) -> Iterator[Kamailio]:
    with Kamailio(tmp_path, users={"alice": "a-secret", "bob": "b-secret"}) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    """For tests that only look."""
    with Kamailio(tmp_path_factory.mktemp("running"), users={"alice": "a-secret"}) as server:
        yield server


@pytest.fixture
def phone(kamailio: Kamailio) -> Iterator[Callable[[str], Phone]]:
    phones: list[Phone] = []

    def make(user: str) -> Phone:
        phones.append(Phone(f"sip:{user}@{kamailio.domain}", f"{user[0]}-secret", ("127.0.0.1", kamailio.port)))
        return phones[-1]

    yield make
    for made in phones:
        made.close()


# ---- start and end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_everything(kamailio: Kamailio, number: signal.Signals) -> None:
    assert len(processes_of(kamailio)) >= kamailio.workers
    kamailio.send_signal(number)
    assert kamailio.wait_end(10) == 0
    assert nothing_is_left(kamailio)
    assert sockets_of(kamailio) == []
    assert kamailio.log_path.read_text() == "ready\n"


def test_ready_means_that_sip_and_every_worker_answer(running: Kamailio) -> None:
    with Phone(f"sip:alice@{running.domain}", "a-secret", ("127.0.0.1", running.port)) as phone:
        assert phone.options().status == 200
    ranks = [process["rank"] for process in running.processes() if process["description"].startswith("udp")]
    assert ranks == list(range(1, 1 + running.workers + INTERNAL_RECEIVERS + 1))
    internal = [one["rank"] for one in running.processes() if f":{running.internal_port}" in one["description"]]
    assert internal == ranks[running.workers : -1], "behind libpurple's, in front of the phones'"
    assert {f"worker-{number}.sock" for number in (1, 2)} <= {path.name for path in sockets_of(running)}


def test_an_address_that_is_no_listeners_is_this_server_too(tmp_path: Path) -> None:
    """As behind a router; loopback's are believed more than others, so those are not."""
    options = ["--domain", "127.0.0.1", "--domain", "127.0.0.9"]
    with Kamailio(tmp_path, "192.0.2.7", users={"alice": "a-secret"}, options=options) as server:
        wrapper = (server.state_dir / "kamailio-run.cfg").read_text()
        assert re.findall(r"^alias=(.*)$", wrapper, re.MULTILINE) == ['"192.0.2.7"']
        with Phone("sip:alice@192.0.2.7", "a-secret", ("127.0.0.1", server.port)) as phone:
            assert phone.register().status == 200
            assert phone.message(phone.aor, "to myself").status == 200
            assert phone.wait_message().text == "to myself"


def test_killed_launcher_leaves_nothing(kamailio: Kamailio) -> None:
    kamailio.send_signal(signal.SIGKILL)
    kamailio.wait_end(5)
    wait_until(lambda: nothing_is_left(kamailio), 10, "processes and ports are gone")


def test_death_of_main_ends_everything(kamailio: Kamailio) -> None:
    os.kill(kamailio.processes()[0]["pid"], signal.SIGKILL)
    assert kamailio.wait_end(10) == 1
    assert nothing_is_left(kamailio)
    assert "died" in kamailio.log_path.read_text()


@pytest.mark.parametrize("number", [1, 2])
def test_death_of_a_worker_ends_everything_and_is_named(kamailio: Kamailio, number: int) -> None:
    pid = kamailio.worker_pid(number)
    kamailio.kill_worker(number)
    assert kamailio.wait_end(10) == 1
    assert nothing_is_left(kamailio)
    assert sockets_of(kamailio) == []
    assert f"worker {number} (process {pid}) died" in kamailio.log_path.read_text()


def test_workers_that_hang_are_killed(kamailio: Kamailio) -> None:
    os.kill(kamailio.worker_pid(1), signal.SIGSTOP)
    kamailio.send_signal(signal.SIGTERM)
    assert kamailio.wait_end(10) == 0
    assert nothing_is_left(kamailio)


def test_registrations_and_presence_survive_a_restart(kamailio: Kamailio, phone: Callable[[str], Phone]) -> None:
    alice, bob = phone("alice"), phone("bob")
    assert bob.register().status == 200
    assert bob.publish(pidf(bob.aor, note="here")).status == 200
    kamailio.restart()
    assert alice.message(bob.aor, "after the restart").status == 200
    assert bob.wait_message().text == "after the restart"
    watched = alice.subscribe(bob.aor).wait_notify()
    assert watched.presence is not None
    assert watched.presence.notes == ("here",)


# ---- refusals, each one line that says what to do


def test_second_gateway_on_the_state_directory_is_refused(running: Kamailio) -> None:
    refused = start_in(running.state_dir)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"in use by another gateway (process {running.pid})" in refused.stderr
    assert running.running


def test_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listener = f"udp:127.0.0.1:{taken.getsockname()[1]}"
        refused = start_in(tmp_path, "--listen", listener)
    assert refused.returncode == 1
    assert f"{listener}: Address already in use" in refused.stderr


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("purple.connect_on=never", "purple.connect_on"),
        ("purple.authorize=perhaps", "purple.authorize"),
        ("purple.db_table=a b", "purple.db_table"),
        ("purple.httpProxy_port=70000", "purple.httpProxy_port"),
        ("purple.db_url=oracle://x/y", "purple.db_url"),
        ("purple.workers=0", "purple.workers"),
    ],
)
def test_wrong_value_stops_the_start_and_is_named(tmp_path: Path, setting: str, names: str) -> None:
    refused = start_in(tmp_path, "--set", setting)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert names in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "purple.nosuch=1"], "db_url, db_table"),
        (["--set", "nosuch"], "purple.NAME=VALUE"),
        (["--set", "purple.workers=many"], "purple.workers"),
        (["--set", "purple.db_table=a\nb"], "control characters"),
        (["--listen", "udp:0.0.0.0:5060"], "name the address"),
        (["--listen", "tcp:127.0.0.1:5060"], "udp"),
        (["--domain", "sip:example.org"], "example.org"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], says: str) -> None:
    refused = start_in(tmp_path, *arguments)
    assert refused.returncode == 2
    assert says in refused.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [("this is no configuration\n", "parse error"), ('loadmodule "nosuch.so"\n', "could not find module <nosuch>")],
)
def test_configuration_that_kamailio_refuses(tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "own.cfg"
    config.write_text(text)
    refused = start_in(tmp_path / "state", "--config", str(config))
    assert refused.returncode == 1
    assert str(config) in refused.stderr
    assert says in refused.stderr


def test_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"mysql://kamailio:s3cret@127.0.0.1:{free_port()}/kamailio"
    refused = start_in(tmp_path, "--db-url", url)
    assert refused.returncode == 1
    assert "mysql://kamailio:***@127.0.0.1" in refused.stderr
    assert "s3cret" not in refused.stderr + refused.stdout


# ---- values that kamailio.cfg itself has


def edited(directory: Path, name: str, literal: str) -> Path:
    """The shipped kamailio.cfg with a value of its own for one parameter."""
    config = directory / "edited.cfg"
    text = (PROJECT / "kamailio.cfg").read_text()
    config.write_text(re.sub(rf"^purple\.{name} = \w+", f"purple.{name} = {literal}", text, flags=re.MULTILINE))
    return config


@pytest.mark.parametrize(
    ("name", "literal", "arguments"),
    [
        ("workers", "1", ["--workers", "2"]),
        ("queue_ttl", "60", ["--set", "purple.queue_ttl=70"]),
        ("db_url", '"mysql://k:s3cret@h/d"', ["--db-url", "sqlite:////nowhere/purple.db"]),
        ("web", '"127.0.0.1:8080"', ["--web", "127.0.0.1:8081"]),
        ("auth", "1", ["--no-auth"]),
        ("state_dir", '"/nowhere/state"', []),
    ],
)
def test_an_option_that_would_not_count_is_refused(
    tmp_path: Path, name: str, literal: str, arguments: list[str]
) -> None:
    """What stands in the file itself wins over the launcher's defines."""
    config = edited(tmp_path, name, literal)
    refused = start_in(tmp_path / "state", "--config", str(config), *arguments)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"purplectl: purple.{name}: {config} has another value")
    assert refused.stderr.count("\n") == 1
    assert "s3cret" not in refused.stderr


def test_an_option_does_not_win_over_a_redefinition(tmp_path: Path) -> None:
    config = tmp_path / "own.cfg"
    config.write_text(f'#!redefine PURPLE_WORKERS 1\ninclude_file "{PROJECT}/kamailio.cfg"\n')
    refused = start_in(tmp_path / "state", "--config", str(config), "--workers", "2")
    assert f"purple.workers: {config} has another value" in refused.stderr


class FromFile(Kamailio):
    """Without the options that its kamailio.cfg stands in for."""

    def command(self) -> list[str]:
        words = super().command()
        start = words.index("--state-dir")
        assert words[start + 2 : start + 4] == ["--workers", "1"]
        return [*words[:start], *words[start + 4 :]]


def test_the_file_says_what_no_option_says(tmp_path: Path) -> None:
    config = edited(tmp_path, "state_dir", f'"{tmp_path}/state"')
    config.write_text(config.read_text().replace("purple.workers = PURPLE_WORKERS", "purple.workers = 1"))
    options = ["--config", str(config), "--set", "purple.workers=1"]
    with FromFile(tmp_path, workers=1, users={"alice": "a-secret"}, options=options) as server:
        assert [path.name for path in sockets_of(server) if path.name.startswith("worker")] == ["worker-1.sock"]
        with Phone(f"sip:alice@{server.domain}", "a-secret", ("127.0.0.1", server.port)) as phone:
            assert phone.register().status == 200


# ---- secrets


def test_database_url_is_in_private_files_only(running: Kamailio) -> None:
    for path in (running.state_dir / "kamailio-run.cfg", running.state_dir / "settings.json"):
        assert running.db_url in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for pid in processes_of(running):
        assert running.db_url not in Path(f"/proc/{pid}/cmdline").read_text()
        assert running.db_url.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_sockets_are_private(running: Kamailio) -> None:
    assert stat.S_IMODE((running.state_dir / "run").stat().st_mode) == 0o700
    for name in ("rpc.sock", "ctl.sock"):
        assert stat.S_IMODE((running.state_dir / "run" / name).stat().st_mode) == 0o600


# ---- check


def test_check_of_a_running_gateway(running: Kamailio) -> None:
    checked = run_purplectl("check", "--json", "--state-dir", str(running.state_dir), PURPLE_DB_URL=running.db_url)
    findings = json.loads(checked.stdout)
    assert checked.returncode == 0, checked.stdout
    assert {finding["level"] for finding in findings} == {"ok"}
    subjects = {finding["subject"] for finding in findings}
    assert {"kamailio", "modules", "python", "libpurple", "plugins", "database", "permissions"} <= subjects


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "settings.json").write_text("{}")
    (state / "settings.json").chmod(0o644)
    url = f"postgres://kamailio:s3cret@127.0.0.1:{free_port()}/kamailio"
    checked = run_purplectl("check", "--state-dir", str(state), "--db-url", url)
    assert checked.returncode == 1
    assert "fail  database: postgres://kamailio:***@127.0.0.1" in checked.stdout
    assert "fail  permissions" in checked.stdout
    assert "s3cret" not in checked.stdout + checked.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy whose kamailio.cfg names a database that does not answer; it has not been started yet."""
    directory = tmp_path / "checkout"
    shutil.copytree(PROJECT / "purple_bridge", directory / "purple_bridge")
    url = f"postgres://kamailio:s3cret@127.0.0.1:{free_port()}/kamailio"
    edited(tmp_path, "db_url", f'"{url}"').rename(directory / "kamailio.cfg")
    return directory


def check_in(checkout: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", PURPLECTL, "check", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False)
    assert "s3cret" not in done.stdout + done.stderr
    return done.stdout


def test_check_before_the_first_start_goes_by_kamailio_cfg(checkout: Path, tmp_path: Path) -> None:
    asked = "fail  database: postgres://kamailio:***@127.0.0.1"
    assert asked in check_in(checkout)
    other = f"sqlite:///{tmp_path}/other.db"
    assert f"warn  database: {other} does not exist yet" in check_in(checkout, "--db-url", other)
    (checkout / "state").mkdir()
    (checkout / "state" / "settings.json").write_text(json.dumps({"db_url": other}))
    assert f"warn  database: {other} does not exist yet" in check_in(checkout), "as at the last start"
    assert asked in check_in(checkout, "--config", str(checkout / "kamailio.cfg"))


def test_check_finds_the_state_directory_that_kamailio_cfg_names(tmp_path: Path) -> None:
    config = edited(tmp_path, "state_dir", f'"{tmp_path}/named"')
    checked = run_purplectl("check", "--config", str(config))
    assert f"permissions: {tmp_path}/named does not exist yet" in checked.stdout


# ---- parts that need no server


def test_all_workers_are_asked_to_write_down_at_once(tmp_path: Path) -> None:
    """None of them waits for another, and all together have one limit."""
    state = StateDirectory(tmp_path)
    state.create()
    run = Run(tmp_path, tmp_path, state, (), (), {"workers": "4"})
    with ExitStack() as stack:
        workers = [stack.enter_context(_listening(state.worker_socket(number))) for number in range(1, 5)]
        drain = threading.Thread(target=_drain, args=(run,))
        began = time.monotonic()
        drain.start()
        asked = [stack.enter_context(worker.accept()[0]) for worker in reversed(workers)]
        assert [json.loads(one.recv(1000))["command"] for one in asked] == ["drain"] * 4
        assert time.monotonic() - began < DRAIN_SECONDS / 2
        for one in asked[:3]:
            one.sendall(b"{}\n")
        drain.join(2 * DRAIN_SECONDS)  # the fourth never answers
        assert not drain.is_alive()


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.settimeout(20)
        listener.bind(str(path))
        listener.listen()
        yield listener


@pytest.mark.parametrize("version", [(5, 6, 0), (5, 6, 3), (5, 7, 9), (6, 0, 1), (6, 1, 0)])
def test_versions_that_run(version: tuple[int, int, int]) -> None:
    check_version(InstalledKamailio("kamailio", version, ()))


@pytest.mark.parametrize("version", [(5, 5, 9), (5, 8, 0), (5, 8, 4), (6, 0, 0)])
def test_versions_that_are_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"\.".join(map(str, version))):
        check_version(InstalledKamailio("kamailio", version, ()))


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("udp:127.0.0.1:5060", Listener("udp", "127.0.0.1", 5060)),
        ("TCP:sip.Example.org:5062", Listener("tcp", "sip.example.org", 5062)),
        ("udp:[::1]:5060", Listener("udp", "[::1]", 5060)),
    ],
)
def test_listeners(text: str, listener: Listener) -> None:
    assert parse_listener(text) == listener


@pytest.mark.parametrize("text", ["", "udp", "udp:host", "sctp:host:5060", "udp:host:0", "udp:host:65536", "udp:a b:1"])
def test_what_is_no_listener(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--listen"):
        parse_listener(text)


def test_define_lines_quote_what_kamailio_would_read_as_syntax() -> None:
    values = parse_settings(['purple.db_url=mysql://a:"b\\c@h/d', "purple.workers=3"])
    assert define_lines(values) == [
        r'#!define PURPLE_DB_URL "mysql://a:\"b\\c@h/d"',
        "#!define PURPLE_WORKERS 3",
    ]


def test_parameters_written_into_a_config_are_read() -> None:
    text = (
        '#!define PURPLE_DB_URL "mysql://a:b\\"c@h/d"\n#!trydef PURPLE_HTTPPROXY_HOST "proxy.example"\n'
        'purple.workers = 4 desc "…"\n  purple.gateway_domain="gw.example.net" desc ""\n'
    )
    assert read_config(text) == {
        "db_url": 'mysql://a:b"c@h/d',
        "httpProxy_host": "proxy.example",
        "workers": "4",
        "gateway_domain": "gw.example.net",
    }


def test_parameters_that_the_file_itself_fixes() -> None:
    text = (
        '#!define PURPLE_QUEUE_TTL 1\n#!trydef PURPLE_AVATARS "inline"\n#!redef PURPLE_QUEUE "always"\n'
        'purple.gateway_domain = "im.localdomain"\npurple.workers = PURPLE_WORKERS\n/*\npurple.auth = 0\n*/\n'
        '#!ifdef WITH_DEBUG\n#!ifndef X\n#!endif\npurple.log_level = "debug"\n#!endif\n# purple.user_rate = 1\n'
    )
    assert read_fixed(text) == {"queue": "always", "gateway_domain": "im.localdomain"}
    assert read_config(text)["gateway_domain"] == "im.localdomain", "although a define with it would not count"


def test_the_shipped_defaults_are_those_of_kamailio_cfg() -> None:
    """Else the launcher would take a default for an operator's own setting."""
    shipped = read_config((PROJECT / "kamailio.cfg").read_text())
    assert not shipped.keys() & SHIPPED.keys()


@pytest.mark.parametrize(
    ("tcp", "machine", "megabytes"), [(False, 32_000, 512), (True, 32_000, 1280), (True, 1024, 512), (False, 512, 256)]
)
def test_shared_memory_is_what_the_machine_can_give(tcp: bool, machine: int, megabytes: int) -> None:
    assert shared_megabytes(tcp, machine) == megabytes
