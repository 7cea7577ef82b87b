-- What was told of an identity: no older thing is told of it after that.
CREATE INDEX delivery_told ON delivery (recipient, seq) WHERE destination = 'identity' AND state = 'done';
