-- Identities, their history, and the calls of INSi behind them. What names a
-- person stands in "sealed" (AES-256-GCM under the key file, with the id of its
-- row) and nowhere else; it is found by keyed hashes. Only what counting calls
-- needs stands in clear.

CREATE TABLE person (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT    NOT NULL UNIQUE,
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	est_name   TEXT    NOT NULL,
	source_oid TEXT    NOT NULL,
	version    INTEGER NOT NULL, -- of the last change
	sealed     BLOB    NOT NULL
);

CREATE TABLE person_key (
	person     INTEGER NOT NULL REFERENCES person (seq),
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	kind       TEXT    NOT NULL, -- ins, born, local
	hash       BLOB    NOT NULL,
	PRIMARY KEY (hash, person)
);
CREATE INDEX person_key_person ON person_key (person);
CREATE UNIQUE INDEX person_key_local ON person_key (hash) WHERE kind = 'local';

CREATE TABLE person_change (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	person     INTEGER NOT NULL REFERENCES person (seq),
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	version    INTEGER NOT NULL,
	sealed     BLOB    NOT NULL,
	UNIQUE (person, version)
);
CREATE TRIGGER person_change_is_never_changed BEFORE UPDATE ON person_change
BEGIN SELECT RAISE(ABORT, 'the history of a person is only appended'); END;
CREATE TRIGGER person_change_is_never_removed BEFORE DELETE ON person_change
BEGIN SELECT RAISE(ABORT, 'the history of a person is only appended'); END;

CREATE TABLE insi_exchange (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	message_id TEXT    NOT NULL UNIQUE,
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	at         INTEGER NOT NULL,
	operation  TEXT    NOT NULL,
	result     TEXT    NOT NULL, -- 00, 01, 02, or fault
	sealed     BLOB    NOT NULL
);
CREATE INDEX insi_exchange_site ON insi_exchange (finess_geo, at);

-- What tells the right key from another: a constant, sealed under each version.
-- It belongs to the file and to no establishment.
CREATE TABLE register_key (
	version INTEGER PRIMARY KEY,
	sealed  BLOB NOT NULL
);

-- Two A47 about one person are told in their order.
CREATE INDEX delivery_identity ON delivery (recipient, seq) WHERE destination = 'identity' AND state = 'due';
