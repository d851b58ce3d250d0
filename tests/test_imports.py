"""Which module may import which: a table, and a walk over the imports of the source that fails on a wrong arrow."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "purple_bridge"
OWN = (PACKAGE, "kemi")

SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in OWN
    for path in (ROOT / package).rglob("*.py")
}

PURE = (
    "addresses",
    "bodies",
    "digest",
    "encryption",
    "errors",
    "im_errors",
    "loop_breaker",
    "presence",
    "rates",
    "row_files",
    "sign_on_errors",
    "sip_headers",
    "web.http",
    "web.plots",
    "web.sessions",
    "xcap_nodes",
)

# Parts of the package that import of the package only ...
MAY_IMPORT = {
    "errors": (),
    "addresses": ("errors",),
    "presence": (),
    "sip_headers": ("addresses", "errors"),
    "im_errors": (),
    "digest": (),
    "xcap_nodes": (),
    "kamailio_rls": ("errors",),
    "kamailio_sqlite": (),
    "kamailio_tls": (),
    "destinations": ("addresses", "db.account", "errors", "ownership"),
    "bodies": ("addresses", "errors", "presence"),
    "bodies.content": ("errors",),
    "bodies.markup": (),
    "bodies.splitting": (),
    "bodies.xml": ("bodies.content", "errors"),
    "bodies.pidf": ("bodies.xml", "errors", "presence"),
    "bodies.presence_rules": ("addresses", "bodies.xml", "errors"),
    "bodies.resource_lists": ("addresses", "bodies.xml", "errors"),
    "bodies.composing": ("bodies.xml",),
    "bodies.cpim": ("bodies.content", "errors"),
    "bodies.imdn": ("bodies.cpim", "bodies.xml", "errors"),
    "bodies.incoming": (
        *("bodies.composing", "bodies.content", "bodies.cpim", "bodies.imdn", "bodies.markup"),
        "errors",
    ),
    "bodies.outgoing": ("bodies.cpim", "bodies.imdn"),
    "libpurple": (),
    "encryption": ("ownership",),
    "gateway_options": ("encryption", "libpurple", "ownership"),
    "sign_on_errors": (),
    "trial": ("gateway_options", "libpurple", "ownership", "sign_on_errors"),
    "row_files": (),
    "db": ("addresses", "errors"),
    "control_client": (),
    "account_forms": ("db.account", "gateway_options", "libpurple.plugins", "ownership"),
    "history": ("meter", "metrics"),
    "web.http": (),
    "web.sessions": (),
    "web.plots": (),
    "web.pages": ("web.http",),
    "web.trials": ("web.http",),
    "meter": (),
    "database_state": (),
    "acknowledged": (),
    "metrics": ("meter",),
    "logs": ("errors",),
    "live": ("errors", "logs", "settings"),
    "rates": (),
    "loop_breaker": (),
    "functions.request": ("addresses", "errors"),
    "installer": ("errors", "launcher.environment"),
    # of one worker: each knows less than those below it
    "worker.wanted": ("presence",),
    "worker.contacts": ("addresses",),
    "worker.avatars": (),
    "worker.clock": (),
    "worker.database_watch": ("database_state", "db", "errors"),
    "worker.parameters": (),
    "worker.uac": ("errors", "libpurple", "sip_headers", "tokens"),
    "worker.sip_watch": ("addresses", "errors", "libpurple", "sip_headers", "worker.uac"),
}

# ... and parts that import anything but ...
MUST_NOT_IMPORT = {
    "worker": ("functions", "runtime", "app_python3", "custom_parameters", "cli", "launcher"),
    "cli": ("worker", "functions", "runtime", "app_python3", "custom_parameters"),
    "launcher": ("worker", "functions", "runtime", "custom_parameters", "cli"),
    "functions": ("worker", "runtime", "cli", "launcher", "libpurple"),
    "web": ("worker", "functions", "runtime", "app_python3", "custom_parameters", "cli", "launcher"),
}

# each of KSR.purple's methods is read without the others
METHODS = {f"functions.{name}" for name in ("message", "publish", "register", "subscribe", "xcap")}
MUST_NOT_IMPORT |= {
    method: ("functions.facade", "functions.error_boundary", *sorted(METHODS - {method})) for method in sorted(METHODS)
}

KNOWN_TO_ROUTES = {
    "kemi.gateway": {
        *("purple_bridge", "purple_bridge.custom_parameters", "purple_bridge.launcher.supervisor"),
        "purple_bridge.runtime",
    },
    "kemi.web": {"purple_bridge.live", "purple_bridge.web.http", "purple_bridge.web.site"},
    "kemi.xcap": {
        *("purple_bridge.bodies.xml", "purple_bridge.digest", "purple_bridge.errors", "purple_bridge.guesses"),
        "purple_bridge.xcap_nodes",
    },
}

# What a pure module must not use of the world outside.
IMPURE = ("ctypes", "socket", "sqlalchemy", "subprocess", "threading", "os", "KSR")

# Kamailio's object is touched here alone; runtime asks it for the version, and gives it to the facade, that to request.
KSR_MODULES = {
    *("purple_bridge", "purple_bridge.functions.facade", "purple_bridge.functions.request", "purple_bridge.runtime"),
    *KNOWN_TO_ROUTES,
}


def _tree(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(), module)


def _only_for_types(tree: ast.Module) -> set[ast.AST]:
    """What stands below ``if TYPE_CHECKING``: no arrow at run time."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {below for block in blocks for statement in block.body for below in ast.walk(statement)}


