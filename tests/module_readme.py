"""Owns docs/module.md: the README in the form of Kamailio's modules, made of parameters.md, functions.md and the code.

`python -m tests.module_readme` writes it; a test compares it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from purple_bridge.launcher.versions import DATABASE_PACKAGES, PACKAGES, TLS_PACKAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULE = DOCS / "module.md"

EXAMPLES = {
    "db_url": '"mysql://kamailio:kamailiorw@localhost/kamailio"',
    "db_table": '"purplemap"',
    "httpProxy_host": '"proxy.example.org"',
    "httpProxy_port": "3128",
    "workers": "4",
    "gateway_domain": '"im.example.org"',
    "connect_on": '"register"',
    "authorize": '"accept"',
    "queue": '"always"',
    "queue_ttl": "86400",
    "own_messages": '"drop"',
    "avatars": '"https://sip.example.org/avatars"',
    "log_level": '"debug"',
    "log_bodies": "1",
    "user_servers": '"public"',
    "flood_limit": "2000",
    "user_rate": "50",
    "account_rate": "50",
    "contact_rate": "20",
    "loop_limit": "20",
    "web": '"127.0.0.1:8080"',
    "key_file": '"/etc/kamailio-purple/key"',
    "protocols": '"prpl-jabber,prpl-irc"',
    "web_admins": '"sip:admin@example.org"',
    "ca_dir": '"/etc/kamailio-purple/authorities"',
    "state_dir": '"/var/lib/kamailio-purple"',
    "rpc_socket": '"/run/kamailio/purple-rpc.sock"',
    "internal": '"127.0.0.1:5059"',
    "auth": "1",
}

# function -> (what may be answered besides 1, an example)
BODY = "-400, -413, -415"
FUNCTIONS = {
    "send_message": (f"{BODY}, -403, -404, -480, -500, -503", "code = KSR.purple.send_message()"),
    "handle_publish": (f"{BODY}, -403, -500, -503", "KSR.purple.handle_publish()"),
    "check_publish": (f"{BODY}, -412, -423, -500", "if KSR.purple.check_publish() < 0:\n    KSR.purple.reply_error()"),
    "check_watcher": ("-400, -481, -500, -503", "if KSR.purple.check_watcher() < 0:\n    KSR.purple.reply_error()"),
    "prepare_subscribe": ("-400, -403, -500, -503", "code = KSR.purple.prepare_subscribe()"),
    "handle_subscribe": (
        "-400, -403, -404, -500, -503",
        'KSR.purple.handle_subscribe(KSR.pv.get("$subs(uri)"), int(KSR.pv.get("$subs(expires)")))',
    ),
    "handle_register": (
        "-400, -500, -503",
        'if KSR.registrar.save("location", 0) > 0:\n    KSR.purple.handle_register()',
    ),
    "prepare_list": ("-400, -404, -500, -503", "code = KSR.purple.prepare_list()"),
    "handle_xcap": (
        "-400, -500, -503",
        'KSR.purple.handle_xcap("pres-rules", "sip:alice@example.org", "PUT")',
    ),
    "limited": ("none", 'KSR.purple.limited("flood")'),
    "is_contact": ("-404", 'code = KSR.purple.is_contact(KSR.pv.get("$ru"))'),
    "is_user": ("-400, -404, -503", 'code = KSR.purple.is_user("sip:alice@example.org")'),
    "has_registered": ("-400, -480, -500", "code = KSR.purple.has_registered()"),
    "took_long": ("none", "if time.monotonic() - begin > 2.5:\n    KSR.purple.took_long()"),
    "database_answers": ("-503", "if KSR.purple.database_answers() < 0:\n    KSR.purple.reply_error()"),
    "is_from_gateway": ("-403", "if KSR.purple.is_from_gateway() > 0:\n    self.internal()"),
    "reply_error": ("none", "KSR.purple.reply_error()"),
}

RPC = {
    "cfg.list purple": "all parameters, with what they mean (module cfg_rpc)",
    "cfg.get purple NAME": "the value of one",
    "cfg.sets purple NAME VALUE, cfg.seti purple NAME NUMBER": "changes one that can change at run time, "
    "see [parameters.md](parameters.md#at-run-time)",
    "app_python.reload": "reads the route script again, on Kamailio 5.6 and 5.7; the gateway and its accounts go on",
    "tls.reload": "reads the certificate of the TLS listeners again, see [operation.md](operation.md#tls)",
    "core.psa": "processes: the ranks 1 to `purple.workers` run libpurple",
}

# on STATE_DIR/run/worker-N.sock: one JSON object a line, {"command": NAME}; what purplectl and the launcher use
CONTROL = {
    "ping": 'whether libpurple is up: `{"ok": true, "ready": true}`, or `error` with the reason',
    "status": "the worker's accounts, as `purplectl status --json` shows them",
    "protocols": "the protocol plugins found, with their account options",
    "rows": "rows of the mapping have changed: look now, not within seconds",
    "queue": "rows of the message queue have changed",
    "reconnect": "signs accounts off and on again",
    "drain": "writes down what is only in memory; before a stop",
}

TEMPLATE = """\
# purple: the module's README

