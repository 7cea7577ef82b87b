-- Who sees a document, and the document that it replaced.

ALTER TABLE authorisation ADD COLUMN attending INTEGER NOT NULL DEFAULT 0; -- médecin traitant

ALTER TABLE document ADD COLUMN invisible INTEGER NOT NULL DEFAULT 0;  -- INVISIBLE_PATIENT
ALTER TABLE document ADD COLUMN secret    INTEGER NOT NULL DEFAULT 0;  -- INVISIBLE_REPRESENTANTS_LEGAUX
ALTER TABLE document ADD COLUMN archived  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE document ADD COLUMN deposited INTEGER NOT NULL DEFAULT 0;  -- ms, of version 1
ALTER TABLE document ADD COLUMN replaces  TEXT    NOT NULL DEFAULT ''; -- id

UPDATE document SET
    invisible = CAST(resource AS TEXT) LIKE '%"INVISIBLE_PATIENT"%',
    secret    = CAST(resource AS TEXT) LIKE '%"INVISIBLE_REPRESENTANTS_LEGAUX"%',
    archived  = EXISTS (SELECT 1 FROM json_each(CAST(resource AS TEXT), '$.extension') e
                WHERE json_extract(e.value, '$.url') LIKE '%/pdsm-ext-is-archived' AND json_extract(e.value, '$.valueBoolean') = 1),
    replaces  = COALESCE(substr(json_extract(CAST(resource AS TEXT), '$.relatesTo[0].target.reference'), 19), ''),
    deposited = (SELECT updated FROM list WHERE list.patient = document.patient AND list.id = document.lot);
