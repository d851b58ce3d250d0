"""The wheel runs outside the checkout, and what `purplectl install` puts where: the real pip, Kamailio and systemd."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest

import purple_bridge
from purple_bridge.cli.main import cli, main
from purple_bridge.errors import ConfigurationError
from purple_bridge.installer.layout import Layout, option_line
from purple_bridge.installer.manual import command_page, config_page
from purple_bridge.installer.system import check_place
from purple_bridge.launcher.notify import notify
from purple_bridge.launcher.parameters import NUMBERS, STRINGS
from tests.agents.phone import Phone
from tests.installed import make_environment, make_wheel, run
from tests.servers.kamailio import PROJECT, Kamailio

CONFIG = "etc/kamailio-purple/kamailio.cfg"
OPTIONS = "etc/kamailio-purple/gateway.env"
UNIT = "etc/systemd/system/kamailio-purple.service"
EXPOSURE = 20  # tenths


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("build"))


def test_the_wheel_is_for_every_python_3(wheel: Path) -> None:
    assert wheel.name == f"kamailio_purple-{purple_bridge.__version__}-py3-none-any.whl"


def test_the_wheel_holds_everything(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert set(_wanted()) - set(held) == set()


def _wanted() -> Iterator[str]:
    """What is in the checkout, under the names that it has in the wheel."""
    for package in ("purple_bridge", "kemi"):
        for path in (PROJECT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".orig":
                yield str(path.relative_to(PROJECT))
    data = f"kamailio_purple-{purple_bridge.__version__}.data/data/share"
    for path in (PROJECT / "kamailio.cfg", *(PROJECT / "sql").rglob("*.sql")):
        yield f"{data}/kamailio-purple/{path.relative_to(PROJECT)}"
    for path in (path for path in (PROJECT / "docs").rglob("*.*") if path.is_file() and path.suffix != ".pyc"):
        yield f"{data}/doc/kamailio-purple/{path.relative_to(PROJECT / 'docs')}"
    yield f"kamailio_purple-{purple_bridge.__version__}.dist-info/licenses/LICENSE"


# ---------------------------------------------------------------- an environment with the wheel alone


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("opt") / "kamailio-purple"
    make_environment(place, wheel)
    return place


class InstalledGateway(Kamailio):
    """The environment's `purplectl run`, which makes its own database and tells a service manager that it is ready."""

    def __init__(self, directory: Path, environment: Path) -> None:
        super().__init__(directory, users={})
        self._purplectl = environment / "bin/purplectl"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(directory / "notify"))
        self._manager.settimeout(10)

    def prepare(self) -> None:
        """No tables: the first start makes them."""

    def environment(self) -> dict[str, str]:
        names = ("PATH", "LANG")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {**kept, "NOTIFY_SOCKET": str(self.directory / "notify")}

    def command(self) -> list[str]:
        return [str(self._purplectl), *super().command()[3:]]

    def purplectl(self, *words: str, text: str = "") -> str:
        command = [str(self._purplectl), *words, "--state-dir", str(self.state_dir)]
        return run(command, cwd=self.directory, environment=self.environment(), text=text)

    def told(self) -> str:
        """The next thing that the service manager was told."""
        return self._manager.recv(4096).decode()

    def close(self) -> None:
        self._manager.close()


def test_a_gateway_of_the_wheel_alone(environment: Path, tmp_path: Path) -> None:
    with InstalledGateway(tmp_path, environment) as gateway:
        assert gateway.told() == "READY=1"
        gateway.purplectl("user", "add", "sip:alice@example.org", "--password-stdin", text="secret\n")
        with Phone("sip:alice@example.org", "secret", (gateway.host, gateway.port)) as phone:
            assert phone.register().status == 200
        assert "fail" not in gateway.purplectl("check")
        assert "0 tables created" in gateway.purplectl("db", "create")
        assert str(PROJECT) not in (gateway.state_dir / "kamailio-run.cfg").read_text()
        gateway.send_signal(gateway.stop_signal)
        assert gateway.told() == "STOPPING=1"
        assert gateway.wait_end() == 0
    gateway.close()


def test_without_a_service_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


