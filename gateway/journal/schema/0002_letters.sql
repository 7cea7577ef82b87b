-- Letters and what receipts say of them.

ALTER TABLE delivery ADD COLUMN recipient  TEXT NOT NULL DEFAULT ''; -- address
ALTER TABLE delivery ADD COLUMN letter     TEXT NOT NULL DEFAULT ''; -- digest of its bytes
ALTER TABLE delivery ADD COLUMN message_id TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX delivery_message_id ON delivery (message_id) WHERE message_id <> '';
CREATE INDEX delivery_letter ON delivery (letter) WHERE letter <> '';

-- What was applied, so that a receipt that comes twice is told once.
CREATE TABLE report (
	key        TEXT    NOT NULL PRIMARY KEY,
	delivery   INTEGER NOT NULL REFERENCES delivery (seq),
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	state      TEXT    NOT NULL, -- that it gave the delivery; empty when it gave none
	code       TEXT    NOT NULL
);
CREATE INDEX report_delivery ON report (delivery);

-- The few that wait for a person, among all that came.
CREATE INDEX submission_state ON submission (finess_geo, state, seq);
