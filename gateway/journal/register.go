package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
)

// Register is the [gateway.Register] in the journal's database. What names a
// person is sealed; see [Keys].
type Register struct {
	j      *Journal
	keys   Keys
	random io.Reader
}

var _ gateway.Register = (*Register)(nil)

const keyProof = "passerelle register"

// Register opens the identities of the journal under the keys of a file. It
// closes with the journal. Keys that are not those which sealed what the journal
// holds are refused ([FaultKeyWrong]): they would make everybody unknown.
func (j *Journal) Register(ctx context.Context, keys Keys, random io.Reader) (*Register, error) {
	if len(keys.all) == 0 || random == nil {
		return nil, errors.New("journal: a register needs keys and a source of randomness")
	}
	r := &Register{j: j, keys: keys, random: random}
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		held, err := collect(ctx, tx, func(s scanner) (sealed []byte, err error) {
			var version int64
			err = s.Scan(&version, &sealed)
			return sealed, err
		}, `SELECT version, sealed FROM register_key ORDER BY version`)
		if err != nil {
			return err
		}
		for _, sealed := range held {
			if _, err := keys.open(keyProof, sealed); err != nil {
				return &Error{code: FaultKeyWrong, cause: err}
			}
		}
		for version := len(held) + 1; version <= len(keys.all); version++ {
			sealed, err := Keys{keys.all[:version]}.seal(random, keyProof, []byte(keyProof))
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO register_key (version, sealed) VALUES (?, ?)`, version, sealed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Sealed tells whether the journal holds identities that a key file sealed.
func (j *Journal) Sealed(ctx context.Context) (held bool, err error) {
	err = j.db.Read(ctx, func(tx *sqldb.Tx) error {
		var n int
		err := tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM person LIMIT 1) AS one`).Scan(&n)
		held = n > 0
		return err
	})
	return held, err
}

// sealedPerson is what is sealed of a person.
type sealedPerson struct {
	Record    ins.Record `json:"record"`
	UsedName  string     `json:"used_name,omitempty"`
	UsedGiven string     `json:"used_given,omitempty"`
}

// sealedChange is what is sealed of a change.
type sealedChange struct {
	sealedPerson
	Entry ins.Entry `json:"entry"`
}

func (r *Register) sealJSON(row string, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, &Error{code: FaultEntry, cause: errors.New("what is to be sealed cannot be written")}
	}
	return r.keys.seal(r.random, row, data)
}

func (r *Register) openJSON(row string, sealed []byte, v any) error {
	data, err := r.keys.open(row, sealed)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &Error{code: FaultSealed} // its cause would quote the person
	}
	return nil
}

func personRow(id string) string { return "person/" + id }
func changeRow(id string, version int64) string {
	return fmt.Sprintf("person_change/%s/%d", id, version)
}
func exchangeRow(id string) string { return "insi_exchange/" + id }

const (
	personColumns = `p.seq, p.id, p.finess_ej, p.finess_geo, p.est_name, p.source_oid, p.version, p.sealed`
	personQuery   = `SELECT ` + personColumns + ` FROM person AS p WHERE p.id = ? AND p.finess_ej = ?`
	changesQuery  = `SELECT version, sealed FROM person_change WHERE person = ? ORDER BY version`
	exchangeQuery = `SELECT sealed FROM insi_exchange WHERE message_id = ? AND finess_ej = ?`
	countsQuery   = `SELECT finess_geo, operation, result, count(*) FROM insi_exchange WHERE finess_geo = ? AND at >= ? AND at < ?
		GROUP BY operation, result ORDER BY operation, result`
)

// foundQuery is asked with n hashes, after the kind.
func foundQuery(n int) string {
	return `SELECT ` + personColumns + ` FROM person AS p WHERE p.seq IN (
		SELECT k.person FROM person_key AS k WHERE k.hash IN (?` + strings.Repeat(`, ?`, n-1) + `)) AND p.finess_ej = ? ORDER BY p.seq`
}

type personSeq struct {
	gateway.Person
	seq int64
}

func (r *Register) scanPerson(s scanner) (p personSeq, err error) {
	var sealed []byte
	e := &p.Establishment
	if err := s.Scan(&p.seq, &p.ID, &e.FINESSEJ, &e.FINESSGeo, &e.Name, &e.SourceOID, &p.Version, &sealed); err != nil {
		return p, err
	}
	var content sealedPerson
	err = r.openJSON(personRow(p.ID), sealed, &content)
	p.Record, p.UsedName, p.UsedGiven = content.Record, content.UsedName, content.UsedGiven
	return p, err
}