def _imports(module: str) -> set[str]:
    """The full names a module imports, also within functions; of ``from x import y`` the module it means."""
    tree, names = _tree(module), set[str]()
    skipped = _only_for_types(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node not in skipped:
            names |= _imported_from(module, node)
    return names - {module}


def _imported_from(module: str, node: ast.ImportFrom) -> set[str]:
    base = node.module or ""
    if node.level:
        is_package = SOURCES[module].name == "__init__.py"
        parts = module.split(".")
        parent = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parent, base]) if base else ".".join(parent)
    found = set()
    for alias in node.names:
        name = f"{base}.{alias.name}"
        found.add(name if name in SOURCES else base)
    return found


def _within(name: str, part: str) -> bool:
    return name == f"{PACKAGE}.{part}" or name.startswith(f"{PACKAGE}.{part}.")


def _modules(part: str) -> list[str]:
    modules = [module for module in SOURCES if _within(module, part)]
    assert modules, f"there is no {part}: correct the table"
    return modules


def _arrows(part: str) -> set[tuple[str, str]]:
    """(module of the part, what it imports of our packages outside the part)."""
    return {
        (module, name)
        for module in _modules(part)
        for name in _imports(module)
        if name.partition(".")[0] in OWN and not _within(name, part)
    }


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_it_may_know(part: str) -> None:
    allowed = MAY_IMPORT[part]
    wrong = {arrow for arrow in _arrows(part) if not any(_within(arrow[1], other) for other in allowed)}
    assert not wrong


@pytest.mark.parametrize("part", MUST_NOT_IMPORT)
def test_a_part_does_not_import_what_it_must_not_know(part: str) -> None:
    for other in MUST_NOT_IMPORT[part]:
        _modules(other)
        wrong = {arrow for arrow in _arrows(part) if _within(arrow[1], other)}
        assert not wrong


@pytest.mark.parametrize("part", PURE)
def test_a_pure_module_does_no_input_or_output(part: str) -> None:
    for module in _modules(part):
        used = {name.partition(".")[0] for name in _imports(module)}
        assert not used & set(IMPURE)


def _touches_ksr(module: str) -> bool:
    names = {node.id for node in ast.walk(_tree(module)) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(_tree(module)) if isinstance(node, ast.arg)}
    names |= {node.attr for node in ast.walk(_tree(module)) if isinstance(node, ast.Attribute)}
    return bool({name.lower().strip("_") for name in names} & {"ksr"})


def test_only_the_boundary_touches_ksr() -> None:
    assert {module for module in SOURCES if _touches_ksr(module) or "KSR" in _imports(module)} == KSR_MODULES


def test_the_package_does_not_know_the_routes() -> None:
    for module in SOURCES:
        if not module.startswith("kemi"):
            assert not {name for name in _imports(module) if name.partition(".")[0] == "kemi"}


@pytest.mark.parametrize("module", KNOWN_TO_ROUTES)
def test_the_routes_know_the_outside_of_the_package_only(module: str) -> None:
    ours = {name for name in _imports(module) if name.startswith(PACKAGE)}
    assert ours == KNOWN_TO_ROUTES[module]


def test_no_cycles() -> None:
    """A package's __init__ holds no code that the modules below it need, so it is left out."""
    packages = {module for module, path in SOURCES.items() if path.name == "__init__.py"}
    graph = {module: (_imports(module) & SOURCES.keys()) - packages for module in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_walk_sees_every_kind_of_import() -> None:
    """The tests above could not fail if this did not hold."""
    assert f"{PACKAGE}.libpurple.glib" in _imports(f"{PACKAGE}.libpurple.core")  # from . import glib
    assert f"{PACKAGE}.libpurple.accounts" in _imports(f"{PACKAGE}.libpurple.core")  # from .accounts import
    assert f"{PACKAGE}.runtime" in _imports(PACKAGE)  # within a function
    assert f"{PACKAGE}.bodies.pidf" in _imports(f"{PACKAGE}.functions.publish")  # from purple_bridge.bodies import pidf
    assert f"{PACKAGE}.libpurple.accounts" not in _imports(f"{PACKAGE}.libpurple.events")  # TYPE_CHECKING
