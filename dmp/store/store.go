// Package store is a DMP-style FHIR R4 server: lots of documents come in
// (ITI-65), are found (ITI-66, ITI-67), read (ITI-68), replaced, masked, archived
// and deleted (TD3.3), under the access rules of the DMP. It is a resource server of its own: it
// checks its callers itself and trusts nothing but its configured issuers.
//
// # What is promised
//
// A transaction is all or nothing. It is judged whole before anything is
// written; then the bytes of the documents are made durable under their digest;
// then one SQL transaction writes lot, documents, versions, replaced documents
// and the audit row. A crash before that commit leaves at most bytes that no
// row names, which [Store.Sweep] removes. 200 is answered after the commit.
//
// A masterIdentifier exists once in the store, whoever sends it and however
// many send it at once; so does the uniqueId of a lot. The same lot sent again
// by the same structure (same uniqueId, same bytes) is answered 200 with the
// response of the first time, and writes nothing but its audit row.
//
// Versions: the id of a DocumentReference never changes; each change of its
// metadata makes a version with its own entryUUID, kept in a history that is
// only added to, and can be read (_history). lastUpdated grows strictly within a
// patient. A superseded document changes no more, except to be deleted, and to
// follow the visibility of what replaced it.
//
// The folder belongs to one process and is refused to a second one.
//
// Every exchange leaves an audit row, refusals included, before it is answered;
// rows are chained by a hash for each patient ([Store.VerifyAudit]).
//
// What was received is what is served: only id, meta.versionId,
// meta.lastUpdated, status, the entryUUID and the references that a transaction
// resolves are spliced; everything else keeps its bytes, contained resources
// and primitive extensions included.
//
// # Keys and growth
//
// Every table begins its key with the patient, an opaque keyed hash of OID and
// matricule whose secret is made at first open; the only others lead from a
// uniqueId or a lot to the patient. Ids of resources carry that opaque part.
// A cursor is encrypted: no INS stands in a link.
//
// # Access
//
// Mutual TLS and a bearer (JWT, ES256 or RS256) bound to the certificate of the
// connection (RFC 8705). The TLS listener asks for and verifies certificates;
// the store only compares. Mode "indirecte" (client_credentials, with finess
// and sender) may deposit, replace and delete for its own structure, look for
// one uniqueId (TD3.1b, minimal answer) and ask whether a DMP exists (TD0.2);
// it consults nothing. Mode "direct" (SubjectNameID) may search and read where
// the patient's authorisation is VALIDE, and delete what the professional wrote.
// Mode "patient" (claim patient, urn:oid:OID|matricule, and representative) sees
// that one record and deposits nothing.
//
// Who sees a document, and who may change it (everything else is refused):
//
//	MASQUE_PS          seen by author, structure, médecin traitant, patient and
//	                   representative; changed by the same
//	INVISIBLE_PATIENT  seen by professionals; by patient and representative a
//	                   month after the deposit; changed by author, structure,
//	                   médecin traitant
//	INVISIBLE_REPRESENTANTS_LEGAUX
//	                   seen by all but the representative; changed by author,
//	                   structure, médecin traitant
//	isArchived         seen by all, told, and can be searched on; changed by the
//	                   same, patient, representative, authorised professionals
//	status (deletion)  seen by nobody; changed by author, structure
//
// A document that a caller may not see is 404, is not counted, is not included,
// hides its lot, and relatesTo does not name it.
//
// # Where we differ or had to choose
//
//   - Profiles are PDSm HEAD; a lot or a document must declare its profile.
//   - Delete is the patch of /status to entered-in-error by the depositing
//     structure or the author; the document then answers 410 and is in no search.
//   - A search without authorisation is 403 and says so, rather than an empty
//     list that would read as "no document". A masked document is 404 and is
//     not counted, except for its author and its depositing structure.
//   - A deposit needs no authorisation of the patient, and a mode "direct"
//     deposit is refused: a professional's deposit leaves through the gateway.
//   - The same document in another lot is 409, with the same bytes or not.
//   - A replaced document of another patient is answered as unknown.
//   - A CDA is compared with its entry on id, patient and type; whether it is a
//     good CDA is judged before it comes here.
//   - Folders, FHIR documents and Patient entries are refused by name (422).
//   - The draft's patches replace /securityLabel/0, where confidentiality and
//     visibility take each other's place. Ours stand side by side: an operation on
//     /0 or on the whole list says which visibilities there are, N says none, and
//     the confidentiality of the CDA stays. RFC 6902 on the list works too. The
//     path of isArchived is taken as the draft writes it, and as RFC 6901 does.
//     Any other element is refused by 405.
//   - Masking follows the chain of replaced versions, and the replacement of a
//     masked document is masked: a new version must not undo what a patient asked.
//   - The médecin traitant sees what is masked: general knowledge of the DMP, not
//     in the texts at hand. R.1111-53 alone gives the month of INVISIBLE_PATIENT.
//   - No break of glass, no regulation mode, no matrix of habilitations by
//     profession: what they would open stays closed.
//   - A modifier that is not served is refused in both handlings, an unknown
//     parameter only in strict: ignored, a modifier would give the contrary.
//   - period meets a date that falls in it; other dates must contain the value.
//   - Locations and attachment.url are relative to the base: they stay true
//     behind another base.
//   - JSON only; XML is 415 or 406.
package store

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/blob"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

