"""One gateway in one Kamailio: what is made before the fork, and what each worker process starts after it."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import __version__, acknowledged, app_python3, logs, metrics
from purple_bridge.accepted import SECONDS, Accepted
from purple_bridge.custom_parameters import read_group
from purple_bridge.db import contacts, presence_server, queue, silo
from purple_bridge.db.engine import make_engine
from purple_bridge.db.key_file import read_keys
from purple_bridge.db.mapping import DatabaseUnavailable, Mapping
from purple_bridge.db.passwords import load_library
from purple_bridge.errors import ConfigurationError
from purple_bridge.functions import PurpleFunctions
from purple_bridge.guesses import Guesses
from purple_bridge.kamailio_rls import repair_rls
from purple_bridge.kamailio_sqlite import make_sqlite_wait
from purple_bridge.kamailio_tls import repair_tls
from purple_bridge.kept_users import KeptUsers
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.libpurple import core
from purple_bridge.live import LiveSettings
from purple_bridge.meter import Meter
from purple_bridge.settings import Settings, read_settings
from purple_bridge.shared import Shared
from purple_bridge.turns import Turns
from purple_bridge.worker.thread import LoopThread
from purple_bridge.worker.uac import open_socket
from purple_bridge.worker.worker import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SharedWithRoutes:
    """What the shipped route script knows of the gateway. ``live``: the parameters as they are now.

    ``rows_generation``: another number whenever rows of the mapping or SIP users were changed; 0: nobody has looked.
    ``relay_turns``: by user, for who relays to several phones. ``guesses``: wrong passwords.
    """

    live: LiveSettings
    rows_generation: Callable[[], int]
    relay_turns: Turns
    guesses: Guesses


class Runtime:
    """Made once, in the parent, by ``install``; lives on through reloads of the script."""

    current: Runtime | None = None

    def __init__(self, ksr: Any) -> None:
        """Raises ConfigurationError: Kamailio then logs it and does not start."""
        self.settings = read_settings(read_group("purple").get)
        logs.follow(self.settings.log_level, self.settings.log_bodies)
        self._kamailio = str(ksr.pv.get("$version(num)"))
        app_python3.check_version(app_python3.version_of(self._kamailio), app_python3.threads_mode())
        self._native_threads = app_python3.threads_mode() == 1
        if self._native_threads:
            app_python3.forbid_reload()
        repair_rls()
        repair_tls()
        if self.settings.db_url.startswith("sqlite:"):
            make_sqlite_wait()
        _check_keys(self.settings)
        _check_database(self.settings)
        check_readable_authorities(self.settings.ca_dir)
        _announce(self.settings)
        self._resource = _resource(Path(self.settings.state_dir))
        self._shared = Shared.make(self.settings.workers)
        _remember_accepted(self.settings, self._shared.accepted)
        _erase_acknowledged(self.settings)
        _remember_kept(self.settings, self._shared.kept_users)
        _check_contacts(self.settings)
        _forget_publications(self.settings)
        self._sockets = _open_sockets(self.settings)
        own = frozenset(opened.getsockname()[:2] for opened in self._sockets)
        metrics.serve_from(self.settings.state_dir)
        self.functions = PurpleFunctions(ksr, self.settings, self._shared, own)
        app_python3.on_child_init(self._child_init)
        _share_objects()

    def shared_with_routes(self) -> SharedWithRoutes:
        live = LiveSettings(self.settings, self._shared.live, lambda now: logs.follow(now.log_level, now.log_bodies))
        shared = self._shared
        return SharedWithRoutes(live, shared.board.rows_generation, shared.relay_turns, shared.guesses)

    def _child_init(self, rank: int) -> bool:
        """In every SIP worker; those of rank 1 to purple.workers run a libpurple, and then it is True."""
        logs.set_up(f"worker {rank}", self.settings.log_level, self.settings.log_bodies)
        meter = Meter.open(metrics.directory(self.settings.state_dir), f"sip-{rank}")
        self.functions.open_database(rank, meter)
        if rank > self.settings.workers:
            return False
        worker = Worker(self.settings, rank, self._shared, self._resource, self._sockets[rank - 1])
        LoopThread(worker).start()
        if rank == 1:
            metrics.describe(meter, __version__, self._kamailio, core.version(), self.settings.workers)
        keep_state = app_python3.let_threads_run(self._native_threads)
        logger.info("libpurple is up")
        return keep_state


def _share_objects() -> None:
    """All that is there lives as long as Kamailio: the collector of each process would write to it, and so copy it."""
    gc.collect()
    gc.freeze()


def shared_with_routes() -> SharedWithRoutes:
    """For one process. Raises RuntimeError before ``install``."""
    if Runtime.current is None:
        raise RuntimeError("purple_bridge.install comes first")
    return Runtime.current.shared_with_routes()


def install(ksr: Any) -> None:
    """Add ``KSR.purple`` to Kamailio's KEMI object; call it in the script's mod_init, also when it is reloaded."""
    logs.set_up("main")
    try:
        if Runtime.current is None:
            Runtime.current = Runtime(ksr)
        else:
            app_python3.script_is_reloaded()
    except ConfigurationError as error:
        logger.error("%s", error)
        raise
    ksr.purple = Runtime.current.functions


def _announce(settings: Settings) -> None:
    """What ``purplectl --state-dir`` finds this gateway by, also where the launcher has not started it."""
    state = StateDirectory(Path(settings.state_dir))
    state.create()
    names = ("db_url", "db_table", "state_dir", "rpc_socket", "internal", "web", "key_file")
    values = {name: str(getattr(settings, name)) for name in names}
    proxy = {"httpProxy_host": settings.http_proxy_host, "httpProxy_port": str(settings.http_proxy_port)}
    place = {"run_dir": str(state.run), "log_file": logs.file_of(), "ca_dir": settings.ca_dir}
    place["protocols"] = ",".join(settings.protocols)
    own = {**values, **proxy, **place, "gateway_domain": settings.gateway.domain}
    state.write_settings({**state.read_settings(), **own})


def _open_sockets(settings: Settings) -> list[socket.socket]:
    """One for each worker, towards the internal listener; every process knows their ports."""
    try:
        return [open_socket(settings.internal) for _ in range(settings.workers)]
    except OSError as error:
        raise ConfigurationError(f"purple.internal: {settings.internal}: {error.strerror or error}") from None


def _check_keys(settings: Settings) -> None:
    """The file of the keys can be used. Their library is loaded here, so that all processes have it in common."""
    if settings.key_file and not settings.key_path.exists():
        raise ConfigurationError(f"purple.key_file: there is no {settings.key_file}; run purplectl key create")
    if read_keys(settings.key_path):
        load_library()


def check_readable_authorities(directory: str) -> None:
    """Raises ConfigurationError; ``directory``: purple.ca_dir, "" for none."""
    if directory and not os.access(directory, os.R_OK | os.X_OK):
        raise ConfigurationError(f"purple.ca_dir: {directory} is no directory that can be read")


def _check_database(settings: Settings) -> None:
    """The table can be read; nothing of the connection is left when the workers are forked."""
    engine = make_engine(settings.db_url)
    try:
        Mapping(engine, settings.db_table).accounts_of("nobody@nowhere.invalid")
    except DatabaseUnavailable as error:
        cause = " ".join(str(error.__cause__).split())[:200]
        raise ConfigurationError(
            f"purple.db_url: table {settings.db_table} cannot be read ({cause}); run purplectl db create"
        ) from None
    finally:
        engine.dispose()


def _remember_accepted(settings: Settings, accepted: Accepted) -> None:
    """What was accepted just before a crash may come again, from a phone that has not seen the answer."""
    engine = make_engine(settings.db_url)
    try:
        for mark in queue.fingerprints(engine, int(time.time()) - SECONDS):
            accepted.add(bytes.fromhex(mark))
    except SQLAlchemyError as error:
        cause = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"purple_queue cannot be read ({cause}); run purplectl db upgrade") from None
    finally:
        engine.dispose()


def _erase_acknowledged(settings: Settings) -> None:
    """The rows that the workers of the start before had no more time for: those messages have arrived."""
    state_dir = Path(settings.state_dir)
    engine = make_engine(settings.db_url)
    try:
        queue.delete(engine, acknowledged.left_behind(state_dir))
        acknowledged.forget(state_dir)
    except SQLAlchemyError as error:
        cause = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"purple_queue cannot be changed ({cause}); let the gateway write to it") from None
    finally:
        engine.dispose()


def _remember_kept(settings: Settings, kept_users: KeptUsers) -> None:
    """Whose messages lie in the database since before this start."""
    engine = make_engine(settings.db_url)
    try:
        for owner in silo.owners(engine):
            kept_users.mark(*owner)
    except SQLAlchemyError as error:
        cause = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"silo cannot be read ({cause}); run purplectl db upgrade") from None
    finally:
        engine.dispose()


def _check_contacts(settings: Settings) -> None:
    """The table came with a later version."""
    engine = make_engine(settings.db_url)
    try:
        contacts.load(engine, [""])
    except SQLAlchemyError as error:
        cause = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"purple_contact cannot be read ({cause}); run purplectl db upgrade") from None
    finally:
        engine.dispose()


def _forget_publications(settings: Settings) -> None:
    """What was published before the start would be shown beside the truth for up to an hour."""
    engine = make_engine(settings.db_url)
    try:
        presence_server.forget_own_publications(engine)
    except SQLAlchemyError as error:  # a site may keep its presence server elsewhere
        logger.warning("presentity: %s", " ".join(str(error).split())[:200])
    finally:
        engine.dispose()


def _resource(state_dir: Path) -> str:
    """This gateway's own XMPP resource, the same after a restart: a server then replaces the session that died.

    Shared with another client it would be a resource conflict, which is fatal.
    """
    path = state_dir / "resource"
    if not path.exists():
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f"resource.{os.getpid()}")
        temporary.write_text(f"purple-{secrets.token_hex(4)}")
        temporary.replace(path)
    return path.read_text().strip()
