"""Runs Kamailio with the gateway: checks, configuration, life of the processes. Knows no IM and no SIP route."""
