package journal

import (
	"context"
	"database/sql"
	"errors"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

func insertConsent(ctx context.Context, tx *sqldb.Tx, s submissionRow, c gateway.ConsentRow) error {
	_, err := tx.Exec(ctx, `INSERT INTO consent (submission, finess_ej, finess_geo, person, feeding, at) VALUES (?, ?, ?, ?, ?, ?)`,
		s.seq, s.Establishment.FINESSEJ, s.Establishment.FINESSGeo, c.Person, c.Feeding, toNanos(c.At))
	return err
}

const consentQuery = `SELECT seq, feeding, at FROM consent WHERE person = ? ORDER BY at DESC, seq DESC LIMIT 1`

// Consent implements [gateway.Journal].
func (j *Journal) Consent(ctx context.Context, persons []string) (gateway.ConsentRow, error) {
	var last gateway.ConsentRow
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		var lastSeq, lastAt int64
		last = gateway.ConsentRow{}
		for _, p := range persons {
			var seq, at int64
			var feeding string
			err := tx.QueryRow(ctx, consentQuery, p).Scan(&seq, &feeding, &at)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			if last.Person == "" || at > lastAt || at == lastAt && seq > lastSeq {
				last, lastSeq, lastAt = gateway.ConsentRow{Person: p, Feeding: feeding, At: fromNanos(at)}, seq, at
			}
		}
		if last.Person == "" {
			return gateway.ErrNotFound
		}
		return nil
	})
	return last, err
}
