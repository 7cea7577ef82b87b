package httpapi_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// Advice on addresses before sending, by the white list and the directory of
// the sandbox.
func TestMailboxes(t *testing.T) {
	w := newWorld(t, options{idle: true})
	house, other := testdata.Establishments()[0], testdata.Establishments()[1]
	doctor := testdata.Personas()[0]
	tests := []struct {
		name, query string
		want        []string // address or domain, kind, trusted, listed, verdict, codes
		status      int      // when refused
		code        string
	}{
		{name: "ok/professional", query: "address=" + doctor.Mailbox, want: []string{doctor.Mailbox + " professional true true sent"}},
		{name: "ok/case does not count", query: "address=" + strings.ToUpper(doctor.Mailbox), want: []string{strings.ToUpper(doctor.Mailbox[:strings.Index(doctor.Mailbox, "@")]) + doctor.Mailbox[strings.Index(doctor.Mailbox, "@"):] + " professional true true sent"}},
		{name: "ok/application", query: "address=" + testdata.GatewayMailbox, want: []string{testdata.GatewayMailbox + " application true true sent"}},
		{name: "ok/organisation", query: "address=secretariat@partenaire.mssante.fr", want: []string{"secretariat@partenaire.mssante.fr organisation true true sent"}},
		{name: "ok/not listed is no refusal", query: "address=confidentiel@partenaire.mssante.fr", want: []string{"confidentiel@partenaire.mssante.fr unknown true false sent HTTP-MAILBOX-UNLISTED"}},
		{name: "ok/outside the trust space", query: "address=jean@exemple.fr", want: []string{"jean@exemple.fr unknown false false refused HTTP-MAILBOX-UNLISTED MSS-DOMAIN"}},
		{name: "ok/no white list", query: "domain=inconnue.mssante.fr", want: []string{"inconnue.mssante.fr unknown null null delayed TRUST-LIST-MISSING"}},
		{name: "ok/patients' domain", query: "domain=patient.mssante.fr", want: []string{"patient.mssante.fr patient true null sent HTTP-MAILBOX-PATIENT"}},
		{name: "ok/domain", query: "domain=Exemple.FR", want: []string{"exemple.fr unknown false null refused MSS-DOMAIN"}},
		{name: "ok/professional's id", query: "id=" + doctor.NationalID, want: []string{doctor.Mailbox + " professional true true sent"}},
		{name: "ok/structure's id", query: "id=1" + other.FINESSGeo, want: []string{"secretariat@partenaire.mssante.fr organisation true true sent"}},
		{name: "ok/id of the liste rouge", query: "id=1" + other.FINESSEJ, want: []string{}},
		{name: "ok/id of nobody", query: "id=899999999999", want: []string{}},
		{name: "fail/a patient's address", query: "address=" + testdata.Patients()[0].Matricule + "@patient.mssante.fr", status: 422, code: httpapi.FaultMailboxPatient},
		{name: "fail/no address", query: "address=jean", status: 422, code: httpapi.FaultRecipient},
		{name: "fail/no domain", query: "domain=" + url.QueryEscape("a b"), status: 422, code: httpapi.FaultRecipient},
		{name: "fail/no id", query: "id=8", status: 422, code: httpapi.FaultField},
		{name: "fail/search injection", query: "id=" + url.QueryEscape("8|,x"), status: 422, code: httpapi.FaultField},
		{name: "fail/nothing", query: "", status: 422, code: httpapi.FaultMissing},
		{name: "fail/two questions", query: "domain=a.fr&id=1" + house.FINESSGeo, status: 422, code: httpapi.FaultField},
		{name: "fail/twice", query: "domain=a.fr&domain=b.fr", status: 400, code: httpapi.FaultParameter + " domain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := w.do(w.machine, "GET", "/v1/mailboxes?"+tt.query, nil, nil)
			if tt.code != "" {
				a.refused(t, tt.status, tt.code)
				return
			}
			compareMailboxes(t, a, tt.want)
		})
	}
	if strings.Contains(w.log.String(), testdata.Patients()[0].Matricule) {
		t.Error("the log tells a matricule")
	}
}

// Without directory or mail, the advice says what is left to say.
func TestMailboxesWithoutDirectory(t *testing.T) {
	down := newWorld(t, options{idle: true, directory: "https://127.0.0.1:1"})
	compareMailboxes(t, down.do(down.machine, "GET", "/v1/mailboxes?address=jean@partenaire.mssante.fr", nil, nil),
		[]string{"jean@partenaire.mssante.fr unknown true null sent DIR-UNREACHED"})
	down.do(down.machine, "GET", "/v1/mailboxes?id=1990000028", nil, nil).refused(t, 503, "DIR-UNREACHED")
	down.api.Directory, down.api.Trusted = nil, nil
	compareMailboxes(t, down.do(down.machine, "GET", "/v1/mailboxes?address=jean@partenaire.mssante.fr", nil, nil),
		[]string{"jean@partenaire.mssante.fr unknown null null refused GW-NO-MAIL"})
	down.do(down.machine, "GET", "/v1/mailboxes?id=1990000028", nil, nil).refused(t, 422, httpapi.FaultNoDirectory)
}

func compareMailboxes(t *testing.T, a answer, want []string) {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var v struct{ Mailboxes []httpapi.Mailbox }
	must(t, json.Unmarshal([]byte(a.body), &v))
	tri := func(b *bool) string {
		if b == nil {
			return "null"
		}
		return map[bool]string{true: "true", false: "false"}[*b]
	}
	got := []string{}
	for _, m := range v.Mailboxes {
		at := m.Address
		if at == "" {
			at = m.Domain
		}
		line := strings.Join([]string{at, m.Kind, tri(m.Trusted), tri(m.Listed), m.Verdict}, " ")
		for _, f := range m.Findings {
			line += " " + f.Code
		}
		got = append(got, line)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
}

// locked is a directory that refuses the key.
type locked struct{ httpapi.Directory }

func (locked) ByHolder(context.Context, string) ([]mss.Mailbox, error) {
	return nil, fault.New("DIR-KEY")
}