//go:embed schema/*.sql
var schema embed.FS

// Limits bound what one caller can cost. Zero values mean the default.
type Limits struct {
	Body         int64 // bytes of a request; 40 MiB
	Transactions int   // transactions read at the same time; 4
	PageSize     int   // entries of one page at most; 200

	BodyTime time.Duration // to send a body; 90 s
	Wait     time.Duration // for a transaction to begin, before STORE-BUSY; 10 s
}

// Config says where the store is and whom it believes.
type Config struct {
	Dir        string // store.db, blobs/ and lock; created if absent, and held by one process
	BaseURL    string // FHIR base, as callers see it
	Issuers    []Issuer
	HTTPClient *http.Client // for the keys of issuers; required with issuers
	Clock      func() time.Time
	Rand       io.Reader
	Logger     *slog.Logger
	Limits     Limits
	Reserve    int64 // bytes that must stay free on the disk
}

// Store is the server. It is an [http.Handler].
type Store struct {
	base      *url.URL
	lock      io.Closer
	db        *sqldb.DB
	blobs     *blob.Folder
	issuers   map[string]*issuer
	clock     func() time.Time
	rand      io.Reader
	log       *slog.Logger
	limits    Limits
	slots     chan struct{}
	secret    []byte
	cursorKey cipher.AEAD
}

// Open opens a store, and creates it if it is not there.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.BaseURL, "/"))
	switch {
	case err != nil || base.Host == "":
		return nil, errors.New("store: BaseURL is not an absolute URL")
	case cfg.Clock == nil || cfg.Rand == nil || cfg.Logger == nil:
		return nil, errors.New("store: Clock, Rand and Logger are required")
	case len(cfg.Issuers) > 0 && cfg.HTTPClient == nil:
		return nil, errors.New("store: HTTPClient is required with issuers")
	}
	s := &Store{base: base, clock: cfg.Clock, rand: cfg.Rand, log: cfg.Logger, limits: cfg.Limits, issuers: map[string]*issuer{}}
	if s.limits.Body <= 0 {
		s.limits.Body = 40 << 20
	}
	if s.limits.Transactions <= 0 {
		s.limits.Transactions = 4
	}
	if s.limits.PageSize <= 0 {
		s.limits.PageSize = 200
	}
	if s.limits.BodyTime <= 0 {
		s.limits.BodyTime = 90 * time.Second
	}
	if s.limits.Wait <= 0 {
		s.limits.Wait = 10 * time.Second
	}
	s.slots = make(chan struct{}, s.limits.Transactions)
	for _, i := range cfg.Issuers {
		if i.Issuer == "" || i.JWKSURL == "" || i.Audience == "" {
			return nil, errors.New("store: an issuer needs Issuer, JWKSURL and Audience")
		}
		s.issuers[i.Issuer] = &issuer{Issuer: i, client: cfg.HTTPClient, clock: cfg.Clock}
	}
	if err := blob.MakeDir(cfg.Dir); err != nil {
		return nil, err
	}
	// Before anything else: opening the rest would disturb a running store.
	s.lock, err = sqldb.Lock(filepath.Join(cfg.Dir, "lock"))
	if errors.Is(err, sqldb.ErrLocked) {
		return nil, fault.New(FaultLocked).Because(err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) error {
	steps, err := sqldb.Migrations(schema, "schema")
	if err != nil {
		return err
	}
	s.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(cfg.Dir, "blobs"), Clock: cfg.Clock, Reserve: cfg.Reserve})
	if err != nil {
		return err
	}
	s.db, err = sqldb.Open(ctx, sqldb.Config{Path: filepath.Join(cfg.Dir, "store.db"), Migrations: steps})
	if err != nil {
		return err
	}
	return s.loadSecret(ctx)
}

