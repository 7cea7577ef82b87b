-- What patients said of the feeding of the DMP. Only added to. A person is a
-- keyed hash of one identifier: no matricule stands here.

CREATE TABLE consent (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	submission INTEGER NOT NULL REFERENCES submission (seq),
	finess_ej  TEXT    NOT NULL,
	finess_geo TEXT    NOT NULL,
	person     TEXT    NOT NULL,
	feeding    TEXT    NOT NULL,
	at         INTEGER NOT NULL
);
CREATE INDEX consent_person ON consent (person, at, seq);
