//go:build !nosandbox

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// talkative logs everything into l. Once all is closed, no trait and no matricule
// of the fictitious people may stand there: whatever an end-to-end test is about,
// its log is searched.
func (l *logText) talkative(t *testing.T, whose string) *slog.Logger {
	t.Cleanup(func() {
		for _, line := range tellsOf([]byte(l.String()), testdata.Patients()) {
			t.Errorf("the log of %s tells who a patient is: %s", whose, line)
		}
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// tellsOf gives the first lines that say a trait or a matricule of one of the
// people: in words of their own, or a number in any form.
func tellsOf(log []byte, people []testdata.Patient) (lines []string) {
	own := map[string]string{}
	var words []string
	for _, p := range people {
		if len(p.Matricule) >= 13 {
			own[p.Matricule[:13]] = p.Matricule
		}
		day := strings.Split(p.BirthDate, "-")
		for _, w := range []string{p.BirthName, p.FirstGiven, p.GivenNames, p.BirthDate, strings.Join(day, ""), day[2] + "/" + day[1] + "/" + day[0], p.Street} {
			if w != "" {
				words = append(words, regexp.QuoteMeta(w))
			}
		}
	}
	said := regexp.MustCompile(`(^|[^A-Za-zÀ-ÿ0-9])(` + strings.Join(words, "|") + `)($|[^A-Za-zÀ-ÿ0-9])`)
	for line := range bytes.Lines(log) {
		if len(lines) < 5 && (said.Match(line) || len(spoken(line, own)) > 0) {
			lines = append(lines, string(bytes.TrimSpace(line)))
		}
	}
	return lines
}

// The search sees what it looks for, and no more.
func TestLogSearch(t *testing.T) {
	people := testdata.Patients()
	for name, line := range map[string]string{
		"fail/birth name":   `level=WARN msg="refused" patient=VALADIER`,
		"fail/given name":   `msg="la patiente CLAIRE"`,
		"fail/birth date":   `date=1980-07-14`,
		"fail/date of HL7":  `PID|||||||19800714|F`,
		"fail/matricule":    `to=280076311310118@patient.mssante.fr`,
		"fail/in base64":    `body="eyJtYXRyaWN1bGUiOiIyODAwNzYzMTEzMTAxMTgifQ=="`,
		"ok/submission":     `msg=submission submission=01a20050-cfa1-7607-82fe-c9ae26dcc441 outcome=accepted`,
		"ok/a professional": `national_id=819990000010 step=dmp`,
		"ok/part of a word": `msg=ECLAIREUR`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := len(tellsOf([]byte(line), people)) > 0; got != strings.HasPrefix(name, "fail/") {
				t.Errorf("seen: %v", got)
			}
		})
	}
}

// The sandbox and its gateway, as a person starts them, talkative: neither what
// they print nor what they log says who anybody is.
func TestSandboxLogs(t *testing.T) {
	log, printed := &logText{}, &logText{}
	e := &env{ctx: t.Context(), out: printed, err: log, clock: time.Now, random: rand.Reader, verbose: true,
		log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if err := (&sandboxCmd{Demo: true, Once: true, Data: t.TempDir()}).Run(e); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if log.String() == "" {
		t.Fatal("nothing was logged: nothing is proven")
	}
	for what, text := range map[string]string{"log": log.String(), "output": printed.String()} {
		for _, line := range tellsOf([]byte(text), testdata.Patients()) {
			t.Errorf("the %s tells who a patient is: %s", what, line)
		}
	}
}

// stop closes the gateway of a route.
func (r *route) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.m.Close(ctx); err != nil {
		r.t.Error("close:", err)
	}
}
