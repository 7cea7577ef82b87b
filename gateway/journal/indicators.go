package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// Period selects the events that an indicator counts.
type Period struct {
	FINESSGeo []string // sites; empty means none
	From, To  time.Time
	Fictive   bool // count test and demonstration INS too: for a rehearsal, never for a declaration
}

// SendAttempts is one line of the indicator TBB-1 (TBB/va1.01), with what
// TBB-2 (TBB/va1.04) needs: how many send attempts were made for patients with
// a qualified INS. A document of a message is one, and so is each recipient of
// its letter; a retry is one more. A receipt is none, but a letter that the
// operator took ends as the last delivery report on it says.
type SendAttempts struct {
	FINESSGeo string
	Channel   string // DMP, MSS-pro or MSS-citizen
	TypeCode  string
	Outcome   string // ok, warning, retry, failed
	Count     int64
	Masked    int64 // of these, with a visibility flag
}

// channels are the names of destinations in the requirement.
var channels = map[string]string{
	gateway.DestinationDMP: "DMP", gateway.DestinationPro: "MSS-pro", gateway.DestinationPat: "MSS-citizen",
}

// attemptsQuery is completed with the sites. Attempts are known by their step:
// receipts carry the number of the attempt that they are about, and are none.
const attemptsQuery = `SELECT finess_geo, destination, type_code, ended, count(*), SUM(CASE WHEN flags <> '' THEN 1 ELSE 0 END)
	FROM (SELECT e.finess_geo, e.destination, e.type_code, e.flags,
			CASE WHEN e.step = '` + gateway.EventMail + `' AND e.outcome IN ('ok', 'warning') THEN COALESCE((
				SELECT r.outcome FROM event AS r
				WHERE r.submission = e.submission AND r.seq > e.seq AND r.step = '` + gateway.EventDSN + `'
				AND r.destination = e.destination AND r.recipient = e.recipient AND r.unique_id = e.unique_id
				ORDER BY r.seq DESC LIMIT 1), e.outcome)
			ELSE e.outcome END AS ended
		FROM event AS e
		WHERE %s AND e.attempt > 0 AND e.time >= ? AND e.time < ?
		AND (e.step = '` + gateway.EventDMP + `' AND e.destination = '` + gateway.DestinationDMP + `'
			OR e.step = '` + gateway.EventMail + `' AND e.destination IN ('` + gateway.DestinationPro + `', '` + gateway.DestinationPat + `'))
		AND e.ins_status = 'QUAL' AND e.fictive <= ?) AS attempt
	GROUP BY finess_geo, destination, type_code, ended
	ORDER BY finess_geo, destination, type_code, ended`

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
			var destination string
			err = r.Scan(&a.FINESSGeo, &destination, &a.TypeCode, &a.Outcome, &a.Count, &a.Masked)
			a.Channel = channels[destination]
			return a, err
		}, fmt.Sprintf(attemptsQuery, where), args...)
		return err
	})
	return all, err
}
