"""Owns a whole gateway for tests: `purplectl run` with free ports and users; knows nothing of the messages through it."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from sqlalchemy import text

from purple_bridge.db.engine import make_engine
from purple_bridge.db.schema import create_all
from purple_bridge.launcher import rpc
from tests.servers.base import Server
from tests.waiting import free_port
