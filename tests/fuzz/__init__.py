"""Hostile input, made by chance and repeatable: `python -m tests.fuzz` for parsers, `tests.fuzz.sip` for SIP."""
