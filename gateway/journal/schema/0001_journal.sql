-- The journal. Times are nanoseconds since 1970 in UTC, 0 for none. Every row
-- carries the establishment that it belongs to.

CREATE TABLE submission (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of acceptance
	id         TEXT    NOT NULL UNIQUE,
	received   INTEGER NOT NULL,
	door       TEXT    NOT NULL,
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	est_name   TEXT    NOT NULL,
	source_oid TEXT    NOT NULL,
	from_app   TEXT    NOT NULL,
	from_fac   TEXT    NOT NULL,
	control_id TEXT    NOT NULL,
	message    TEXT    NOT NULL, -- JSON
	dup_key    TEXT    NOT NULL,
	digest     TEXT    NOT NULL,
	kept       INTEGER NOT NULL, -- 1: the bytes of the message are kept under digest
	rules      TEXT    NOT NULL,
	action     TEXT    NOT NULL,
	ins_status TEXT    NOT NULL,
	fictive    INTEGER NOT NULL, -- 1: the INS is of test or demonstration
	stay       TEXT    NOT NULL,
	state      TEXT    NOT NULL,
	code       TEXT    NOT NULL,
	warnings   TEXT    NOT NULL, -- JSON, or empty
	envelope   TEXT,             -- JSON; NULL when refused
	receipt    BLOB
);
CREATE UNIQUE INDEX submission_key ON submission (dup_key) WHERE dup_key <> '';
CREATE INDEX submission_site ON submission (finess_geo, seq);
CREATE INDEX submission_control ON submission (control_id, finess_geo, seq);
CREATE INDEX submission_digest ON submission (digest) WHERE kept = 1;

CREATE TABLE document (
	submission INTEGER NOT NULL REFERENCES submission (seq),
	position   INTEGER NOT NULL,
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	place      TEXT    NOT NULL,
	unique_id  TEXT    NOT NULL,
	set_id     TEXT    NOT NULL,
	version    INTEGER NOT NULL,
	type_code  TEXT    NOT NULL,
	replaces   TEXT, -- NULL when it replaces nothing, so that nothing equals nothing
	digest     TEXT    NOT NULL,
	size       INTEGER NOT NULL,
	PRIMARY KEY (submission, position)
);
CREATE INDEX document_unique_id ON document (unique_id);
CREATE INDEX document_replaces ON document (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX document_digest ON document (digest);

CREATE TABLE delivery (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	id          TEXT    NOT NULL UNIQUE,
	submission  INTEGER NOT NULL REFERENCES submission (seq),
	finess_ej   TEXT    NOT NULL,
	finess_geo  TEXT    NOT NULL,
	est_name    TEXT    NOT NULL,
	source_oid  TEXT    NOT NULL,
	destination TEXT    NOT NULL,
	state       TEXT    NOT NULL,
	created     INTEGER NOT NULL,
	due         INTEGER NOT NULL,
	attempts    INTEGER NOT NULL,
	sent        INTEGER NOT NULL,
	remote      TEXT    NOT NULL,
	notice      TEXT    NOT NULL, -- JSON, or empty
	code        TEXT    NOT NULL,
	holder      TEXT    NOT NULL DEFAULT '', -- empty: not leased
	lease_until INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX delivery_due ON delivery (destination, due, seq) WHERE state = 'due';
CREATE INDEX delivery_leased ON delivery (destination, lease_until) WHERE holder <> '';
CREATE INDEX delivery_unsettled ON delivery (submission, destination) WHERE state = 'due';
CREATE INDEX delivery_submission ON delivery (submission, seq);

-- One line of a timeline, and the record from which indicators are counted:
-- what it says of its submission is repeated, so that a count needs no join.
CREATE TABLE event (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	submission  INTEGER NOT NULL REFERENCES submission (seq),
	finess_ej   TEXT    NOT NULL,
	finess_geo  TEXT    NOT NULL,
	time        INTEGER NOT NULL,
	step        TEXT    NOT NULL,
	outcome     TEXT    NOT NULL,
	code        TEXT    NOT NULL,
	ack_code    TEXT    NOT NULL,
	destination TEXT    NOT NULL,
	recipient   TEXT    NOT NULL,
	place       TEXT    NOT NULL,
	attempt     INTEGER NOT NULL,
	ins_status  TEXT    NOT NULL,
	fictive     INTEGER NOT NULL,
	stay        TEXT    NOT NULL,
	unique_id   TEXT    NOT NULL,
	set_id      TEXT    NOT NULL,
	version     INTEGER NOT NULL,
	type_code   TEXT    NOT NULL,
	flags       TEXT    NOT NULL
);
CREATE INDEX event_submission ON event (submission, seq);
CREATE INDEX event_site ON event (finess_geo, time) WHERE attempt > 0;

CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;

-- REPLACE removes without asking the trigger above.
CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;

-- What became, in the DMP, of each document that an establishment fed.
CREATE TABLE document_fate (
	finess_ej   TEXT    NOT NULL,
	unique_id   TEXT    NOT NULL,
	finess_geo  TEXT    NOT NULL, -- of the submission that last changed it
	fate        TEXT    NOT NULL,
	replaced_by TEXT    NOT NULL,
	submission  INTEGER NOT NULL REFERENCES submission (seq),
	PRIMARY KEY (finess_ej, unique_id)
);
