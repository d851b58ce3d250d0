"""The worker: libpurple in a thread of a SIP worker process, for the accounts this process owns.

``thread``     starts the loop's thread and waits for it
``worker``     joins the parts below; the only one that knows all of them
``account``    one external account: connection, retries, what waits for it
``contacts``   which contacts are watched, by whom, and what was told of them
``logins``     how fast accounts sign on
``reconnect``  when to try again
``store``      the database, in a thread of its own
``postman``    messages into SIP: their order, and what is kept when no phone takes them
``typist``     typing notices into SIP: when the next one is due
``uac``        the SIP client over UDP that sends them
``sip_out``    presence into SIP
``rpc``        Kamailio's RPC over a Unix socket
``control``    the Unix socket that answers purplectl

Everything but ``store``'s queries runs in the loop's thread, and nothing here touches KSR.
"""