// Person implements [gateway.Register].
func (r *Register) Person(ctx context.Context, finessEJ, id string) (gateway.Person, error) {
	var p personSeq
	err := r.j.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		p, err = r.scanPerson(tx.QueryRow(ctx, personQuery, id, finessEJ))
		return err
	})
	return p.Person, orNotFound(err)
}

// found reads, one at a time, those whose hashes are among some, and keeps at
// most [gateway.MaxFound] that are wanted.
func (r *Register) found(ctx context.Context, finessEJ string, hashes [][]byte, wanted func(gateway.Person) bool) (all []gateway.Person, err error) {
	if len(hashes) == 0 {
		return nil, nil
	}
	err = r.j.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = r.foundIn(ctx, tx, finessEJ, hashes, wanted)
		return err
	})
	return all, err
}

func (r *Register) foundIn(ctx context.Context, tx *sqldb.Tx, finessEJ string, hashes [][]byte, wanted func(gateway.Person) bool) (all []gateway.Person, err error) {
	args := make([]any, 0, len(hashes)+1)
	for _, h := range hashes {
		args = append(args, h)
	}
	rows, err := tx.Query(ctx, foundQuery(len(hashes)), append(args, finessEJ)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		p, err := r.scanPerson(rows)
		switch {
		case err != nil:
			return nil, err
		case !wanted(p.Person):
			continue
		case len(all) == gateway.MaxFound:
			return nil, &Error{code: gateway.FaultIdentityMany}
		}
		all = append(all, p.Person)
	}
	return all, rows.Err()
}

// The kinds of hashes.
const (
	byINS   = "ins"
	byBirth = "born"
	byLocal = "local"
)

// Search implements [gateway.Register].
func (r *Register) Search(ctx context.Context, finessEJ string, q ins.Query) ([]gateway.Person, error) {
	var hashes [][]byte
	switch {
	case q.INS.Matricule != "":
		hashes = r.keys.hashes(byINS, finessEJ, q.INS.Matricule)
	case q.BirthDate != "":
		hashes = r.keys.hashes(byBirth, finessEJ, q.BirthDate)
	}
	return r.found(ctx, finessEJ, hashes, func(p gateway.Person) bool { return q.Matches(p.Candidate()) })
}

// maxLocal bounds the local numbers of one person and of one question.
const maxLocal = 64

// Known implements [gateway.Register].
func (r *Register) Known(ctx context.Context, finessEJ string, local []ins.LocalID) ([]gateway.Person, error) {
	if len(local) > maxLocal {
		return nil, &Error{code: FaultEntry, cause: errors.New("too many local numbers")}
	}
	var hashes [][]byte
	for _, l := range local {
		hashes = append(hashes, r.keys.hashes(byLocal, finessEJ, l.Authority, l.Value)...)
	}
	return r.found(ctx, finessEJ, hashes, func(gateway.Person) bool { return true })
}

// History implements [gateway.Register].
func (r *Register) History(ctx context.Context, finessEJ, id string) (all []gateway.PersonChange, err error) {
	err = r.j.db.Read(ctx, func(tx *sqldb.Tx) error {
		p, err := r.scanPerson(tx.QueryRow(ctx, personQuery, id, finessEJ))
		if err != nil {
			return err
		}
		all, err = collect(ctx, tx, func(s scanner) (c gateway.PersonChange, err error) {
			var sealed []byte
			var content sealedChange
			c.Person = gateway.Person{ID: p.ID, Establishment: p.Establishment}
			if err := s.Scan(&c.Person.Version, &sealed); err != nil {
				return c, err
			}
			err = r.openJSON(changeRow(p.ID, c.Person.Version), sealed, &content)
			c.Person.Record, c.Person.UsedName, c.Person.UsedGiven = content.Record, content.UsedName, content.UsedGiven
			c.Entry = content.Entry
			return c, err
		}, changesQuery, p.seq)
		return err
	})
	return all, orNotFound(err)
}

