// Package journal is the durable record: submissions, their documents, their
// deliveries, their timelines; who is logged in ([Logins], a [psc.Store]); and
// the identities held ([Register]). It implements [gateway.Journal] on one folder:
//
//	journal.db   SQLite, WAL, synchronous=FULL
//	blobs/       bytes of messages and documents, under their SHA-256
//	lock         held as long as the journal is open
//
// # What is promised
//
// What a method that returned nil wrote survives a crash of the process and of
// the machine; what a method that returned an error was to write is not there.
// Bytes are durable before a row names them: [Journal.Record] looks for every
// digest of its entry inside its own transaction, and [Journal.Sweep] removes
// bytes only inside a transaction in which no row names them. Writers are
// served one at a time, so the two cannot cross.
//
// Order: submissions are numbered in the order of their commits. Two deliveries
// to the same destination whose submissions name a common document (as what
// they bring or as what they replace) are leased in that order; a delivery is
// out of the way of the next once it is done, failed or stopped, not while it
// waits for its next attempt. A letter is out of the way once the operator has
// it, and only in the way of letters to the same person.
//
// Letters: what [Journal.MarkLetter] noted stands for ever, and no sweep takes
// it, so that every resend is the same bytes under the same Message-ID. What a
// receipt says is applied once, whenever it comes; of two that disagree the last
// one stands, but what was decided of a letter that changed meanwhile (begun
// again by a person, or settled by its report) is not applied. It changes the one delivery that it is about, and the state of its
// submission.
//
// Decisions of people: the condition on what they saw stands in the update
// itself, so of two the first is written and the other finds things changed. A
// running lease wins over a person; one that ran out does not.
//
// Duplicates: a key is recorded once; of two identical messages that come at
// once, exactly one Record succeeds.
//
// Leases: the folder belongs to one process, refused to a second one. Hence no
// lease of a previous process can still be worked on when the journal opens,
// and all of them are void at once. Their attempts stay counted, and what was
// marked as sent stays marked.
//
// Below the reserve of free space nothing new is kept or recorded, so that the
// outcome of what was accepted can still be.
//
// # Identities
//
// A [Register] seals what names a person by AES-256-GCM (a fresh nonce, the id of
// the row as additional data, the version of the key in front) under a key file
// that the journal never sees the rest of: identity, history, INSi request and
// answer. People are found by HMAC of matricule, birth date and local number,
// keyed by the same file and bound to their legal entity. A key is changed by
// adding a line to the file: the last one seals, all of them open and find. A
// file that is not the one which sealed is told ([FaultKeyWrong]) when the
// register opens; it never passes for an empty one. A person and their history
// change together, with the entry of the journal that goes with it, or not at
// all; of two changes made of one version exactly one succeeds, the other is
// told to read again; so is who made a new person without having seen who has
// the same INS since.
//
// The messages and documents of the journal itself are not sealed: they stand
// as they came, an ADT like the others, in a folder that its owner alone can
// read.
//
// # Where we differ or had to choose
//
//   - Of an INSi exchange the site, the time, the operation and the result stand
//     in clear, so that calls can be counted (TBB-3) without opening them.
//   - Rows sealed under an older key are sealed anew only when their person
//     changes; the history never is.
//   - What is told of one identity leaves in its order; other deliveries never
//     wait for it.
//   - Events are only appended; the database refuses to change or remove them.
//   - An event repeats what indicators need of its submission (segur-rem §4.2):
//     establishment, stay, INS status. Whether the INS is fictitious is kept as a
//     flag; the matricule and the traits are in the envelope alone.
//   - The state of a submission is counted anew at every settlement from its
//     deliveries to the outside; ZAM, webhooks and read receipts do not count,
//     since telling how it went is not what it asked for. A letter that waits for
//     its report leaves it pending, even after the time at which the report was
//     expected.
//   - No outcome takes a submission out of quarantine: a person does ([Journal.Decide]).
//   - A new round counts its attempts from one, and gives up by its own age.
//   - A receipt that says nothing of delivery (MDN) leaves a running lease alone:
//     without it the letter could be sent by another while it is being sent.
//   - An attempt of the indicators ends as the last delivery report says, when
//     there is one: what the operator took and could not deliver is no success.
//   - The code of a submission is that of its last failure; once all is done it
//     has none, the timeline keeps the history. A ZAM, webhook or read receipt
//     that the other side did not take leaves the state alone and gives its code to a submission
//     that has no other: it is done, and its sender was not told.
//   - The fate of a document counts what is queued for the DMP as if it were done:
//     while the DMP is down, a replacement finds the document that it replaces,
//     and a second replacement of it is refused as it would be otherwise.
//   - A superseded document never becomes current again: sending a lot twice
//     finds the document in the DMP and must not undo its replacement.
//   - A webhook repeats nothing of the lines that it tells: it names them, and
//     they never change.
//   - A delivery that waits for an earlier one has no next time of its own.
//   - Of what was said of a patient nothing is overwritten; which row counts is
//     found when asked.
//   - A list gives submissions without their envelope and receipt: a page of
//     them must stay small.
//   - Below the reserve people can still log in: one of them must make room.
//   - A lease that ran out but that nobody took over may still be settled by its
//     holder: the work was done, and saying so is better than doing it again.
package journal

