-- One day of a site, among years.
CREATE INDEX submission_received ON submission (finess_geo, received);
