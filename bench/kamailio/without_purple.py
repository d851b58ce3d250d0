"""The shipped routes with a gateway that says yes to everything, so that only Kamailio and the routes take time."""

from __future__ import annotations

from collections.abc import Callable

import KSR  # type: ignore[import-not-found]  # exists inside Kamailio only

from kemi import gateway
from purple_bridge.custom_parameters import read_group
from purple_bridge.live import LiveSettings
from purple_bridge.runtime import SharedWithRoutes
from purple_bridge.settings import read_settings
from purple_bridge.shared import Shared


class Yes:
    """In the place of ``KSR.purple``."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: 1


def mod_init() -> gateway.Routes:
    parameters, shared = read_group("purple"), Shared.make(1)
    live = LiveSettings(read_settings(parameters.get), shared.live, lambda _settings: None)
    with_routes = SharedWithRoutes(live, shared.board.rows_generation, shared.relay_turns, shared.guesses)
    vars(gateway)["shared_with_routes"] = lambda: with_routes
    KSR.purple = Yes()
    return gateway.Routes(parameters)
