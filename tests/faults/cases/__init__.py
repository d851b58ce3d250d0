"""The faults, by what breaks; importing this registers them all."""

from tests.faults.cases import database, im_server, names, network, processes, resources

__all__ = ["database", "im_server", "names", "network", "processes", "resources"]
