-- Example rows of the mapping: two SIP users with accounts on two networks. Change names and passwords before use.
-- ext_prot is a libpurple plugin id (`purplectl protocols` lists them) or gtalk; ext_options holds a JSON object of
-- libpurple account options. `purplectl account add` makes the same rows and checks the options.

INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass, ext_options)
    VALUES ('sip:alice@example.org', 'alice@xmpp.example.org', 'prpl-jabber', 'change-me',
            '{"connect_server": "127.0.0.1", "port": 5222, "connection_security": "require_tls"}');
INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass)
    VALUES ('sip:alice@example.org', 'alice_@irc.example.org', 'prpl-irc', NULL);
INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass)
    VALUES ('sip:bob@example.org', 'bob@xmpp.example.org', 'prpl-jabber', 'change-me');
