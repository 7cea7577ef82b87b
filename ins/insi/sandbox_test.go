package insi_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
	"github.com/passerelle-sante/passerelle/testdata"
)

// sandbox is a world whose teleservice is that of the rehearsal room, over
// mutual TLS with its own certificate.
func sandbox(t *testing.T) (*world, *sim.Sandbox) {
	t.Helper()
	s, err := sim.Start(context.Background(), sim.Config{Dir: t.TempDir(), Clock: func() time.Time { return noon }, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	i := s.Info()
	cert, err := tls.LoadX509KeyPair(i.TLS.INSiCert, i.TLS.INSiKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(i.TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	w := newWorld(t, nil)
	w.config.URL, w.config.HTTP = i.INSi.URL, insi.NewHTTPClient(cert, pool)
	t.Cleanup(w.config.HTTP.CloseIdleConnections)
	if w.config.Auth, err = insi.NewOrganisation(cert.Leaf, ""); err != nil {
		t.Fatal(err)
	}
	w.config.Verification = insi.GuessedVerification()
	return w, s
}

func TestSandbox(t *testing.T) {
	w, s := sandbox(t)
	c := w.client(t)
	ask := func(traits ins.Traits) (insi.Outcome, error) {
		return c.Search(context.Background(), who(), insi.Query{Subject: "s", Identity: ins.Identity{Status: ins.Provisional, Traits: traits}})
	}
	for _, style := range []string{sim.INSiStyleDefault, sim.INSiStylePrefixed} {
		if err := s.INSi().SetStyle(style); err != nil {
			t.Fatal(err)
		}
		t.Run("ok/patients "+style, func(t *testing.T) {
			for _, p := range testdata.Patients() {
				traits := ins.Traits{BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames, Sex: p.Sex, BirthDate: p.BirthDate, BirthPlace: p.BirthPlace}
				out, err := ask(traits)
				if err != nil {
					t.Fatal(err)
				}
				if p.Matricule == "" {
					if out.Result != insi.None || code(out.Err()) != insi.FaultNone {
						t.Errorf("%s: %s", p.ID, out.Result)
					}
					continue
				}
				pair := ins.Pair{Matricule: p.Matricule, OID: ins.OID(p.OID)}
				if out.Result != insi.Found || out.INS != pair || len(out.Calls) != 1 {
					t.Errorf("%s: %+v", p.ID, out.Answer)
				}
				held := ins.Identity{Matricule: p.Matricule, OID: ins.OID(p.OID), Traits: traits, Status: ins.Qualified}
				if v, err := c.Verify(context.Background(), who(), insi.Query{Identity: held}); err != nil || !v.Agrees {
					t.Errorf("%s: verification %+v %v", p.ID, v, err)
				}
				held.Traits.BirthDate = "1900-01-01"
				if v, err := c.Verify(context.Background(), who(), insi.Query{Identity: held}); err != nil || v.Agrees || code(v.Err()) != insi.FaultDisagrees {
					t.Errorf("%s: verification of another date %+v %v", p.ID, v, err)
				}
			}
		})
		for _, tc := range []struct {
			name   string
			traits ins.Traits
			result insi.Result
			calls  int
			former int
		}{
			{"ok/houilles-01-four-times", ins.Traits{BirthName: "HOUILLES", GivenNames: "PIERRE PAUL JACQUES", Sex: "M", BirthDate: "1993-01-27"}, insi.None, 4, 0},
			{"ok/ola-then-catarina", ins.Traits{BirthName: "TCHITCHI", GivenNames: "OLA CATARINA", Sex: "F", BirthDate: "1936-06-21"}, insi.Found, 2, 0},
			{"ok/leonardo-02", ins.Traits{BirthName: "De Vinci", GivenNames: "Leonardo", Sex: "M", BirthDate: "2014-02-01", BirthPlace: "63220"}, insi.Several, 1, 0},
			{"ok/doublon-02-then-00", ins.Traits{BirthName: "DOUBLON", GivenNames: "CAMILLE ZOE", Sex: "F", BirthDate: "1990-01-15"}, insi.Found, 2, 0},
			{"ok/voisin-02-for-ever-without-place", ins.Traits{BirthName: "VOISIN", GivenNames: "ALIX", Sex: "M", BirthDate: "1985-05-05"}, insi.Several, 1, 0},
			{"ok/voisin-with-place", ins.Traits{BirthName: "VOISIN", GivenNames: "ALIX", Sex: "M", BirthDate: "1985-05-05", BirthPlace: "38185"}, insi.Found, 1, 0},
			{"ok/wrong-place-is-left-out", ins.Traits{BirthName: "ADRUN", GivenNames: "ZOE", Sex: "F", BirthDate: "1975-12-31", BirthPlace: "75056"}, insi.Found, 2, 0},
			{"ok/hyphen-forgotten", ins.Traits{BirthName: "PAT TROIS", GivenNames: "DOMINIQUE", Sex: "F", BirthDate: "1979-03-28"}, insi.Found, 2, 0},
			{"ok/history", ins.Traits{BirthName: "ECETINSI", GivenNames: "PIERRE-ALAIN", Sex: "M", BirthDate: "2009-07-14"}, insi.Found, 1, 2},
			{"ok/history-of-itself", ins.Traits{BirthName: "CORSE", GivenNames: "ANTHONY", Sex: "M", BirthDate: "1980-03-02"}, insi.Found, 1, 0},
			{"ok/nia-become-nir", ins.Traits{BirthName: "ARRIVANT", GivenNames: "NIMA", Sex: "F", BirthDate: "1992-06-20"}, insi.Found, 1, 1},
			{"ok/no-key", ins.Traits{BirthName: "SANS-CLE", GivenNames: "PAUL", Sex: "M", BirthDate: "1970-01-01"}, insi.Found, 1, 0},
		} {
			t.Run(tc.name+" "+style, func(t *testing.T) {
				out, err := ask(tc.traits)
				if err != nil || out.Result != tc.result || len(out.Calls) != tc.calls || len(out.Former) != tc.former {
					t.Fatalf("%v: result %s, %d calls, former %v", err, out.Result, len(out.Calls), out.Former)
				}
				if out.Result == insi.Found && tc.name == "ok/no-key" && (!out.KeyAdded || ins.CheckMatricule(out.INS.Matricule, ins.OIDNIR) != nil) {
					t.Errorf("%+v", out.Answer)
				}
			})
		}
		for name, want := range map[string]string{"PANNE TECHNIQUE": insi.FaultUnavailable, "PANNE SERVICE": insi.FaultUnavailable, "PANNE LOGICIEL": insi.FaultSoftware,
			"PANNE DROITS": insi.FaultRights, "PANNE INCONNUE": insi.FaultRejected, "PANNE ILLISIBLE": insi.FaultAnswer, "PANNE VIDE": insi.FaultAnswer} {
			t.Run("fail/"+strings.ToLower(name)+" "+style, func(t *testing.T) {
				_, err := ask(ins.Traits{BirthName: name, GivenNames: "PAUL", Sex: "M", BirthDate: "1970-01-01"})
				if code(err) != want {
					t.Fatal(err)
				}
			})
		}
	}
	// A lunar date comes back as it is, and the register refuses it.
	out, err := ask(ins.Traits{BirthName: "LUNAIRE", GivenNames: "AMINA", Sex: "F", BirthDate: "1950-00-00"})
	if err != nil || out.Traits.BirthDate != "1950-00-00" {
		t.Fatalf("%+v %v", out.Answer, err)
	}
	actor := ins.Actor{ID: "1", Human: true, Entitled: true}
	var rules ins.Rules
	record, _, err := rules.Create(ins.Traits{BirthName: "LUNAIRE", FirstGiven: "AMINA", BirthDate: "1950-12-31"}, true, actor, noon)
	if err != nil {
		t.Fatal(err)
	}
	trace, _ := out.Trace()
	if _, _, err := rules.Apply(record, ins.Event{Kind: ins.Retrieve, At: noon, Actor: actor, Trace: &trace}); code(err) != ins.FaultCorrected {
		t.Errorf("the register says %v", err)
	}
	// A wrong key is kept as it came; the gate holds it.
	out, err = ask(ins.Traits{BirthName: "HERMANN", GivenNames: "GATIEN", Sex: "M", BirthDate: "1981-03-24"})
	if err != nil || out.INS.Matricule != "181036322045660" {
		t.Fatalf("%+v %v", out.Answer, err)
	}
	traits := out.Traits
	traits.FirstGiven = "GATIEN"
	if err := ins.Gate(ins.Identity{Matricule: out.INS.Matricule, OID: out.INS.OID, Traits: traits, Status: ins.Qualified}, ins.ToDMP); code(err) != ins.FaultKey {
		t.Errorf("the gate says %v", err)
	}
	log := w.log.String()
	if !strings.Contains(log, "result=00") || !strings.Contains(log, "fault=INSI-RIGHTS") {
		t.Error("the log does not tell the calls")
	}
	for _, p := range testdata.Patients() {
		for _, secret := range []string{p.Matricule, p.BirthName, p.GivenNames, p.BirthDate} {
			if secret != "" && strings.Contains(log, secret) {
				t.Errorf("%q stands in the log", secret)
			}
		}
	}
}

func TestSandboxVitale(t *testing.T) {
	w, _ := sandbox(t)
	mother, child := testdata.PatientByID(testdata.PatientOpen), testdata.PatientByID(testdata.PatientChild)
	v := insi.Vitale{Insured: insi.Number{Body: mother.Matricule[:13], Key: mother.Matricule[13:]}, BirthDate: child.BirthDate, Rank: "1"}
	a, err := w.client(t).SearchVitale(context.Background(), who(), "", v)
	if err != nil || a.INS.Matricule != child.Matricule {
		t.Fatalf("%+v %v", a, err)
	}
	v.Rank = "2"
	if a, err := w.client(t).SearchVitale(context.Background(), who(), "", v); err != nil || a.Result != insi.None {
		t.Fatalf("%+v %v", a, err)
	}
}

func TestSandboxBroken(t *testing.T) {
	w, s := sandbox(t)
	for _, tc := range []struct {
		name    string
		trouble sim.Trouble
		want    string
	}{
		{"fail/down", sim.Trouble{Mode: sim.Down}, insi.FaultUnreachable},
		{"fail/cut", sim.Trouble{Mode: sim.Cut, Bytes: 200}, insi.FaultUnreachable},
		{"fail/busy", sim.Trouble{Mode: sim.Refuse, Status: 503}, insi.FaultUnavailable},
		{"fail/desir_1020", sim.Trouble{Mode: sim.Refuse, Code: "desir_1020"}, insi.FaultUnavailable},
		{"fail/html", sim.Trouble{Mode: sim.Lie, Lie: "html"}, insi.FaultAnswer},
		{"fail/empty", sim.Trouble{Mode: sim.Lie, Lie: "empty"}, insi.FaultAnswer},
		{"fail/nobody", sim.Trouble{Mode: sim.Lie, Lie: "count"}, insi.FaultAnswer},
		{"fail/held", sim.Trouble{Mode: sim.Hold}, insi.FaultTimeout},
		{"ok/slow", sim.Trouble{Mode: sim.Slow, Milliseconds: 1}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.SetINSiTroubles(tc.trouble)
			defer s.SetINSiTroubles()
			if tc.trouble.Mode == sim.Hold {
				w.config.Timeout = 100 * time.Millisecond
				defer func() { w.config.Timeout = 0 }()
			}
			out, err := w.client(t).Search(context.Background(), who(), query())
			if code(err) != tc.want || (err != nil) != (out.INS == ins.Pair{}) {
				t.Fatalf("%+v %v", out.Answer, err)
			}
		})
	}
}
