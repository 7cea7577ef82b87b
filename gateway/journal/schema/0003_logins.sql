-- Sessions, tokens and what was used once. A person logs in to the gateway and
-- not to an establishment: these rows alone belong to none. Keys are digests and
-- values are sealed, so that a copy of this file logs nobody in.

CREATE TABLE login (
	kind    TEXT    NOT NULL,
	key     TEXT    NOT NULL,
	value   BLOB    NOT NULL,
	expires INTEGER NOT NULL
);
CREATE UNIQUE INDEX login_key ON login (kind, key);
CREATE INDEX login_expires ON login (expires);
