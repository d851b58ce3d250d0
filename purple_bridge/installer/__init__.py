"""Puts the gateway into a system: files, user, systemd unit, man pages. Knows no SIP, no IM and no database."""
