-- Every key begins with the patient, so that an engine can shard; the others
-- only lead to the patient, and setting holds what belongs to the store itself.

CREATE TABLE setting (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);

CREATE TABLE patient (
    patient      TEXT    NOT NULL PRIMARY KEY, -- keyed hash of OID and matricule
    oid          TEXT    NOT NULL,
    matricule    TEXT    NOT NULL,
    identity     BLOB    NOT NULL,             -- ins.Identity, JSON
    state        TEXT    NOT NULL CHECK (state IN ('open', 'closed')),
    last_updated INTEGER NOT NULL DEFAULT 0    -- ms; only grows
);

CREATE TABLE authorisation (
    patient     TEXT NOT NULL REFERENCES patient (patient),
    national_id TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('VALIDE', 'EXPIRE', 'INTERDIT')),
    PRIMARY KEY (patient, national_id)
);

CREATE TABLE list (
    patient   TEXT    NOT NULL REFERENCES patient (patient),
    id        TEXT    NOT NULL,
    unique_id TEXT    NOT NULL,
    finess    TEXT    NOT NULL,
    digest    TEXT    NOT NULL, -- SHA-256 of the transaction as it came
    date      INTEGER NOT NULL, -- ms
    updated   INTEGER NOT NULL, -- ms
    response  BLOB    NOT NULL,
    resource  BLOB    NOT NULL,
    PRIMARY KEY (patient, id)
);
CREATE INDEX list_unique_id ON list (patient, unique_id);

CREATE TABLE document (
    patient      TEXT    NOT NULL REFERENCES patient (patient),
    id           TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    unique_id    TEXT    NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('current', 'superseded', 'entered-in-error')),
    hidden       INTEGER NOT NULL, -- MASQUE_PS
    type         TEXT    NOT NULL, -- system|code, one a line
    category     TEXT    NOT NULL,
    date         INTEGER NOT NULL, -- ms
    updated      INTEGER NOT NULL, -- ms
    finess       TEXT    NOT NULL, -- structure that deposited it
    authors      TEXT    NOT NULL, -- national ids, one a line
    lot          TEXT    NOT NULL, -- id of the list
    content      TEXT    NOT NULL, -- digest of the bytes
    content_type TEXT    NOT NULL,
    size         INTEGER NOT NULL,
    hash         TEXT    NOT NULL, -- SHA-1, base64
    resource     BLOB    NOT NULL,
    PRIMARY KEY (patient, id)
);
CREATE INDEX document_unique_id ON document (patient, unique_id);
CREATE INDEX document_lot ON document (patient, lot);
CREATE INDEX document_content ON document (content);

CREATE TABLE document_history (
    patient  TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    finess   TEXT    NOT NULL, -- who made this version
    sender   TEXT    NOT NULL,
    resource BLOB    NOT NULL,
    PRIMARY KEY (patient, id, version),
    FOREIGN KEY (patient, id) REFERENCES document (patient, id)
);

CREATE TABLE unique_id (
    unique_id TEXT NOT NULL PRIMARY KEY,
    patient   TEXT NOT NULL
);

CREATE TABLE lot (
    unique_id TEXT NOT NULL PRIMARY KEY,
    patient   TEXT NOT NULL
);

CREATE TABLE audit (
    patient   TEXT    NOT NULL, -- empty when the request named none that we know
    seq       INTEGER NOT NULL, -- 1, 2, … for each patient
    at        INTEGER NOT NULL, -- ms
    action    TEXT    NOT NULL, -- ITI-65, TD3.1b, …
    outcome   TEXT    NOT NULL, -- ok, or the code of the refusal
    http      INTEGER NOT NULL,
    mode      TEXT    NOT NULL,
    client    TEXT    NOT NULL,
    finess    TEXT    NOT NULL,
    sender    TEXT    NOT NULL,
    target    TEXT    NOT NULL, -- technical ids, blank-separated
    hash      TEXT    NOT NULL, -- of the previous hash and this row
    PRIMARY KEY (patient, seq)
);

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
CREATE TRIGGER history_no_update BEFORE UPDATE ON document_history BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;
CREATE TRIGGER history_no_delete BEFORE DELETE ON document_history BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;