import (
	"context"
	"embed"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/blob"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

//go:embed schema/*.sql
var schema embed.FS

// Config says where the journal is.
type Config struct {
	Dir      string           // created if absent; on a local disk
	Clock    func() time.Time // required
	Logger   *slog.Logger     // required
	Reserve  int64            // bytes that must stay free on the disk for anything new to be accepted
	MaxBytes int64            // the database never grows beyond this; 0 means the disk decides
}

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	lock  io.Closer
	blobs *blob.Folder
	db    *sqldb.DB
}

var _ gateway.Journal = (*Journal)(nil)

// Open opens the journal and voids the leases of the process before.
func Open(ctx context.Context, cfg Config) (*Journal, error) {
	if cfg.Dir == "" || cfg.Clock == nil || cfg.Logger == nil {
		return nil, errors.New("journal: Dir, Clock and Logger are required")
	}
	if err := blob.MakeDir(cfg.Dir); err != nil {
		return nil, err
	}
	// Before anything else: opening the rest would disturb a running gateway.
	lock, err := sqldb.Lock(filepath.Join(cfg.Dir, "lock"))
	if errors.Is(err, sqldb.ErrLocked) {
		err = &Error{code: FaultLocked, cause: err}
	}
	if err != nil {
		return nil, err
	}
	j := &Journal{lock: lock}
	if err := j.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (j *Journal) open(ctx context.Context, cfg Config) error {
	steps, err := sqldb.Migrations(schema, "schema")
	if err != nil {
		return err
	}
	j.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(cfg.Dir, "blobs"), Clock: cfg.Clock, Reserve: cfg.Reserve})
	if err != nil {
		return err
	}
	j.db, err = sqldb.Open(ctx, sqldb.Config{
		Path: filepath.Join(cfg.Dir, "journal.db"), Migrations: steps, MaxBytes: cfg.MaxBytes,
	})
	if err != nil {
		return err
	}
	var void int64
	err = j.db.Write(ctx, func(tx *sqldb.Tx) error {
		void, err = tx.Exec(ctx, `UPDATE delivery SET holder = '', lease_until = 0 WHERE holder <> ''`)
		return err
	})
	if err == nil && void > 0 {
		cfg.Logger.Info("deliveries interrupted by the last stop are due again", "count", void)
	}
	return err
}

// Close closes the journal and gives its folder back.
func (j *Journal) Close() error {
	var errs []error
	if j.db != nil {
		errs = append(errs, j.db.Close())
	}
	return errors.Join(append(errs, j.lock.Close())...)
}

// Check tells whether the journal could take an entry now: it can be read, and
// the disk has more room than the reserve.
func (j *Journal) Check(ctx context.Context) error {
	if err := j.blobs.Room(0); err != nil {
		return err
	}
	return j.db.Read(ctx, func(tx *sqldb.Tx) error {
		var n int
		return tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM submission LIMIT 1) AS one`).Scan(&n)
	})
}

// Keep implements [gateway.Journal].
func (j *Journal) Keep(ctx context.Context, data []byte) (string, error) {
	return j.blobs.Put(ctx, data)
}

// Fetch implements [gateway.Journal].
func (j *Journal) Fetch(ctx context.Context, digest string) ([]byte, error) {
	return j.blobs.Get(ctx, digest)
}

// sweepBatch bounds how long a sweep holds up those who write.
const sweepBatch = 100

// Sweep implements [gateway.Journal].
func (j *Journal) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	var old []string
	flush := func() error {
		n := 0
		err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
			n = 0
			for _, digest := range old {
				if named, err := named(ctx, tx, digest); err != nil || named {
					if err != nil {
						return err
					}
					continue
				}
				gone, err := j.blobs.Remove(ctx, digest, before)
				if err != nil {
					return err
				}
				if gone {
					n++
				}
			}
			return nil
		})
		removed += n
		old = old[:0]
		return err
	}
	err = j.blobs.Walk(ctx, func(i blob.Info) error {
		if i.Modified.Before(before) {
			old = append(old, i.Digest)
		}
		if len(old) < sweepBatch {
			return nil
		}
		return flush()
	})
	if err == nil && len(old) > 0 {
		err = flush()
	}
	return removed, err
}

const namedQuery = `SELECT CASE WHEN
	EXISTS (SELECT 1 FROM submission WHERE digest = ? AND kept = 1) OR
	EXISTS (SELECT 1 FROM document WHERE digest = ?) OR
	EXISTS (SELECT 1 FROM delivery WHERE letter = ? AND letter <> '') THEN 1 ELSE 0 END`

func named(ctx context.Context, tx *sqldb.Tx, digest string) (bool, error) {
	var n int
	err := tx.QueryRow(ctx, namedQuery, digest, digest, digest).Scan(&n)
	return n > 0, err
}
