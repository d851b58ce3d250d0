"""Why an account cannot sign on, in words for people and a word for programs, and what to do; knows no libpurple."""

from __future__ import annotations

import re

# connection.h PurpleConnectionError, in its order
REASONS = (
    "network",
    "invalid-username",
    "authentication-failed",
    "authentication-impossible",
    "no-tls",
    "encryption",
    "name-in-use",
    "invalid-settings",
    "certificate-missing",
    "certificate-untrusted",
    "certificate-expired",
    "certificate-not-yet-valid",
    "certificate-wrong-name",
    "certificate-wrong-fingerprint",
    "certificate-self-signed",
    "certificate",
    "other",
)
UNABLE = "Unable to connect"  # jabber.c
SET_IT = "set it: purplectl account set SIP_USER PROTOCOL EXT_USER --password-stdin"
PIN_IT = "if this is the server's key, as its operator says: --option tls_pin=sha256:…"
TRUST_IT = f"put the certificate of its authority into the directory purple.ca_dir; or, {PIN_IT}"
ADVICE = {
    "invalid-username": "write the account's name as the network has it, on XMPP USER@DOMAIN",
    "authentication-failed": f"if the password is wrong, {SET_IT}",
    "password-missing": SET_IT,
    "name-in-use": "another client has this name there: sign that one off, or use another name",
    "invalid-settings": "see the account's options: purplectl account list",
    "certificate-expired": f"the server's operator has to renew it; see also this machine's clock; or, {PIN_IT}",
    "certificate-not-yet-valid": "see this machine's clock",
    "certificate-wrong-name": (
        "see the domain of the account and the option connect_server; if the server is meant to have the other name:"
        f" --option tls_name=NAME; or, {PIN_IT}"
    ),
    "certificate-wrong-fingerprint": (
        "if its operator says that the server has a new key, change the option tls_pin; else somebody is in between"
    ),
    "certificate-self-signed": PIN_IT,
    "certificate-untrusted": TRUST_IT,
    "certificate": f"if the server is yours, {TRUST_IT}",
    "timeout": "see whether the server is up, and the option for the port: another service may listen there",
}
# of texts of libpurple and of the C library, where the reason alone does not tell
HINTS = (
    (r"no protocol plugin", "no-protocol", ""),
    (r"XMPP ID", "invalid-username", ADVICE["invalid-username"]),
    (r"unknown account option", "invalid-settings", ""),
    (r"enter password|no password", "password-missing", ADVICE["password-missing"]),
    (
        r"host unknown",
        "wrong-domain",
        "the server does not serve the domain of the account: see EXT_USER and the option connect_server",
    ),
    (
        r"resolve|name or service not known|no address|name resolution|not known",
        "name-not-found",
        "see that the domain is spelled right and has a DNS record, or set the option for the server's address",
    ),
    (r"closed the connection", "closed", "see the option for the port, and the server's log"),
    (
        r"refused",
        "refused",
        "nothing listens there: see that the server is up, and the options for its address and port",
    ),
    (
        r"timed out|unreachable|no route",
        "unreachable",
        "see the network and the firewall between this machine and the server",
    ),
    (
        r"plaintext|plain text",
        "plain-text",
        "the server wants the password without encryption. Only if the way to it is safe: --option"
        " auth_plain_in_clear=true",
    ),
    (
        r"requires? encryption|no encryption|ssl support|not support(ing)? encryption",
        "no-tls",
        "the server offers no encryption. Only if the way to it is safe: --option"
        " connection_security=opportunistic_tls",
    ),
    (
        r"not authorized|not-authorized|incorrect password|invalid password|authentication failed",
        "authentication-failed",
        ADVICE["authentication-failed"],
    ),
)


def explain(reason: str, error: str, notices: list[str]) -> tuple[str, str, str]:
    """(reason, what happened, what to do); ``notices``: what libpurple would have shown or asked in a window."""
    error = " ".join(error.split()).rstrip(".")
    if reason in ("other", "network") and notices:
        error = f"{error}: {' '.join(notices[-1].split()).rstrip('.')}"
    for pattern, kind, advice in HINTS:
        if not reason.startswith(("timeout", "certificate")) and re.search(pattern, error, re.IGNORECASE):
            return kind, error, advice
    return reason, error, ADVICE.get(reason, "")