// Commit implements [gateway.Register].
func (r *Register) Commit(ctx context.Context, changes []gateway.PersonChange, e *gateway.Entry) error {
	for _, c := range changes {
		if err := judgeChange(c); err != nil {
			return err
		}
	}
	var w writing
	var err error
	if e != nil {
		w, err = r.j.prepared(*e)
	} else {
		err = r.j.blobs.Room(0)
	}
	if err != nil {
		return err
	}
	err = r.j.db.Write(ctx, func(tx *sqldb.Tx) error {
		if e != nil {
			if err := r.j.record(ctx, tx, w); err != nil {
				return err
			}
		}
		for _, c := range changes { // before any of them
			if err := r.sameUnder(ctx, tx, c); err != nil {
				return err
			}
		}
		for _, c := range changes {
			if err := r.change(ctx, tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	return r.j.taken(err)
}

func judgeChange(c gateway.PersonChange) error {
	p := c.Person
	switch {
	case p.ID == "" || p.Version < 1 || p.Establishment.FINESSEJ == "" || p.Establishment.FINESSGeo == "":
		return &Error{code: FaultEntry, cause: errors.New("a person without id, version or establishment")}
	case len(p.Record.Identity.Local) > maxLocal || len(p.Record.Former) > maxLocal:
		return &Error{code: FaultEntry, cause: errors.New("a person with too many numbers")}
	}
	return p.Record.Check() // its code names the rule
}

// change writes one change inside a transaction.
func (r *Register) change(ctx context.Context, tx *sqldb.Tx, c gateway.PersonChange) error {
	p := c.Person
	if err := traced(ctx, tx, p.Establishment.FINESSEJ, c.Entry.Event.Trace); err != nil {
		return err
	}
	content := sealedPerson{Record: p.Record, UsedName: p.UsedName, UsedGiven: p.UsedGiven}
	sealed, err := r.sealJSON(personRow(p.ID), content)
	if err != nil {
		return err
	}
	history, err := r.sealJSON(changeRow(p.ID, p.Version), sealedChange{content, c.Entry})
	if err != nil {
		return err
	}
	est, n := p.Establishment, int64(0)
	if p.Version == 1 {
		n, err = tx.Exec(ctx, `INSERT INTO person (id, finess_ej, finess_geo, est_name, source_oid, version, sealed)
			VALUES (?, ?, ?, ?, ?, 1, ?) ON CONFLICT (id) DO NOTHING`, p.ID, est.FINESSEJ, est.FINESSGeo, est.Name, est.SourceOID, sealed)
	} else {
		n, err = tx.Exec(ctx, `UPDATE person SET version = ?, sealed = ? WHERE id = ? AND finess_ej = ? AND version = ?`,
			p.Version, sealed, p.ID, est.FINESSEJ, p.Version-1)
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return gateway.ErrChanged
	}
	var seq int64
	if err := tx.QueryRow(ctx, `SELECT seq FROM person WHERE id = ?`, p.ID).Scan(&seq); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO person_change (person, finess_ej, finess_geo, version, sealed) VALUES (?, ?, ?, ?, ?)`,
		seq, est.FINESSEJ, est.FINESSGeo, p.Version, history)
	if err != nil {
		return err
	}
	return r.index(ctx, tx, seq, p)
}

// sameUnder tells whether who is found under the INS of a new person is still
// whom its decision saw: two first messages about one person come at once.
func (r *Register) sameUnder(ctx context.Context, tx *sqldb.Tx, c gateway.PersonChange) error {
	if c.Under == nil || c.Person.Record.Identity.Matricule == "" {
		return nil
	}
	id, ej := c.Person.Record.Identity, c.Person.Establishment.FINESSEJ
	q := ins.Query{INS: ins.Pair{Matricule: id.Matricule, OID: id.OID}}
	all, err := r.foundIn(ctx, tx, ej, r.keys.hashes(byINS, ej, id.Matricule), func(p gateway.Person) bool { return q.Matches(p.Candidate()) })
	if err != nil {
		return err
	}
	if !slices.EqualFunc(all, c.Under, func(p gateway.Person, id string) bool { return p.ID == id }) {
		return gateway.ErrChanged
	}
	return nil
}

// index writes the hashes by which a person is found. A local number that
// another person has, under whichever key, was taken meanwhile.
func (r *Register) index(ctx context.Context, tx *sqldb.Tx, seq int64, p gateway.Person) error {
	if _, err := tx.Exec(ctx, `DELETE FROM person_key WHERE person = ?`, seq); err != nil {
		return err
	}
	est, id := p.Establishment, p.Record.Identity
	add := func(kind string, parts ...string) error {
		hashes := r.keys.hashes(append([]string{kind, est.FINESSEJ}, parts...)...)
		if kind == byLocal {
			for _, h := range hashes {
				var taken int
				if err := tx.QueryRow(ctx, `SELECT count(*) FROM person_key WHERE hash = ? AND person <> ?`, h, seq).Scan(&taken); err != nil {
					return err
				}
				if taken > 0 {
					return gateway.ErrChanged
				}
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO person_key (person, finess_ej, finess_geo, kind, hash) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (hash, person) DO NOTHING`, seq, est.FINESSEJ, est.FINESSGeo, kind, hashes[len(hashes)-1])
		return err
	}
	for _, l := range id.Local {
		if err := add(byLocal, l.Authority, l.Value); err != nil {
			return err
		}
	}
	if id.Matricule != "" {
		if err := add(byINS, id.Matricule); err != nil {
			return err
		}
	}
	for _, former := range p.Record.Former {
		if err := add(byINS, former.Matricule); err != nil {
			return err
		}
	}
	if id.Traits.BirthDate == "" {
		return nil
	}
	return add(byBirth, id.Traits.BirthDate)
}

// traced asks of a change by an INSi answer that the exchange was kept before,
// and found one person.
func traced(ctx context.Context, tx *sqldb.Tx, finessEJ string, t *ins.Trace) error {
	if t == nil || t.Channel != ins.ChannelINSi {
		return nil
	}
	var n int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM insi_exchange WHERE message_id = ? AND finess_ej = ? AND result = ?`,
		t.MessageID, finessEJ, ins.Found).Scan(&n)
	if err == nil && n == 0 {
		err = &Error{code: gateway.FaultIdentityTrace}
	}
	return err
}

// failedCall is what a call without a result counts as.
const failedCall = "fault"

// KeepINSi implements [gateway.Register].
func (r *Register) KeepINSi(ctx context.Context, x gateway.INSiExchange) error {
	if x.MessageID == "" || x.Establishment.FINESSEJ == "" || x.Establishment.FINESSGeo == "" || x.At.IsZero() {
		return &Error{code: FaultEntry, cause: errors.New("an exchange without id, establishment or time")}
	}
	if err := r.j.blobs.Room(0); err != nil {
		return err
	}
	sealed, err := r.sealJSON(exchangeRow(x.MessageID), x)
	if err != nil {
		return err
	}
	result := x.Result
	if result == "" || x.Fault != "" {
		result = failedCall
	}
	return r.j.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO insi_exchange (message_id, finess_ej, finess_geo, at, operation, result, sealed)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING`,
			x.MessageID, x.Establishment.FINESSEJ, x.Establishment.FINESSGeo, toNanos(x.At), x.Operation, result, sealed)
		if err == nil && n == 0 {
			err = gateway.ErrDuplicate
		}
		return err
	})
}

