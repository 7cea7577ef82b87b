package sim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/testdata"
)

func dmpClient(t *testing.T, s *Sandbox) *fhir.Client {
	t.Helper()
	f := s.Files()
	pair, err := tls.LoadX509KeyPair(f.DMPCert, f.DMPKey)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := fhir.NewClient(fhir.ClientConfig{BaseURL: s.Info().DMP.FHIR, TokenURL: s.Info().DMP.Token, ClientID: f.DMPClientID,
		TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, Time: clock}, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// lotOf makes the lot of one document, as a gateway would.
func lotOf(t *testing.T, o testdata.CDAOptions, lot string) dmp.Deposit {
	t.Helper()
	content := testdata.CDA(o)
	d, err := cda.Read(content)
	if err != nil {
		t.Fatal(err)
	}
	m, findings := d.Metadata(content)
	for _, f := range findings {
		t.Errorf("our own document: %v", f)
	}
	h, p := testdata.Establishments()[0], testdata.Personas()[1]
	return dmp.Deposit{
		Caller: dmp.Caller{
			Establishment: dmp.Establishment{Name: h.Name, FINESSEJ: h.FINESSEJ, FINESSGeo: h.FINESSGeo, SourceOID: h.SourceOID},
			Requester: dmp.Requester{Person: &dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: p.NationalID}, Family: p.Family, Given: p.Given},
				Organisation: dmp.Organisation{ID: dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1" + h.FINESSGeo}, Name: h.Name}}},
		LotID: dmp.ID{Root: lot}, EntryUUID: "urn:uuid:5f0c0000-0000-4000-8000-00000000000" + lot[len(lot)-1:], Submitted: noon,
		Patient: m.Patient, ContentType: dmp.Code{Code: "03", System: "1.2.250.1.213.2.2", Display: "Hospitalisation"},
		Documents: []dmp.DepositDocument{{Metadata: m, Content: content}},
	}
}

func TestDepositInTheSandbox(t *testing.T) {
	dir := t.TempDir()
	s := startIn(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lot := lotOf(t, testdata.CDAOptions{}, "1.2.250.1.999.7.1")
	id := lot.Documents[0].Metadata.UniqueID
	got, err := dmpClient(t, s).Deposit(ctx, lot)
	if err != nil || len(got.Locations) != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = startIn(t, dir)
	held, err := dmpClient(t, s).Find(ctx, lot.Caller, lot.Patient, id)
	if err != nil || held == nil || held.Status != "current" || string(held.SHA1) != string(lot.Documents[0].Metadata.SHA1) {
		t.Fatalf("after a restart: %v %+v", err, held)
	}

	t.Run("fail/cut after processing, then the same lot", func(t *testing.T) {
		lot := lotOf(t, testdata.CDAOptions{ID: testdata.DocumentID(2)}, "1.2.250.1.999.7.2")
		s.SetDMPTroubles(Trouble{Mode: Cut, Method: "POST", Path: "/fhir", Count: 1})
		c := dmpClient(t, s)
		if _, err := c.Deposit(ctx, lot); err == nil {
			t.Fatal("the cut answer was read")
		}
		again, err := c.Deposit(ctx, lot)
		if err != nil || len(again.Locations) != 1 {
			t.Fatalf("%v %+v", err, again)
		}
	})
	for name, who := range map[string]string{"fail/closed DMP": testdata.PatientClosed, "fail/no DMP": testdata.PatientNoDMP} {
		t.Run(name, func(t *testing.T) {
			lot := lotOf(t, testdata.CDAOptions{ID: testdata.DocumentID(3), Patient: testdata.PatientByID(who)}, "1.2.250.1.999.7.3")
			if _, err := dmpClient(t, s).Deposit(ctx, lot); err == nil {
				t.Error("accepted")
			}
		})
	}
	t.Run("ok/the physician reads what was deposited, others do not", func(t *testing.T) {
		c := client(t, s, s.Info().TLS.ClientCert, s.Info().TLS.ClientKey)
		for who, want := range map[string]int{testdata.PersonaPhysician: 200, testdata.PersonaNurse: 200, testdata.PersonaBlocked: 403, testdata.PersonaRadiologist: 403} {
			tok := token(t, s, c, url.Values{"grant_type": {GrantPersona}, "persona": {who}}).json(t)["access_token"].(string)
			a := askDMP(t, c, s, tok, lot.Patient.Matricule)
			if a.status != want {
				t.Errorf("%s: %d, want %d: %s", who, a.status, want, a.body)
			}
			if want == 200 && a.json(t)["total"] == 0.0 {
				t.Errorf("%s finds nothing", who)
			}
		}
	})
}

// The documents of testdata are judged by the reader of dmp/cda here, because
// testdata may import nothing of ours.
func TestFictitiousDocumentsAreCorrect(t *testing.T) {
	for _, c := range []struct {
		name string
		o    testdata.CDAOptions
	}{
		{"ok/biology 1", testdata.CDAOptions{}},
		{"ok/biology 3", testdata.CDAOptions{Level: 3}},
		{"ok/imaging 1", testdata.CDAOptions{Kind: testdata.Imaging}},
		{"ok/imaging 3", testdata.CDAOptions{Kind: testdata.Imaging, Level: 3}},
		{"ok/discharge 1", testdata.CDAOptions{Kind: testdata.Discharge}},
		{"ok/discharge 3", testdata.CDAOptions{Kind: testdata.Discharge, Level: 3}},
		{"ok/replacement", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)}},
		{"ok/very restricted", testdata.CDAOptions{Confidentiality: "V"}},
		{"ok/device", testdata.CDAOptions{Device: "AUTOMATE"}},
		{"ok/man", testdata.CDAOptions{Patient: testdata.PatientByID(testdata.PatientNoDMP)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := cda.Read(testdata.CDA(c.o))
			if err != nil {
				t.Fatal(err)
			}
			fictitious := false
			for _, f := range d.Verdict().Findings {
				if f.Code == "INS-TEST-OID" { // said of everybody here, rightly
					fictitious = true
					continue
				}
				t.Errorf("%v", f)
			}
			if !fictitious {
				t.Error("a matricule that is not on the test authority")
			}
		})
	}
}