The gateway in the form in which Kamailio describes its modules. Written by `python -m tests.module_readme` from
[parameters.md](parameters.md), [functions.md](functions.md) and the code: change those.

# 1. Admin Guide

## 1. Overview

A gateway from SIP to the IM networks that libpurple speaks (XMPP, IRC and others), as a KEMI application in Python. A
SIP user's phone sends and receives MESSAGE, publishes presence and watches contacts; the network sees an ordinary
client with the user's own account there. It takes the place of the former C module `purple`.

libpurple runs in a thread of Kamailio's first `purple.workers` SIP processes. The routes call the functions of
`KSR.purple`; what they accept is handed to the process that owns the account. [architecture.md](architecture.md) has
the picture, [existing-sites.md](existing-sites.md) two complete sets of files.

## 2. Dependencies

### 2.1. Kamailio Modules

Kamailio 5.6, 5.7, or 6.0.1 and later. Of the shipped kamailio.cfg, by Debian package:

{modules}

A site of its own needs fewer: [existing-sites.md](existing-sites.md#4-modules-and-parameters).

### 2.2. External Libraries or Applications

- libpurple 2.14 (`libpurple0`), with `LD_PRELOAD=libpurple.so.0` in Kamailio's environment;
- Python 3.11 or later, the one that app_python3 embeds, with these packages of pyproject.toml: {packages};
- SQLite, MySQL/MariaDB or PostgreSQL.

## 3. Parameters

Custom global parameters of kamailio.cfg. `db_url` and `gateway_domain` are necessary.

{parameters}
## 4. Functions

From a KEMI script as `KSR.purple.NAME()`, from a native kamailio.cfg through a method and `python_exec("NAME")`. Each
returns 1 when the gateway has taken the request over, else one of these:

{codes}

A native route finds the code in `$retcode`.

{functions}
## 5. RPC and Commands

### 5.1. RPC commands

Of Kamailio and its modules, for use with the gateway:

{rpc}

### 5.2. Control sockets

`STATE_DIR/run/worker-N.sock`, mode 0600: one JSON object a line, `{{"command": NAME}}`, and one in answer.

{control}

### 5.3. purplectl

The command line tool is described in [commands.md](commands.md).

## 6. Statistics

In Prometheus's text format, and by `purplectl status --metrics`: [metrics.md](metrics.md).

## 7. Exported Pseudo-Variables

None. `purple_bridge.GATEWAY_SENDER` is the sender to give `presence.handle_publish_uri` for what the gateway publishes.
"""


def text() -> str:
    """What docs/module.md has to be."""
    return TEMPLATE.format(
        modules="\n".join(_modules()),
        packages=", ".join(_packages()),
        parameters="\n".join(_parameters()),
        codes="\n".join(["| code | meaning |", "|---|---|", *_lines("functions.md", r"-\d+")]),
        functions="\n".join(_functions()),
        rpc="\n".join(_table("command", RPC)),
        control="\n".join(_table("command", CONTROL)),
    )


def _modules() -> Iterator[str]:
    packages = {**PACKAGES, **TLS_PACKAGES}
    for database in DATABASE_PACKAGES.values():
        packages.update(database)
    for package, modules in packages.items():
        yield f"- `{package}`: {', '.join(modules)}"


def _packages() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [re.split(r"[\[=<>]", requirement)[0] for requirement in project["dependencies"]]


def rows(document: str, first: str) -> list[list[str]]:
    """The cells of the rows of a document's tables whose first cell matches."""
    return [[cell.strip() for cell in line[1:-1].split(" | ")] for line in _lines(document, first)]


def _lines(document: str, first: str) -> list[str]:
    return re.findall(rf"^\| {first} \|.*\|$", (DOCS / document).read_text(), re.MULTILINE)


def _parameters() -> Iterator[str]:
    for place, (name, kind, default, effect) in enumerate(rows("parameters.md", r"`\w+`"), 1):
        plain = name.strip("`")
        yield f"### 3.{place}. {plain} ({kind})\n"
        yield f"{_sentence(effect)}\n"
        yield f"*Default value: {default}.*\n"
        yield f"**Example 1.{place}. Set `{plain}` parameter**\n"
        yield f'```\npurple.{plain} = {EXAMPLES[plain]} desc "{plain}"\n```\n'


def _functions() -> Iterator[str]:
    for place, (signature, used, effect) in enumerate(rows("functions.md", r"`KSR\.purple\..*?`"), 1):
        name = signature.strip("`").removeprefix("KSR.purple.")
        codes, example = FUNCTIONS[name.partition("(")[0]]
        yield f"### 4.{place}. {name}\n"
        yield f"{_sentence(effect)}\n"
        yield f"For: {used}. Negative codes: {codes}.\n"
        yield f"**Example 2.{place}. `{name.partition('(')[0]}` usage**\n"
        yield f"```python\n{example}\n```\n"


def _table(head: str, entries: dict[str, str]) -> Iterator[str]:
    yield f"| {head} | does |"
    yield "|---|---|"
    for name, does in entries.items():
        yield f"| `{name}` | {does} |"


def _sentence(text: str) -> str:
    plain = text[0].upper() + text[1:]
    return plain if plain.endswith(".") else f"{plain}."


if __name__ == "__main__":
    MODULE.write_text(text())
