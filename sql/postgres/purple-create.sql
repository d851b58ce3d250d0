-- The gateway's own tables. Safe to run again; needs Kamailio's "version" table (standard-create.sql).
-- `purplectl db create` runs this file and puts the name of purple.db_table in the place of purplemap.

CREATE TABLE IF NOT EXISTS purplemap (
    id SERIAL PRIMARY KEY NOT NULL,
    sip_user VARCHAR(128) NOT NULL,
    ext_user VARCHAR(128) NOT NULL,
    ext_prot VARCHAR(64) NOT NULL,
    ext_pass VARCHAR(1500),
    ext_options TEXT
);
-- addresses are compared without regard to case, so the indexes have to be too
CREATE INDEX IF NOT EXISTS purplemap_sip_user_idx ON purplemap (lower(sip_user));
CREATE INDEX IF NOT EXISTS purplemap_ext_user_idx ON purplemap (ext_prot, lower(ext_user));
INSERT INTO version (table_name, table_version) VALUES ('purplemap', 2) ON CONFLICT (table_name) DO NOTHING;

CREATE TABLE IF NOT EXISTS purple_presence (
    sip_user VARCHAR(128) PRIMARY KEY NOT NULL,
    expires BIGINT NOT NULL,
    status TEXT NOT NULL
);
INSERT INTO version (table_name, table_version) VALUES ('purple_presence', 1) ON CONFLICT (table_name) DO NOTHING;

CREATE TABLE IF NOT EXISTS purple_queue (
    id BIGINT PRIMARY KEY NOT NULL,
    account CHAR(16) NOT NULL,
    ext_prot VARCHAR(64) NOT NULL,
    ext_user VARCHAR(128) NOT NULL,
    sip_user VARCHAR(128) NOT NULL,
    contact VARCHAR(255) NOT NULL,
    call_id VARCHAR(255) NOT NULL,
    fingerprint CHAR(16) NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    crashes SMALLINT DEFAULT 0 NOT NULL,
    held SMALLINT DEFAULT 0 NOT NULL,
    message BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS purple_queue_account_idx ON purple_queue (account, id);
CREATE INDEX IF NOT EXISTS purple_queue_expires_idx ON purple_queue (expires);
INSERT INTO version (table_name, table_version) VALUES ('purple_queue', 1) ON CONFLICT (table_name) DO NOTHING;

CREATE TABLE IF NOT EXISTS purple_contact (
    account CHAR(16) NOT NULL,
    contact VARCHAR(255) NOT NULL,
    alias VARCHAR(255) NOT NULL,
    contact_groups TEXT NOT NULL,
    subscription VARCHAR(8) NOT NULL,
    asked SMALLINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (account, contact)
);
INSERT INTO version (table_name, table_version) VALUES ('purple_contact', 1) ON CONFLICT (table_name) DO NOTHING;
