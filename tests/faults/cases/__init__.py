"""The faults, by what breaks; importing this registers them all."""

from tests.faults.cases import im_server, names

__all__ = ["im_server", "names"]
