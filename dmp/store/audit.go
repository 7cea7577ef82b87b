package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// trace is what is known of an exchange while it goes on; it becomes an audit
// row. It holds technical ids, never an INS.
type trace struct {
	action  string
	caller  caller
	patient string // key; empty when unknown
	target  []string
	noted   bool // the row was written with what it is about
}

// note adds the audit row of an exchange to a transaction.
func (s *Store) note(ctx context.Context, tx *sqldb.Tx, t *trace, outcome string, status int) error {
	var seq int64
	var last string
	err := tx.QueryRow(ctx, `SELECT seq, hash FROM audit WHERE patient = ? ORDER BY seq DESC LIMIT 1`, t.patient).Scan(&seq, &last)
	if err != nil && !noRows(err) {
		return err
	}
	row := auditRow{patient: t.patient, seq: seq + 1, at: s.clock().UnixMilli(), action: t.action, outcome: outcome, http: status,
		mode: t.caller.mode, client: t.caller.client, finess: t.caller.finess, sender: t.caller.sender, target: strings.Join(t.target, " ")}
	_, err = tx.Exec(ctx, `INSERT INTO audit (patient, seq, at, action, outcome, http, mode, client, finess, sender, target, hash)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		row.patient, row.seq, row.at, row.action, row.outcome, row.http, row.mode, row.client, row.finess, row.sender, row.target, row.hash(last))
	return err
}

type auditRow struct {
	patient, action, outcome, mode, client, finess, sender, target string
	seq, at                                                        int64
	http                                                           int
}

func (r auditRow) hash(last string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%q|%d|%d|%q|%q|%d|%q|%q|%q|%q|%q", last,
		r.patient, r.seq, r.at, r.action, r.outcome, r.http, r.mode, r.client, r.finess, r.sender, r.target))
	return hex.EncodeToString(sum[:])
}

// VerifyAudit reads every audit row and recomputes its chain. It says how many
// rows there are, and fails at the first that was changed or is missing. Rows
// that were cut off at the end of a chain leave no gap: only their number tells.
func (s *Store) VerifyAudit(ctx context.Context) (rows int, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		rows = 0
		list, err := tx.Query(ctx, `SELECT patient, seq, at, action, outcome, http, mode, client, finess, sender, target, hash
			FROM audit ORDER BY patient, seq`)
		if err != nil {
			return err
		}
		defer list.Close()
		var patient, last string
		var seq int64
		for list.Next() {
			var r auditRow
			var hash string
			if err := list.Scan(&r.patient, &r.seq, &r.at, &r.action, &r.outcome, &r.http, &r.mode, &r.client, &r.finess, &r.sender, &r.target, &hash); err != nil {
				return err
			}
			if rows == 0 || r.patient != patient {
				patient, last, seq = r.patient, "", 0
			}
			if r.seq != seq+1 || r.hash(last) != hash {
				return fault.New(FaultAudit).At(r.patient + "/" + strconv.FormatInt(r.seq, 10))
			}
			last, seq = hash, r.seq
			rows++
		}
		return list.Err()
	})
	return rows, err
}
