"""Owns the man pages: made of click's commands and of kamailio.cfg, so they cannot differ from them. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

_PARAMETER = re.compile(r'^(purple\.\w+) = (\w+) desc "([^"]*)"', re.MULTILINE)
_DEFAULT = re.compile(r"^#!(?:try)?def(?:ine)? (\w+) (.+)$", re.MULTILINE)
NOT_WRAPPED = "\b"  # click: the paragraph keeps its lines

FILES = {
    "/etc/kamailio-purple/gateway.env": "environment of the service: PURPLE_OPTIONS, the options of `purplectl run`, "
    "and PURPLE_DB_URL",
    "/etc/kamailio-purple/kamailio.cfg": "configuration of Kamailio, with the parameters below",
    "/etc/kamailio-purple/gateway.py": "the route script, in Python (KEMI)",
    "/var/lib/kamailio-purple": "data: the SQLite database, state, sockets; only the gateway's user may read it",
}
STATUS = {"0": "done", "1": "failed; one line on stderr says what to do", "2": "wrong usage"}
ENVIRONMENT = {"PURPLE_DB_URL": "as --db-url", "PURPLE_STATE_DIR": "as --state-dir"}


def command_page(root: click.Command, name: str, version: str) -> str:
    """``name``(8): every command and option of ``root``."""
    lines = [*_head(name, 8, version, _first_sentence(root)), ".SH SYNOPSIS"]
    for context in _commands(root, name):
        lines += [".br", f"\\fB{_escaped(context.command_path)}\\fR {_escaped(_usage(context))}"]
    lines += [".SH DESCRIPTION", *_text(root.help or ""), ".SH COMMANDS"]
    for context in _commands(root, name):
        lines += _section(context)
    lines += [".SH EXIT STATUS", *_list(STATUS), ".SH ENVIRONMENT", *_list(ENVIRONMENT)]
    return "\n".join([*lines, ".SH FILES", *_list(FILES), ".SH SEE ALSO", "kamailio\\-purple(5), kamailio(8)"]) + "\n"


def config_page(config: str, version: str) -> str:
    """kamailio-purple(5): the files, and the ``purple.NAME`` parameters that the text of kamailio.cfg declares."""
    defaults = dict(_DEFAULT.findall(config))
    parameters = {
        f"{name} = {defaults.get(define, define)}": description
        for name, define, description in _PARAMETER.findall(config)
    }
    lines = [*_head("kamailio-purple", 5, version, "configuration of the SIP to instant messaging gateway")]
    lines += [".SH FILES", *_list(FILES), ".SH PARAMETERS"]
    lines += _text("With their defaults. Set one in gateway.env by --set purple.NAME=VALUE, or in kamailio.cfg.")
    return "\n".join([*lines, *_list(parameters), ".SH SEE ALSO", "purplectl(8)"]) + "\n"


def _head(name: str, section: int, version: str, purpose: str) -> list[str]:
    title = f'.TH "{_escaped(name.upper())}" {section} "" "kamailio-purple {version}" "System administration"'
    return [title, ".SH NAME", f"{_escaped(name)} \\- {_escaped(purpose)}"]


def _commands(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """The commands that do something, depth first; groups only lead to them."""
    context = click.Context(command, info_name=name, parent=parent)
    if not isinstance(command, click.Group):
        yield context
        return
    for each in command.list_commands(context):
        below = command.get_command(context, each)
        if below is not None and not below.hidden:
            yield from _commands(below, each, context)


def _usage(context: click.Context) -> str:
    return " ".join(context.command.collect_usage_pieces(context))


def _section(context: click.Context) -> list[str]:
    words = context.command_path.split()[1:]
    lines = [f".SS {_escaped(' '.join(words))} {_escaped(_usage(context))}", *_text(context.command.help or "")]
    records = (option.get_help_record(context) for option in context.command.get_params(context))
    return lines + _list({record[0]: record[1] for record in records if record})


def _list(items: dict[str, str]) -> list[str]:
    return [line for term, text in items.items() for line in (".TP", f"\\fB{_escaped(term)}\\fR", *_text(text, ".IP"))]


def _text(text: str, paragraph: str = ".PP") -> list[str]:
    """Paragraphs of a help text, of which the first begins where it stands."""
    lines: list[str] = []
    for number, block in enumerate(part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()):
        body = [_escaped(line.strip()) for line in block.splitlines() if line.strip() not in ("", NOT_WRAPPED)]
        kept = block.strip().startswith(NOT_WRAPPED)
        lines += [paragraph] if number else []
        lines += [".nf", *body, ".fi"] if kept else body
    return lines


def _first_sentence(command: click.Command) -> str:
    sentence = (command.help or "").strip().partition(".")[0]
    return sentence[:1].lower() + sentence[1:]


def _escaped(text: str) -> str:
    """roff(7): a backslash, a hyphen that can be copied, and a first character that would make a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return f"\\&{plain}" if plain[:1] in (".", "'") else plain
