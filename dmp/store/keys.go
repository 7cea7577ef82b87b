package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/ins"
)

var idAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// keyLength is the length of a patient key: 16 bytes.
const keyLength = 26

// loadSecret reads the secret of patient keys, and makes it at first open.
func (s *Store) loadSecret(ctx context.Context) error {
	fresh := make([]byte, 32)
	if _, err := io.ReadFull(s.rand, fresh); err != nil {
		return err
	}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO setting (name, value) VALUES ('patient-secret', ?) ON CONFLICT DO NOTHING`, fresh); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM setting WHERE name = 'patient-secret'`).Scan(&s.secret)
	})
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(s.derive("cursor"))
	if err != nil {
		return err
	}
	s.cursorKey, err = cipher.NewGCM(block)
	return err
}

func (s *Store) derive(purpose string) []byte {
	h := hmac.New(sha256.New, s.secret)
	h.Write([]byte(purpose))
	return h.Sum(nil)
}

// patientKey is the opaque name of a patient.
func (s *Store) patientKey(oid ins.OID, matricule string) string {
	return idAlphabet.EncodeToString(s.derive("patient\x00" + string(oid) + "|" + matricule)[:16])
}

// newID makes the id of a resource of a patient.
func (s *Store) newID(patient string) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		return "", err
	}
	return patient + "-" + idAlphabet.EncodeToString(b[:]), nil
}

// patientOf reads the patient part of the id of a resource.
func patientOf(id string) (string, bool) {
	patient, rest, ok := strings.Cut(id, "-")
	return patient, ok && len(patient) == keyLength && len(rest) == keyLength
}

// newUUID makes an entryUUID.
func (s *Store) newUUID() (string, error) {
	var u [16]byte
	if _, err := io.ReadFull(s.rand, u[:]); err != nil {
		return "", err
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]), nil
}

// seal makes an opaque cursor of a search: it would otherwise put an INS and
// what is looked for in a link.
func (s *Store) seal(c cursor) (string, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, s.cursorKey.NonceSize())
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.cursorKey.Seal(nonce, nonce, plain, nil)), nil
}

func (s *Store) unseal(text string) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	n := s.cursorKey.NonceSize()
	if err != nil || len(raw) < n {
		return c, errors.New("not a cursor")
	}
	plain, err := s.cursorKey.Open(nil, raw[:n], raw[n:], nil)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(plain, &c)
}

// instant writes a time of the store: UTC, milliseconds.
func instant(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// parsePatientToken reads urn:oid:<OID>|<matricule>.
func parsePatientToken(token string) (oid ins.OID, matricule string, ok bool) {
	system, matricule, found := strings.Cut(token, "|")
	oid = ins.OID(strings.TrimPrefix(system, fhir.OIDPrefix))
	return oid, matricule, found && strings.HasPrefix(system, fhir.OIDPrefix) && oid.Known() && matricule != ""
}

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func noRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
