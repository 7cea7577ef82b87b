//go:build !nosandbox

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// keyFile writes a key file.
func keyFile(t *testing.T, line string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "identites.key")
	if err := os.WriteFile(file, []byte(line+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// An ADT teaches an identity, another one withdraws its INS: the hospital's
// application, which did not say so, is told by an A47 until it acknowledges.
func TestADTToA47(t *testing.T) {
	r := newRoute(t, nil)
	who := testdata.PatientByID(testdata.PatientTrois)
	o := testdata.MessageOptions{ControlID: "REG-1", From: "GAM", Patient: who}
	r.send(testdata.ADT(testdata.ADTOptions{MessageOptions: o}))
	o.ControlID, o.NoINS, o.Reliability = "REG-2", true, []string{"PROV"}
	ack := r.send(testdata.ADT(testdata.ADTOptions{MessageOptions: o}))
	if got := r.settled(field(ack, "MSA", 3)); got != "done" {
		t.Fatalf("state %s", got)
	}
	var told []string
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	r.getJSON(http.DefaultClient, r.w.info.Hospital.Messages, &list)
	for _, m := range list.Messages {
		if strings.Contains(m.Raw, "|ADT^A47^ADT_A30|") {
			told = append(told, m.Raw)
		}
	}
	if len(told) != 1 || field([]byte(told[0]), "PID", 32) != "PROV" || !strings.HasPrefix(field([]byte(told[0]), "PID", 3), `""^^^ASIP-SANTE-INS-NIR&`) ||
		!strings.HasPrefix(field([]byte(told[0]), "MRG", 1), who.Matricule+"^^^") {
		t.Fatalf("%q", told)
	}
	for _, secret := range []string{who.Matricule, who.BirthName} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("%s stands in the log", secret)
		}
	}
}

// A key file that is not the journal's own stops the start, with its code.
func TestStartUnderAnotherKey(t *testing.T) {
	r := newRehearsal(t)
	start := func(file string) error {
		c := r.w.config
		c.Storage.KeyFile, c.MSS = file, nil
		m := &Main{Config: c, Clock: time.Now, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		if err := m.Start(t.Context()); err != nil {
			return err
		}
		return m.Close(t.Context())
	}
	if err := start(r.w.config.Storage.KeyFile); err != nil {
		t.Fatal(err)
	}
	other := keyFile(t, hex.EncodeToString(bytes.Repeat([]byte("autre"), 8)), 0o600)
	if err := start(other); err == nil || !strings.Contains(err.Error(), "GW-KEY-WRONG") {
		t.Errorf("%v", err)
	}
	if err := start(r.w.config.Storage.KeyFile); err != nil {
		t.Errorf("the right key again: %v", err)
	}
}
