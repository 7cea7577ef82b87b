-- The letters that wait for a report, among all that ever left: looked for every
-- few seconds, and counted for those who watch.
CREATE INDEX delivery_waiting ON delivery (due) WHERE state = 'waiting';
