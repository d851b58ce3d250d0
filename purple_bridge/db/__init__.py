"""The database: URL, tables, schema, mapping look-ups. Knows nothing of SIP requests, libpurple or KSR."""
