-- The site stands in the index: what waits for a hospital that is silent is
-- passed over without reading its rows.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (destination, due, seq, finess_geo) WHERE state = 'due';
