"""``purplectl account test``: one sign-on in a process of its own (``purple_bridge.trial``), watched from here."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from purple_bridge.cli.account_arguments import Named, checked_name, found_account
from purple_bridge.cli.completion import complete_account, complete_protocol, complete_user
from purple_bridge.cli.options import (
    Given,
    SipUser,
    allowed_protocols,
    ca_dir,
    given_options,
    http_proxy,
    json_option,
    on_one_line,
    one_line_errors,
    open_engine,
    print_json,
    resolve,
)

GRACE_SECONDS = 3.5  # after the time limit, for a process that does not end by itself
LONGEST_LINE = 1 << 20
PACKAGE_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Spec:
    """What the process is asked to sign on."""

    protocol: str
    ext_user: str
    password: str | None
    options: dict[str, Any]


def _spec_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """USER PROTOCOL EXT_USER or --spec-stdin; the command gets ``spec``."""

    @click.argument("user", type=SipUser(), required=False, shell_complete=complete_user)
    @click.argument("protocol", required=False, shell_complete=complete_protocol)
    @click.argument("ext_user", required=False, shell_complete=complete_account)
    @click.option(
        "--spec-stdin",
        is_flag=True,
        help='Instead of a stored account: {"protocol", "ext_user", "password", "options"} as JSON from stdin.',
    )
    @wraps(command)
    def with_spec(*args: Any, given: Given, spec_stdin: bool, **rest: Any) -> None:
        words = [rest.pop(name) for name in ("user", "protocol", "ext_user")]
        if spec_stdin == any(words) or (not spec_stdin and not all(words)):
            raise click.UsageError("which account? Give USER PROTOCOL EXT_USER, or --spec-stdin alone")
        user, protocol, ext_user = words
        spec = _from_stdin() if spec_stdin else _stored(given, Named(user, protocol, checked_name(ext_user)))
        command(*args, given=given, spec=spec, **rest)

    return with_spec


@click.command("test")
@given_options
@_spec_arguments
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=60.0,
    metavar="SECONDS",
    help="How long the sign-on may take, 1 to 600. Default: 60.",
)
@json_option
def test_command(given: Given, spec: Spec, timeout: float, as_json: bool) -> None:
    """Sign an account on once, beside the running gateway, and say in words what happened; exit 1 if not online.

    Contacts do not see it, no message goes there, and the gateway's own session goes on. On XMPP it is another
    resource; networks that allow one session only may end the gateway's, which then comes back by itself.
    """
    proxy = http_proxy(given)
    order = {
        "protocol": spec.protocol,
        "ext_user": spec.ext_user,
        "password": spec.password,
        "options": spec.options,
        "timeout": timeout,
        "ca_dir": ca_dir(given),
        "http_proxy": proxy,
        "protocols": list(allowed_protocols(given)),
    }
    result = run_trial(order, timeout, lambda step: None if as_json else click.echo(f"{on_one_line(step)} …"))
    if as_json:
        print_json(result)
    else:
        click.echo(on_one_line(result["text"]))
    if not result["ok"]:
        sys.exit(1)


# --- the account ------------------------------------------------------------------------------------------


def _stored(given: Given, named: Named) -> Spec:
    settings = resolve(given)
    with one_line_errors(settings.db_url), open_engine(settings) as engine:
        account = found_account(engine, settings, named)
    if account.error:
        raise click.ClickException(f"{account.error}: see `purplectl account set`")
    return Spec(account.protocol, account.ext_user, account.password, dict(account.options))


def _from_stdin() -> Spec:
    try:
        fields = json.loads(click.get_binary_stream("stdin").read())  # UTF-8, whatever the locale
        spec = Spec(fields["protocol"], fields["ext_user"], fields.get("password"), fields.get("options") or {})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise click.UsageError("stdin: write a JSON object with protocol, ext_user, password and options") from None
    texts = isinstance(spec.protocol, str) and isinstance(spec.ext_user, str)
    if not texts or not isinstance(spec.password, str | None) or not isinstance(spec.options, dict):
        raise click.UsageError("stdin: protocol, ext_user and password are texts, options is an object")
    if wrong := [name for name, value in spec.options.items() if not isinstance(value, bool | int | str)]:
        raise click.UsageError(f"stdin: the option {wrong[0]} is neither text, number nor true/false")
    return Spec(spec.protocol, checked_name(spec.ext_user), spec.password, spec.options)


# --- the process ------------------------------------------------------------------------------------------


def run_trial(order: dict[str, Any], timeout: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """The fields of ``trial.Result``, within ``timeout`` and a few seconds; ``tell`` gets each step.

    ``order``: the fields of ``trial.Order``. It goes through a pipe: arguments and environment can be read by others.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "purple_bridge.trial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
        start_new_session=True,
    )
    try:
        for line in _lines(process, json.dumps(order).encode(), began + timeout + GRACE_SECONDS):
            if "step" in line:
                tell(str(line["step"]))
            elif isinstance(line.get("result"), dict):
                result: dict[str, Any] = line["result"]
                return result
        return _without_result(process, time.monotonic() - began)
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    paths = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {name: value for name, value in os.environ.items() if name != "PURPLE_DB_URL"}  # a password is in it
    return {**own, "PYTHONPATH": os.pathsep.join(paths)}


def _lines(process: subprocess.Popen[bytes], order: bytes, deadline: float) -> Iterator[dict[str, Any]]:
    """What the process writes, until it ends or the time is up; what is no line of JSON is left out."""
    assert process.stdin is not None  # noqa: S101 - for mypy
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(order)
        process.stdin.close()
    except BrokenPipeError:
        return
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk or len(pending) > LONGEST_LINE:
                return
            *complete, pending = (pending + chunk).split(b"\n")
            yield from filter(None, map(_decoded, complete))


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _without_result(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """It crashed, hangs, or could not start."""
    try:
        code: int | None = process.wait(0.3)
    except subprocess.TimeoutExpired:
        code = None
    if code is None or code == -signal.SIGALRM:
        reason, error = "timeout", "libpurple did not come back in time"
    elif code < 0:
        reason, error = "crash", f"libpurple crashed on what the server sent ({signal.Signals(-code).name})"
    else:
        reason, error = "other", f"the test could not run (exit code {code}): see `purplectl check`"
    detail = {"reason": reason, "error": error, "advice": "", "fatal": False}
    return {"ok": False, "seconds": round(seconds, 2), "text": f"not online: {error}", "detail": detail}


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it may have started."""
    if process.returncode is None:  # not waited for, so nobody else has its number
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
