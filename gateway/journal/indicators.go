package journal

import (
	"context"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// Period selects the events that an indicator counts.
type Period struct {
	FINESSGeo []string // sites; empty means none
	From, To  time.Time
	Fictive   bool // count test and demonstration INS too: for a rehearsal, never for a declaration
}

// SendAttempts is one line of the indicator TBB-1 (TBB/va1.01), with what
// TBB-2 (TBB/va1.04) needs: how many send attempts were made for patients with
// a qualified INS. A document of a message is one; a retry is one more.
type SendAttempts struct {
	FINESSGeo string
	Channel   string // destination of the delivery
	TypeCode  string
	Outcome   string // ok, warning, retry, failed
	Count     int64
	Masked    int64 // of these, with a visibility flag
}

// SendAttempts counts TBB-1: From is counted, To is not. It is one query on
// events alone.
func (j *Journal) SendAttempts(ctx context.Context, p Period) ([]SendAttempts, error) {
	if len(p.FINESSGeo) == 0 {
		return nil, nil
	}
	where, args := inSites(p.FINESSGeo)
	args = append(args, toNanos(p.From), toNanos(p.To), p.Fictive)
	var all []SendAttempts
	err := j.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = collect(ctx, tx, func(r scanner) (a SendAttempts, err error) {
			err = r.Scan(&a.FINESSGeo, &a.Channel, &a.TypeCode, &a.Outcome, &a.Count, &a.Masked)
			return a, err
		}, `SELECT finess_geo, destination, type_code, outcome, count(*), SUM(CASE WHEN flags <> '' THEN 1 ELSE 0 END)
			FROM event
			WHERE `+where+` AND attempt > 0 AND time >= ? AND time < ?
			AND destination <> 'zam' AND ins_status = 'QUAL' AND fictive <= ?
			GROUP BY finess_geo, destination, type_code, outcome
			ORDER BY finess_geo, destination, type_code, outcome`, args...)
		return err
	})
	return all, err
}
