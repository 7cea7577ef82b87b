-- What people decided: who and why stand in the line of the timeline, and a
-- delivery counts the rounds that people had begin again.

ALTER TABLE delivery ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN since INTEGER NOT NULL DEFAULT 0; -- when the last of them began; 0 for the first
ALTER TABLE event ADD COLUMN decided_by TEXT NOT NULL DEFAULT ''; -- national identifier of a professional
ALTER TABLE event ADD COLUMN reason     TEXT NOT NULL DEFAULT '';