def test_a_service_manager_with_an_address_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind("")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + manager.getsockname()[1:].decode())
        notify("READY=1", "STATUS=fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"


# ---------------------------------------------------------------- purplectl install


def _install(root: Path, *options: str, command: str = "install") -> dict[str, str]:
    """What was done: path -> action. Raises Refused."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        main([command, "--root", str(root), "--json", *options])
    if end.value.code:
        raise Refused(errors.getvalue())
    return {step["path"]: step["action"] for step in json.loads(output.getvalue())["files"]}


class Refused(Exception):
    """With what stood on stderr."""


LISTEN = ("--listen", "udp:192.0.2.10:5060", "--listen", "tcp:192.0.2.10:5060", "--domain", "example.org")


def test_systemd_is_content_with_the_unit(tmp_path: Path) -> None:
    _install(tmp_path, *LISTEN)
    unit = str(tmp_path / UNIT)
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit])


def test_the_service_is_what_the_gateway_counts_on(tmp_path: Path) -> None:
    """It drains its workers before it ends them, and sets a message aside at its third start."""
    _install(tmp_path)
    lines = (tmp_path / UNIT).read_text().splitlines()
    for line in ("KillMode=mixed", "Type=notify", "Restart=always", "StartLimitIntervalSec=0", "UMask=0077"):
        assert line in lines


def test_everything_is_put_in_place(tmp_path: Path) -> None:
    steps = _install(tmp_path, *LISTEN, "--web", "127.0.0.1:8088")
    assert set(steps.values()) == {"created"}
    assert (tmp_path / CONFIG).read_bytes() == (PROJECT / "kamailio.cfg").read_bytes()
    assert (tmp_path / "etc/kamailio-purple/gateway.py").read_bytes() == (PROJECT / "kemi/gateway.py").read_bytes()
    assert f'PURPLE_OPTIONS="{" ".join(LISTEN)} --web 127.0.0.1:8088"' in (tmp_path / OPTIONS).read_text()
    assert (tmp_path / OPTIONS).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "usr/local/bin/purplectl").readlink() == Path(sys.prefix) / "bin/purplectl"
    run(["systemd-sysusers", "--dry-run", str(tmp_path / "etc/sysusers.d/kamailio-purple.conf")])
    run(["bash", "-n", str(tmp_path / "usr/local/share/bash-completion/completions/purplectl")])


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    assert set(_install(tmp_path, "--dry-run").values()) == {"created"}
    assert not list(tmp_path.iterdir())


def test_again_changes_nothing(tmp_path: Path) -> None:
    _install(tmp_path, *LISTEN)
    before = _contents(tmp_path)
    assert set(_install(tmp_path).values()) == {"unchanged"}
    assert _contents(tmp_path) == before


def test_options_that_are_given_replace_those_alone(tmp_path: Path) -> None:
    _install(tmp_path, *LISTEN)
    assert _install(tmp_path, "--domain", "example.net", "--user", "im")[f"/{OPTIONS}"] == "replaced"
    text = (tmp_path / OPTIONS).read_text()
    assert "--listen udp:192.0.2.10:5060" in text
    assert "example.net" in text
    assert "example.org" not in text
    assert "User=im" in (tmp_path / UNIT).read_text()


def test_tls_with_files_that_come_later(tmp_path: Path) -> None:
    files = ("--certificate", "/etc/x/cert.pem", "--private-key", "/run/credentials/kamailio-purple.service/key.pem")
    _install(tmp_path, *LISTEN, "--listen", "tls:192.0.2.10:5061", *files)
    assert "--listen tls:192.0.2.10:5061" in (tmp_path / OPTIONS).read_text()
    assert " ".join(files) in (tmp_path / OPTIONS).read_text()


def test_an_upgrade_replaces_what_nobody_has_edited(tmp_path: Path) -> None:
    _install(tmp_path)
    _as_if_shipped_before(tmp_path, CONFIG, "an older one\n")
    assert _install(tmp_path)[f"/{CONFIG}"] == "replaced"
    assert (tmp_path / CONFIG).read_bytes() == (PROJECT / "kamailio.cfg").read_bytes()


def test_an_upgrade_keeps_what_was_edited(tmp_path: Path) -> None:
    _install(tmp_path)
    (tmp_path / CONFIG).write_text("mine\n")
    (tmp_path / CONFIG).chmod(0o640)
    assert _install(tmp_path)[f"/{CONFIG}"] == "edited"
    _as_if_shipped_before(tmp_path, CONFIG, "an older one\n")
    (tmp_path / CONFIG).write_text("mine\n")
    assert _install(tmp_path)[f"/{CONFIG}"] == "beside"
    assert (tmp_path / CONFIG).read_text() == "mine\n"
    assert (tmp_path / CONFIG).stat().st_mode & 0o777 == 0o640
    assert (tmp_path / f"{CONFIG}.new").read_bytes() == (PROJECT / "kamailio.cfg").read_bytes()
    assert _install(tmp_path)[f"/{CONFIG}"] == "edited"


def test_an_upgrade_removes_what_is_not_shipped_any_more(tmp_path: Path) -> None:
    _install(tmp_path)
    (tmp_path / "etc/old").write_text("")
    _as_if_shipped_before(tmp_path, "etc/old", "of before\n")
    assert _install(tmp_path)["/etc/old"] == "removed"
    assert not (tmp_path / "etc/old").exists()


def _as_if_shipped_before(root: Path, path: str, text: str) -> None:
    """As an earlier version would have left it."""
    (root / path).write_text(text)
    manifest = root / "usr/local/lib/kamailio-purple/kamailio-purple.json"
    values = json.loads(manifest.read_text())
    values["files"][f"/{path}"] = _digest(text)
    manifest.write_text(json.dumps(values))


def _digest(text: str) -> str:
    return run(["sha256sum"], text=text).split()[0]


def test_uninstall_leaves_the_data_and_what_was_edited(tmp_path: Path) -> None:
    _install(tmp_path)
    (tmp_path / CONFIG).write_text("mine\n")
    data = tmp_path / "var/lib/kamailio-purple/purple.db"
    data.parent.mkdir(parents=True)
    data.write_text("data")
    steps = _install(tmp_path, command="uninstall")
    assert steps.pop(f"/{CONFIG}") == "left"
    assert set(steps.values()) == {"removed"}
    assert _contents(tmp_path) == {CONFIG: "mine\n", "var/lib/kamailio-purple/purple.db": "data"}


def test_two_gateways_on_one_machine(tmp_path: Path) -> None:
    _install(tmp_path, *LISTEN)
    second = ("--prefix", "/etc/purple-lab")
    created = {path for path, action in _install(tmp_path, *second, "--user", "lab").items() if action == "created"}
    assert created == {
        *(f"/etc/purple-lab/{name}" for name in ("kamailio.cfg", "gateway.py", "gateway.env")),
        *("/etc/systemd/system/purple-lab.service", "/etc/sysusers.d/lab.conf"),
    }
    assert "StateDirectory=purple-lab\n" in (tmp_path / "etc/systemd/system/purple-lab.service").read_text()
    assert set(_install(tmp_path, *second, command="uninstall")) == created
    assert set(_install(tmp_path).values()) == {"unchanged"}


def _contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen", "udp:0.0.0.0:5060"), "name the address that phones reach this server under"),
        (("--listen", "tcp:192.0.2.10:5060"), "at least one udp listener"),
        (("--listen", "udp:192.0.2.10:5060", "--web", "tls:192.0.2.10:8443"), "needs --certificate"),
        (("--domain", "example.org --no-auth"), "a service has no use"),
        (("--user", "root"), "name a user of its own"),
        (("--user", "a b"), "name a user of its own"),
        (("--prefix", "etc/x"), "write /etc/NAME"),
        (("--prefix", "/etc/kamailio"), "that is Kamailio's own"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refused, match=rf"\Apurplectl: .*{re.escape(said)}.*\n\Z"):
        _install(tmp_path, *options)
    assert not list(tmp_path.iterdir())


def test_the_service_must_see_the_environment(tmp_path: Path) -> None:
    for hidden in ("/root/venv/bin/purplectl", "/home/me/venv", "/tmp/venv"):
        with pytest.raises(ConfigurationError, match=r"a service does not see .*/opt"):
            check_place((Path(hidden),))
    check_place((Path("/usr/bin/python3"),))


def test_the_service_must_be_able_to_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purple_bridge.installer.system.HIDDEN", ())
    (tmp_path / "mine").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="only its owner may enter"):
        check_place((tmp_path / "mine/venv",))


def test_names_that_systemd_or_a_shell_would_read_otherwise() -> None:
    for name in ("/etc/Upper", "/etc/x@y", "/etc/a b", "/", "/etc/../x%n"):
        with pytest.raises(ConfigurationError, match="--prefix"):
            Layout(Path(name), "im")
    for value in ("a b", "$(x)", '"', "%n", "a\nb", "\\"):
        with pytest.raises(ConfigurationError):
            option_line({"domain": [value]})
    assert option_line({"listen": ["udp:[2001:db8::1]:5060"], "web": []}) == "--listen udp:[2001:db8::1]:5060"


# ---------------------------------------------------------------- the man pages


def test_the_page_has_every_command_and_option() -> None:
    page = command_page(cli, "purplectl", "1")
    wanted = list(_commands(cli, "purplectl"))
    assert len(wanted) > 15
    for path, options in wanted:
        section = page.partition(f"\n.SS {path} ")[2].partition("\n.SS ")[0]
        assert section, path
        terms = " ".join(re.findall(r"^\.TP\n(.*)", section, re.MULTILINE))
        assert [option for option in options if option.replace("-", "\\-") not in terms] == []


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, list[str]]]:
    """Path without the program's name -> options, of whatever is no group."""
    if isinstance(command, click.Group):
        for each in command.commands or command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), each)
            assert below
            for path, options in _commands(below, each):
                yield path if command is cli else f"{name} {path}", options
    else:
        shown = (each for each in command.params if isinstance(each, click.Option) and not each.hidden)
        yield name, [word for each in shown for word in each.opts]


def test_the_page_has_every_parameter() -> None:
    page = config_page((PROJECT / "kamailio.cfg").read_text(), "1")
    documented = re.findall(r"^\\fBpurple\.(\w+) = ", page, re.MULTILINE)
    assert sorted(documented) == sorted((*STRINGS, *NUMBERS))
    assert 'purple.queue = "offline"' in page


def test_man_is_content_with_the_pages(tmp_path: Path) -> None:
    _install(tmp_path)
    for name in ("man8/purplectl.8", "man5/kamailio-purple.5"):
        command = ["man", "--warnings", "-l", str(tmp_path / "usr/local/share/man" / name)]
        shown = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"},
        )
        assert shown.stderr == ""
        assert "kamailio-purple" in shown.stdout
