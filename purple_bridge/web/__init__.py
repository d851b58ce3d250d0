"""The gateway's web page: owns what a browser gets and sends, knows neither Kamailio nor libpurple's loop.

``http``       requests and answers as values; what is refused
``sessions``   signed cookies, tokens of forms, how many log-ins may fail
``logins``     SIP users and their passwords
``accounts``   what is shown of the accounts: rows of the mapping and what the workers say of them
``forms``      the form of an account, made from what its protocol plugin declares
``messages``   the queue
``plots``      figures of the last half hour (``purple_bridge.history``) as lines of an SVG
``trials``     accounts that are being tried, each in a process of its own
``pages``      templates
``site``       which page answers which request

All of it runs in the one process of the listener ``purple.web``; one request after the other.
"""
