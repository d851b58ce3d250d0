"""The shipped routes with a gateway that says yes to everything, so that only Kamailio and the routes take time."""

from __future__ import annotations

from collections.abc import Callable

import KSR  # type: ignore[import-not-found]  # exists inside Kamailio only

from kemi import gateway
from purple_bridge.custom_parameters import read_group
from purple_bridge.live import LiveSettings
from purple_bridge.settings import read_settings
from purple_bridge.shared import Shared


class Yes:
    """In the place of ``KSR.purple``."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: 1


def mod_init() -> gateway.Routes:
    parameters = read_group("purple")
    live = LiveSettings(read_settings(parameters.get), Shared.make(1).live, lambda _settings: None)
    vars(gateway)["live_settings"] = lambda: live
    KSR.purple = Yes()
    return gateway.Routes(parameters)