// INSi implements [gateway.Register].
func (r *Register) INSi(ctx context.Context, finessEJ, messageID string) (x gateway.INSiExchange, err error) {
	err = r.j.db.Read(ctx, func(tx *sqldb.Tx) error {
		var sealed []byte
		if err := tx.QueryRow(ctx, exchangeQuery, messageID, finessEJ).Scan(&sealed); err != nil {
			return err
		}
		x = gateway.INSiExchange{}
		return r.openJSON(exchangeRow(messageID), sealed, &x)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = gateway.ErrNotFound
	}
	return x, err
}

// INSiCounts implements [gateway.Register].
func (r *Register) INSiCounts(ctx context.Context, finessGeo []string, from, to time.Time) (all []gateway.INSiCount, err error) {
	err = r.j.db.Read(ctx, func(tx *sqldb.Tx) error {
		all = nil
		for _, site := range finessGeo {
			lines, err := collect(ctx, tx, func(s scanner) (c gateway.INSiCount, err error) {
				err = s.Scan(&c.FINESSGeo, &c.Operation, &c.Result, &c.Calls)
				return c, err
			}, countsQuery, site, toNanos(from), toNanos(to))
			if err != nil {
				return err
			}
			all = append(all, lines...)
		}
		return nil
	})
	return all, err
}