// Close closes the store and gives its folder back. Exchanges under way fail.
func (s *Store) Close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// The states of a DMP.
const (
	StateOpen   = "open"
	StateClosed = "closed"
)

// The statuses of an authorisation.
const (
	Valid   = "VALIDE"
	Expired = "EXPIRE"
	Blocked = "INTERDIT"
)

// Authorisation is what a patient lets one professional do.
type Authorisation struct {
	NationalID string
	Status     string
	Attending  bool // médecin traitant: sees what is masked
}

// Patient is a DMP and who may read it.
type Patient struct {
	Identity       ins.Identity
	State          string
	Authorisations []Authorisation
}

// Seed opens DMPs, or brings what is known of them up to date. Documents stay.
func (s *Store) Seed(ctx context.Context, patients []Patient) error {
	for _, p := range patients {
		if p.Identity.Matricule == "" || p.Identity.OID == "" {
			return errors.New("store: a DMP needs an INS")
		}
		if p.State != StateOpen && p.State != StateClosed {
			return errors.New("store: the state of a DMP is open or closed")
		}
	}
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, p := range patients {
			identity, err := json.Marshal(p.Identity)
			if err != nil {
				return err
			}
			key := s.patientKey(p.Identity.OID, p.Identity.Matricule)
			if _, err := tx.Exec(ctx, `INSERT INTO patient (patient, oid, matricule, identity, state) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (patient) DO UPDATE SET identity = excluded.identity, state = excluded.state`,
				key, string(p.Identity.OID), p.Identity.Matricule, identity, p.State); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM authorisation WHERE patient = ?`, key); err != nil {
				return err
			}
			for _, a := range p.Authorisations {
				if _, err := tx.Exec(ctx, `INSERT INTO authorisation (patient, national_id, status, attending) VALUES (?, ?, ?, ?)`,
					key, a.NationalID, a.Status, a.Attending); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Sweep removes bytes older than before that no document names: what a crash
// or a lost race left between the bytes and the commit.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	var old []string
	err = s.blobs.Walk(ctx, func(i blob.Info) error {
		if i.Modified.Before(before) {
			old = append(old, i.Digest)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, digest := range old {
		// Inside the write lock: nobody can commit a row that names it meanwhile.
		err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
			var one int
			err := tx.QueryRow(ctx, `SELECT 1 FROM document WHERE content = ? LIMIT 1`, digest).Scan(&one)
			if err == nil || !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			gone, err := s.blobs.Remove(ctx, digest, before)
			if err == nil && gone {
				removed++
			}
			return err
		})
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// known is the row of a patient.
type known struct {
	key         string
	oid         ins.OID
	matricule   string
	identity    ins.Identity
	state       string
	lastUpdated int64
}

// patient reads the row of a patient; nil when there is none.
func (s *Store) patient(ctx context.Context, tx *sqldb.Tx, key string) (*known, error) {
	p := known{key: key}
	var raw []byte
	err := tx.QueryRow(ctx, `SELECT oid, matricule, identity, state, last_updated FROM patient WHERE patient = ?`, key).
		Scan(&p.oid, &p.matricule, &raw, &p.state, &p.lastUpdated)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &p, json.Unmarshal(raw, &p.identity)
}

// tick gives the lastUpdated of a change to a patient's record, and notes it.
func (s *Store) tick(ctx context.Context, tx *sqldb.Tx, p *known) (int64, error) {
	p.lastUpdated = max(s.clock().UnixMilli(), p.lastUpdated+1)
	_, err := tx.Exec(ctx, `UPDATE patient SET last_updated = ? WHERE patient = ?`, p.lastUpdated, p.key)
	return p.lastUpdated, err
}
