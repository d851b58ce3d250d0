"""Owns the statements that change the mapping table; the gateway itself only reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, Table, delete, insert, update

from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.db.account import Account, OptionValue, account_of
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.tables import PURPLEMAP, has_options, purplemap_table
from purple_bridge.errors import ConfigurationError
