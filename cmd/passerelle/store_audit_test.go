package main

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/store"
)

// auditedStore is the folder of a store that refused one caller, whose audit is
// then changed.
func auditedStore(t *testing.T, change string) string {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, BaseURL: "https://dmp.test/fhir", Clock: time.Now, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "https://dmp.test/fhir/DocumentReference", nil))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if change == "" {
		return dir
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "store.db")) // behind the store's back
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStoreAuditVerify(t *testing.T) {
	whole := auditedStore(t, "")
	forged := auditedStore(t, `DROP TRIGGER audit_no_update; UPDATE audit SET outcome = 'ok'`)
	running := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Dir: running, BaseURL: "https://dmp.test/fhir", Clock: time.Now, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	config := filepath.Join(t.TempDir(), "store.yaml")
	if err := os.WriteFile(config, []byte("environment: test\ndata: "+whole+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"ok/whole", []string{"--data", whole}, 0, whole + " : journal d'audit intact, 1 ligne."},
		{"ok/by configuration", []string{"--config", config}, 0, "intact, 1 ligne."},
		{"ok/English", []string{"--data", whole, "--lang", "en"}, 0, "audit trail whole, 1 row."},
		{"fail/changed", []string{"--data", forged}, exitWrong, "STORE-AUDIT"},
		{"fail/changed, told", []string{"--data", forged}, exitWrong, "journal d'audit rompu."},
		{"fail/running", []string{"--data", running}, exitFailure, "STORE-LOCKED"},
		{"fail/no store", []string{"--data", empty}, exitUsage, "store.db : fichier ou dossier introuvable"},
		{"fail/no configuration", []string{"--config", "absent.yaml"}, exitUsage, "introuvable"},
		{"fail/neither", nil, exitUsage, "il manque l'option"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := commandLine(t, append([]string{"store", "audit", "verify"}, c.args...)...)
			if code != c.code || !strings.Contains(out+errOut, c.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.want, out, errOut)
			}
		})
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("a store was made where there was none: %v, %v", left, err)
	}
	_, out, _ := commandLine(t, "store", "audit", "verify", "--json", "--data", forged)
	var r auditReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.OK || len(r.Findings) != 1 || r.Findings[0].Where == "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// The store alone is started as it was before it had a second command.
func TestStoreStillServes(t *testing.T) {
	if code, _, errOut := commandLine(t, "store", "--config", "absent.yaml"); code != exitUsage || !strings.Contains(errOut, "absent.yaml : fichier ou dossier introuvable") {
		t.Errorf("exit %d\n%s", code, errOut)
	}
}
