package sim

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/antchfx/xmlquery"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

const soapType = "application/soap+xml; charset=utf-8"

// traits is the body of a search; place may be empty.
func traits(name, given, sex, born, place string) string {
	if place != "" {
		place = "<LieuNaissance>" + place + "</LieuNaissance>"
	}
	return `<RECSANSVITALE xmlns="http://www.cnamts.fr/INSiRecSans"><NomNaissance>` + name + `</NomNaissance><Prenom>` + given + `</Prenom><Sexe>` +
		sex + `</Sexe><DateNaissance>` + born + `</DateNaissance>` + place + `</RECSANSVITALE>`
}

const (
	bySans   = "rechercherInsAvecTraitsIdentite"
	byVitale = "rechercherInsAvecCarteVitale"
	byVerify = "verifierInsAvecTraitsIdentite"
)

// ask writes a request by hand, so that the simulator is not judged by our client.
func ask(operation, body string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Header>` +
		`<ctxbam:ContexteBAM xmlns:ctxbam="urn:siram:bam:ctxbam" Version="01_02"><ctxbam:Id>a1</ctxbam:Id><ctxbam:Temps>2026-01-02T10:00:00.000Z</ctxbam:Temps><ctxbam:Emetteur>1990000010</ctxbam:Emetteur><ctxbam:COUVERTURE/></ctxbam:ContexteBAM>` +
		`<ctxlps:ContexteLPS xmlns:ctxlps="urn:siram:lps:ctxlps" Nature="CTXLPS" Version="01_00"><ctxlps:Id>a2</ctxlps:Id><ctxlps:Temps>2026-01-02T10:00:00.000Z</ctxlps:Temps><ctxlps:Emetteur>1990000010</ctxlps:Emetteur>` +
		`<ctxlps:LPS><ctxlps:IDAM R="4">MON-NUMERO</ctxlps:IDAM><ctxlps:Version>1.0</ctxlps:Version><ctxlps:Instance>i</ctxlps:Instance><ctxlps:Nom>n</ctxlps:Nom></ctxlps:LPS></ctxlps:ContexteLPS>` +
		`<wsa:Action xmlns:wsa="http://www.w3.org/2005/08/addressing">urn:ServiceIdentiteCertifiee:1.0.0:` + operation + `</wsa:Action>` +
		`<wsa:MessageID xmlns:wsa="http://www.w3.org/2005/08/addressing">uuid:m1</wsa:MessageID></soap:Header><soap:Body>` + body + `</soap:Body></soap:Envelope>`
}

// insiAnswer reads an answer whatever its prefixes.
type insiAnswer struct {
	Code   string `xml:"Body>RESULTAT>CR>CodeCR"`
	Number string `xml:"Body>RESULTAT>INDIVIDU>INSACTIF>IdIndividu>NumIdentifiant"`
	Key    string `xml:"Body>RESULTAT>INDIVIDU>INSACTIF>IdIndividu>Cle"`
	OID    string `xml:"Body>RESULTAT>INDIVIDU>INSACTIF>OID"`
	Former []struct {
		Number string `xml:"IdIndividu>NumIdentifiant"`
		OID    string `xml:"OID"`
		From   string `xml:"DateDeb"`
		To     string `xml:"DateFin"`
	} `xml:"Body>RESULTAT>INDIVIDU>INSHISTO"`
	List  string `xml:"Body>RESULTAT>INDIVIDU>TIQ>ListePrenom"`
	Place string `xml:"Body>RESULTAT>INDIVIDU>TIQ>LieuNaissance"`
	Value string `xml:"Body>Fault>Code>Value"`
	Sub   string `xml:"Body>Fault>Code>Subcode>Value"`
	Error struct {
		Code      string `xml:"code,attr"`
		Severity  string `xml:"severite,attr"`
		MessageID string `xml:"messageID,attr"`
		Text      string `xml:",chardata"`
	} `xml:"Body>Fault>Detail>Erreur"`
}

func insiClient(t *testing.T, s *Sandbox) *http.Client {
	return client(t, s, s.Info().TLS.INSiCert, s.Info().TLS.INSiKey)
}

func readAnswer(t *testing.T, a answered) insiAnswer {
	t.Helper()
	var v insiAnswer
	if err := xml.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("HTTP %d, not XML: %v\n%s", a.status, err, a.body)
	}
	return v
}

func TestINSiSearch(t *testing.T) {
	s := start(t)
	c := insiClient(t, s)
	for _, tc := range []struct{ name, query, code, matricule, oid string }{
		{"ok/PAT-TROIS", traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", "51215"), "00", "279035121518989", ".10"},
		{"ok/without-place", traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", ""), "00", "279035121518989", ".10"},
		{"ok/whole-list", traits("PAT-TROIS", "DOMINIQUE MARIE-LOUISE", "F", "1979-03-28", ""), "00", "279035121518989", ".10"},
		{"ok/catarina", traits("TCHITCHI", "CATARINA", "F", "1936-06-21", "63220"), "00", "236066322083656", ".8"},
		{"ok/apostrophe-nowhere", traits("D'ARTAGNAN", "PAUL", "M", "1979-03-28", ""), "01", "", ""},
		{"ok/ola", traits("TCHITCHI", "OLA", "F", "1936-06-21", "63220"), "01", "", ""},
		{"ok/second-given-name-alone", traits("TCHITCHI", "BELLA", "F", "1936-06-21", ""), "01", "", ""},
		{"ok/other-sex", traits("PAT-TROIS", "DOMINIQUE", "M", "1979-03-28", ""), "01", "", ""},
		{"ok/other-date", traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-29", ""), "01", "", ""},
		{"ok/other-place", traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", "63220"), "01", "", ""},
		{"ok/houilles", traits("HOUILLES", "PIERRE PAUL JACQUES", "M", "1993-01-27", ""), "01", "", ""},
		{"ok/leonardo-is-several", traits("DE VINCI", "LEONARDO", "M", "2014-02-01", "63220"), "02", "", ""},
		{"ok/doublon-is-several", traits("DOUBLON", "CAMILLE", "F", "1990-01-15", ""), "02", "", ""},
		{"ok/doublon-told-apart", traits("DOUBLON", "CAMILLE ZOE", "F", "1990-01-15", ""), "00", own("2900138185001"), ".10"},
		{"ok/voisin-told-apart", traits("VOISIN", "ALIX", "M", "1985-05-05", "38185"), "00", own("1850538185001"), ".10"},
		{"ok/nia", traits("PROVISOIRE", "MATRICULE", "M", "2009-07-01", ""), "00", "109076322088835", ".9"},
		{"ok/corsica-old-place", traits("ADRTROIS", "DOMINIQUE", "F", "1997-02-26", "20020"), "00", "297022A02077878", ".8"},
		{"ok/wrong-key-as-published", traits("HERMANN", "GATIEN", "M", "1981-03-24", ""), "00", "181036322045660", ".8"},
		{"ok/lunar", traits("LUNAIRE", "AMINA", "F", "1950-00-00", ""), "00", own("2505099352001"), ".10"},
	} {
		for _, style := range []string{INSiStyleDefault, INSiStylePrefixed} {
			t.Run(tc.name+" "+style, func(t *testing.T) {
				control(t, s, "PUT", "/insi/style", `{"style":"`+style+`"}`, 200)
				a := do(t, c, "POST", s.Info().INSi.URL, soapType, ask(bySans, tc.query))
				v := readAnswer(t, a)
				if a.status != 200 || v.Code != tc.code || v.Number+v.Key != tc.matricule || v.OID != strings.Replace(tc.oid, ".", "1.2.250.1.213.1.4.", 1) {
					t.Fatalf("HTTP %d, %+v", a.status, v)
				}
				if strings.Contains(string(a.body), "<ns2:RESULTAT") != (style == INSiStylePrefixed) {
					t.Errorf("written %s", a.body)
				}
			})
		}
	}
	t.Run("ok/history", func(t *testing.T) {
		v := readAnswer(t, do(t, c, "POST", s.Info().INSi.URL, soapType, ask(bySans, traits("ECETINSI", "PIERRE-ALAIN", "M", "2009-07-14", ""))))
		if len(v.Former) != 2 || v.Former[0].Number != "2090763220834" || v.Former[0].From <= v.Former[0].To || v.Former[1].From != "" {
			t.Errorf("%+v", v.Former)
		}
		v = readAnswer(t, do(t, c, "POST", s.Info().INSi.URL, soapType, ask(bySans, traits("CORSE", "ANTHONY", "M", "1980-03-02", ""))))
		if len(v.Former) != 1 || v.Former[0].Number != v.Number {
			t.Errorf("%+v", v.Former)
		}
		v = readAnswer(t, do(t, c, "POST", s.Info().INSi.URL, soapType, ask(bySans, traits("ARRIVANT", "NIMA", "F", "1992-06-20", ""))))
		if len(v.Former) != 1 || v.Former[0].OID != oidNIA || v.OID != oidTest {
			t.Errorf("%+v", v)
		}
		v = readAnswer(t, do(t, c, "POST", s.Info().INSi.URL, soapType, ask(bySans, traits("SANS-CLE", "PAUL", "M", "1970-01-01", ""))))
		if v.Number == "" || v.Key != "" {
			t.Errorf("%+v", v)
		}
	})
	t.Run("ok/every-patient", func(t *testing.T) {
		for _, p := range testdata.Patients() {
			v := readAnswer(t, do(t, c, "POST", s.Info().INSi.URL, soapType, ask(bySans, traits(p.BirthName, p.FirstGiven, p.Sex, p.BirthDate, p.BirthPlace))))
			want := crFound
			if p.Matricule == "" {
				want = crNone
			}
			if v.Code != want || v.Number+v.Key != p.Matricule || v.OID != p.OID || v.List != p.GivenNames && want == crFound {
				t.Errorf("%s: %+v", p.ID, v)
			}
		}
	})
	if n := s.INSi().Counters().By[bySans]; n < 40 {
		t.Errorf("%d searches counted", n)
	}
}

func TestINSiVitaleAndVerification(t *testing.T) {
	s := start(t)
	c := insiClient(t, s)
	card := func(individual, insured, born, rank, name string) string {
		number := func(element, n string) string {
			if n == "" {
				return ""
			}
			return "<" + element + "><NumIdentifiant>" + n[:13] + "</NumIdentifiant><Cle>" + n[13:] + "</Cle></" + element + ">"
		}
		if name != "" {
			name = "<NomNaissance>" + name + "</NomNaissance>"
		}
		return ask(byVitale, `<RECVITALE xmlns="http://www.cnamts.fr/INSiRecVit">`+number("MatriculeIndividu", individual)+number("MatriculeOD", insured)+
			name+`<DateNaissance>`+born+`</DateNaissance><RangNaissance>`+rank+`</RangNaissance></RECVITALE>`)
	}
	mother, child := testdata.PatientByID(testdata.PatientOpen), testdata.PatientByID(testdata.PatientChild)
	verify := func(matricule, oid, list string) string {
		return ask(byVerify, `<v:IndividuVerifie xmlns:v="http://www.cnamts.fr/INSiLot2/REQUnitaire"><v:INSFourni><v:IdIndividu><v:NumIdentifiant>`+matricule[:13]+
			`</v:NumIdentifiant><v:Cle>`+matricule[13:]+`</v:Cle></v:IdIndividu><v:OID>`+oid+`</v:OID></v:INSFourni><v:TraitsIdentiteIndividu><v:NomNaissance>`+mother.BirthName+
			`</v:NomNaissance><v:ListePrenom>`+list+`</v:ListePrenom><v:Sexe>F</v:Sexe><v:DateNaissance>`+mother.BirthDate+`</v:DateNaissance></v:TraitsIdentiteIndividu></v:IndividuVerifie>`)
	}
	for _, tc := range []struct{ name, request, code, matricule string }{
		{"ok/own-card", card(mother.Matricule, mother.Matricule, mother.BirthDate, "1", ""), "00", mother.Matricule},
		{"ok/insured-only", card("", mother.Matricule, mother.BirthDate, "1", mother.BirthName), "00", mother.Matricule},
		{"ok/child-on-the-card-of-her-mother", card("", mother.Matricule, child.BirthDate, "1", ""), "00", child.Matricule},
		{"ok/child-by-her-number", card(child.Matricule, mother.Matricule, child.BirthDate, "1", ""), "00", child.Matricule},
		{"ok/second-of-twins-is-nobody", card("", mother.Matricule, child.BirthDate, "2", ""), "01", ""},
		{"ok/other-insured", card(child.Matricule, testdata.PatientByID(testdata.PatientTrois).Matricule, child.BirthDate, "1", ""), "01", ""},
		{"ok/other-name", card("", mother.Matricule, mother.BirthDate, "1", "AUTRE"), "01", ""},
		{"ok/verified", verify(mother.Matricule, mother.OID, mother.GivenNames), "00", ""},
		{"ok/not-verified", verify(mother.Matricule, mother.OID, "CLAIRE"), "01", ""},
		{"ok/not-verified-authority", verify(mother.Matricule, oidNIR, mother.GivenNames), "01", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := do(t, c, "POST", s.Info().INSi.URL, soapType, tc.request)
			if v := readAnswer(t, a); v.Code != tc.code || v.Number+v.Key != tc.matricule {
				t.Fatalf("%+v\n%s", v, a.body)
			}
		})
	}
}

func TestINSiFaults(t *testing.T) {
	s := start(t)
	c := insiClient(t, s)
	good := ask(bySans, traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", ""))
	magic := func(name string) string { return ask(bySans, traits(name, "DOMINIQUE", "F", "1979-03-28", "")) }
	without := func(from, to string) string {
		i, j := strings.Index(good, from), strings.Index(good, to)
		if i < 0 || j < i {
			t.Fatalf("%s … %s", from, to)
		}
		return good[:i] + good[j+len(to):]
	}
	for _, tc := range []struct{ name, request, value, sub, detail string }{
		{"fail/insi_102", magic("PANNE TECHNIQUE"), "Receiver", "siram_40", "insi_102"},
		{"fail/desir_1020", magic("PANNE SERVICE"), "Sender", "siram_40", "desir_1020"},
		{"fail/desir_550", magic("PANNE LOGICIEL"), "Sender", "siram_100", "desir_550"},
		{"fail/DESIR_560", magic("PANNE DROITS"), "Sender", "", "DESIR_560"},
		{"fail/unknown", magic("PANNE INCONNUE"), "Receiver", "siram_999", "insi_999"},
		{"fail/authorisation", strings.Replace(good, "MON-NUMERO", "INCONNU-1", 1), "Sender", "siram_100", "desir_550"},
		{"fail/sender-of-another-house", strings.ReplaceAll(good, "1990000010", "1990000036"), "Sender", "", "DESIR_560"},
		{"fail/not-xml", "hello", "Receiver", "siram_bas", "bas_requete"},
		{"fail/doctype", strings.Replace(good, "<soap:Envelope", "<!DOCTYPE a><soap:Envelope", 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/soap-1.1", strings.Replace(good, "http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/", 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/no-bam", without("<ctxbam:ContexteBAM", "</ctxbam:ContexteBAM>"), "Receiver", "siram_bas", "bas_requete"},
		{"fail/no-coverage", strings.Replace(good, "<ctxbam:COUVERTURE/>", "", 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/no-lps", without("<ctxlps:ContexteLPS", "</ctxlps:ContexteLPS>"), "Receiver", "siram_bas", "bas_requete"},
		{"fail/idam", strings.Replace(good, `R="4"`, `R="3"`, 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/no-message-id", without("<wsa:MessageID", "</wsa:MessageID>"), "Receiver", "siram_bas", "bas_requete"},
		{"fail/action", strings.Replace(good, bySans, byVitale, 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/time", strings.ReplaceAll(good, "2026-01-02T10:00:00.000Z", "hier"), "Receiver", "siram_bas", "bas_requete"},
		{"fail/empty-security", strings.Replace(good, "</soap:Header>", `<wsse:Security xmlns:wsse="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"/></soap:Header>`, 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/lower-case", magic("Pat-Trois"), "Receiver", "siram_bas", "bas_requete"},
		{"fail/accent", magic("ÉVRARD"), "Receiver", "siram_bas", "bas_requete"},
		{"fail/date", strings.Replace(good, "1979-03-28", "28/03/1979", 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/sex", strings.Replace(good, "<Sexe>F", "<Sexe>U", 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/no-given", strings.Replace(good, "<Prenom>DOMINIQUE</Prenom>", "", 1), "Receiver", "siram_bas", "bas_requete"},
		{"fail/place", ask(bySans, traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", "PARIS-12")), "Receiver", "siram_bas", "bas_requete"},
		{"fail/card-without-number", ask(byVitale, `<RECVITALE xmlns="http://www.cnamts.fr/INSiRecVit"><DateNaissance>1979-03-28</DateNaissance></RECVITALE>`), "Receiver", "siram_bas", "bas_requete"},
		{"fail/nothing-to-verify", ask(byVerify, `<IndividuVerifie/>`), "Receiver", "siram_bas", "bas_requete"},
		{"fail/no-operation", ask("rien", `<x/>`), "Receiver", "siram_bas", "bas_requete"},
	} {
		for prefix, style := range map[string]string{"soap": INSiStyleDefault, "S": INSiStylePrefixed} {
			t.Run(tc.name+" "+style, func(t *testing.T) {
				if err := s.INSi().SetStyle(style); err != nil {
					t.Fatal(err)
				}
				a := do(t, c, "POST", s.Info().INSi.URL, soapType, tc.request)
				sub := tc.sub
				if sub != "" {
					sub = prefix + ":" + sub
				}
				v := readAnswer(t, a)
				if a.status != 500 || v.Value != prefix+":"+tc.value || v.Sub != sub || v.Error.Code != tc.detail {
					t.Fatalf("HTTP %d %+v", a.status, v)
				}
				if strings.Contains(string(a.body), "PAT-TROIS") {
					t.Error("the fault repeats a trait")
				}
			})
		}
	}
	t.Run("fail/200-that-is-no-answer", func(t *testing.T) {
		if a := do(t, c, "POST", s.Info().INSi.URL, soapType, magic("PANNE ILLISIBLE")); a.status != 200 || !strings.HasPrefix(string(a.body), "<!doctype") {
			t.Errorf("%d %s", a.status, a.body)
		}
		a := do(t, c, "POST", s.Info().INSi.URL, soapType, magic("PANNE VIDE"))
		if v := readAnswer(t, a); v.Code != "00" || v.Number != "" {
			t.Errorf("%+v", v)
		}
	})
}

// Whoever has not the certificate of INSi learns nothing.
func TestINSiCertificates(t *testing.T) {
	s := start(t)
	i := s.Info().TLS
	good := ask(bySans, traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", ""))
	if a := do(t, client(t, s, "", ""), "POST", s.Info().INSi.URL, soapType, good); a.status != 401 {
		t.Errorf("no certificate: %d", a.status)
	}
	for _, pair := range [][2]string{{i.ClientCert, i.ClientKey}, {i.MachineCert, i.MachineKey}, {s.Files().DMPCert, s.Files().DMPKey}} {
		a := do(t, client(t, s, pair[0], pair[1]), "POST", s.Info().INSi.URL, soapType, good)
		if v := readAnswer(t, a); a.status != 500 || v.Error.Code != "DESIR_560" || v.Number != "" {
			t.Errorf("%s: %d %+v", pair[0], a.status, v)
		}
	}
	c := insiClient(t, s)
	for _, tc := range []struct {
		method, url, contentType, body string
		want                           int
	}{
		{"GET", s.Info().INSi.URL, "", "", 405},
		{"POST", strings.TrimSuffix(s.Info().INSi.URL, INSiPath) + "/autre", soapType, good, 404},
		{"POST", s.Info().INSi.URL, "text/xml", good, 415},
		{"POST", s.Info().INSi.URL, soapType, strings.Repeat(" ", maxINSiBody+1), 413},
	} {
		if a := do(t, c, tc.method, tc.url, tc.contentType, tc.body); a.status != tc.want {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.contentType, a.status, tc.want)
		}
	}
	cert, err := tls.LoadX509KeyPair(i.INSiCert, i.INSiKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil || leaf.Subject.CommonName != "INSI-AUTO" || fmt.Sprint(leaf.Subject.OrganizationalUnit) != "[1990000010]" {
		t.Errorf("%v %v", leaf.Subject, err)
	}
}

func TestINSiKnobs(t *testing.T) {
	s := start(t)
	c := insiClient(t, s)
	good := ask(bySans, traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", ""))
	post := func() (answered, error) {
		res, err := c.Post(s.Info().INSi.URL, soapType, strings.NewReader(good))
		if err != nil {
			return answered{}, err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return answered{res.StatusCode, res.Header, b}, err
	}
	for _, tc := range []struct {
		name, knob string
		check      func(answered, error) bool
	}{
		{"ok/refuse-by-code", `{"mode":"refuse","code":"desir_1020"}`, func(a answered, err error) bool {
			return err == nil && a.status == 500 && strings.Contains(string(a.body), `code="desir_1020"`) && strings.Contains(string(a.body), `messageID="uuid:m1"`)
		}},
		{"ok/refuse-bare", `[{"mode":"refuse","status":502}]`, func(a answered, err error) bool { return err == nil && a.status == 502 }},
		{"ok/refuse", `{"mode":"refuse"}`, func(a answered, err error) bool { return err == nil && a.status == 503 }},
		{"ok/slow", `{"mode":"slow","ms":1}`, func(a answered, err error) bool { return err == nil && a.status == 200 }},
		{"ok/down", `{"mode":"down"}`, func(_ answered, err error) bool { return err != nil }},
		{"ok/down-once", `{"mode":"down","count":1}`, func(_ answered, err error) bool { return err != nil }},
		{"ok/cut", `{"mode":"cut","bytes":150}`, func(_ answered, err error) bool { return err != nil }},
		{"ok/html", `{"mode":"lie","lie":"html"}`, func(a answered, err error) bool {
			return err == nil && a.status == 200 && strings.Contains(string(a.body), "Bac à sable")
		}},
		{"ok/empty", `{"mode":"lie","lie":"empty"}`, func(a answered, err error) bool { return err == nil && a.status == 200 && len(a.body) == 0 }},
		{"ok/found-nobody", `{"mode":"lie","lie":"count"}`, func(a answered, err error) bool {
			return err == nil && strings.Contains(string(a.body), ">00<") && !strings.Contains(string(a.body), "INDIVIDU")
		}},
		{"ok/somebody-else", `{"mode":"lie","lie":"other-id"}`, func(a answered, err error) bool {
			return err == nil && strings.Contains(string(a.body), "ADRUN")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			control(t, s, "PUT", "/insi/faults", tc.knob, 200)
			if a, err := post(); !tc.check(a, err) {
				t.Errorf("%d %s %v", a.status, a.body, err)
			}
			control(t, s, "DELETE", "/insi/faults", "", 200)
			if a, err := post(); err != nil || a.status != 200 {
				t.Errorf("not repaired: %v", err)
			}
		})
	}
	t.Run("ok/held-until-released", func(t *testing.T) {
		control(t, s, "POST", "/insi/faults", `{"mode":"hold","count":1}`, 200)
		done := make(chan answered, 1)
		go func() {
			a, _ := post() // a failure is a zero status
			done <- a
		}()
		eventually(t, "a request is held", func() bool { return s.INSi().Counters().Held == 1 })
		control(t, s, "POST", "/insi/release", "", 200)
		if a := <-done; a.status != 200 {
			t.Errorf("%d", a.status)
		}
	})
	for name, body := range map[string]string{
		"mode": `{"mode":"silent"}`, "lie": `{"mode":"lie","lie":"x"}`, "code": `{"mode":"refuse","code":"desir_1"}`, "ms": `{"mode":"slow","ms":-1}`, "word": `{"mode":"down","bytez":1}`, "list": `[`,
		"many": "[" + strings.Repeat(`{"mode":"down"},`, 100) + `{"mode":"down"}]`,
	} {
		t.Run("fail/"+name, func(t *testing.T) { control(t, s, "PUT", "/insi/faults", body, 400) })
	}
	t.Run("fail/style", func(t *testing.T) {
		control(t, s, "PUT", "/insi/style", `{"style":"autre"}`, 400)
		control(t, s, "PUT", "/insi/style", `{`, 400)
		control(t, s, "PUT", "/insi/style", `{"style":"ns2"}`, 200)
		control(t, s, "DELETE", "/insi/style", "", 200)
		if s.INSi().Style() != INSiStyleDefault {
			t.Error("not back")
		}
	})
	t.Run("ok/counters-and-people", func(t *testing.T) {
		if s.INSi().Counters().By[bySans] == 0 {
			t.Error("nothing counted")
		}
		control(t, s, "DELETE", "/insi/counters", "", 200)
		if n := s.INSi().Counters().Received; n != 0 {
			t.Errorf("%d", n)
		}
		a := control(t, s, "GET", "/insi/people", "", 200)
		for _, p := range insiPeople() {
			if !strings.Contains(string(a.body), p.matricule) || p.shows == "" {
				t.Errorf("%s is not listed", p.name)
			}
		}
	})
}

// The people of INSi are fictitious, told apart, and their keys are right but
// where they were published wrong.
func TestINSiPeople(t *testing.T) {
	wrong := map[string]bool{"181036322045660": true, "281036322045610": true}
	seen := map[string]bool{}
	for _, p := range insiPeople() {
		if seen[p.matricule] {
			t.Errorf("%s twice", p.matricule)
		}
		seen[p.matricule] = true
		for _, m := range append([]insiFormer{{p.matricule, p.oid, "", ""}}, p.former...) {
			key, ok := ins.Key(m.matricule[:13])
			if !ok || (fmt.Sprintf("%02d", key) == m.matricule[13:]) == wrong[m.matricule] {
				t.Errorf("%s: key %d", m.matricule, key)
			}
			if !ins.OID(m.oid).Known() {
				t.Errorf("%s: authority %s", m.matricule, m.oid)
			}
		}
	}
}

// TestReferenceINSiAnswers has the schemas of the service judge every answer of
// the simulator, in both styles.
func TestReferenceINSiAnswers(t *testing.T) {
	data := os.Getenv("PASSERELLE_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	xsd := filepath.Join(data, "insi", "xsd")
	if _, err := os.Stat(xsd); err != nil {
		t.Skip("no reference data: set PASSERELLE_DATA")
	}
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed")
	}
	teleservice := NewINSi()
	judged, expected := 0, 0
	judge := func(a *httptest.ResponseRecorder, name, schema string) {
		t.Helper()
		expected++
		doc, err := xmlquery.Parse(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		found := xmlquery.Find(doc, "//*[local-name()='"+name+"']")
		if len(found) != 1 {
			t.Errorf("%d %s in %s", len(found), name, doc.OutputXML(true))
			return
		}
		cmd := exec.CommandContext(context.Background(), xmllint, "--nonet", "--noout", "--schema", filepath.Join(xsd, schema), "-")
		cmd.Stdin = strings.NewReader(found[0].OutputXML(true))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s", out)
		}
		judged++
	}
	const results, faults = "ServiceIdentiteCertifiee/INSi_RESULTAT_INS.xsd", "schema_faultSOAP_V01_01.xsd"
	for _, style := range []string{INSiStyleDefault, INSiStylePrefixed} {
		if err := teleservice.SetStyle(style); err != nil {
			t.Fatal(err)
		}
		for i := range teleservice.people {
			a := httptest.NewRecorder()
			teleservice.result(a, crFound, &teleservice.people[i])
			judge(a, "RESULTAT", results)
		}
		for _, code := range []string{crNone, crSeveral} {
			a := httptest.NewRecorder()
			teleservice.result(a, code, nil)
			judge(a, "RESULTAT", results)
		}
		for _, f := range insiFaults {
			a := httptest.NewRecorder()
			teleservice.fault(a, f, "uuid:m1")
			judge(a, "Erreur", faults)
		}
	}
	t.Logf("reference: insi: %d judged / %d expected", judged, expected)
}

func FuzzINSiRequest(f *testing.F) {
	f.Add(ask(bySans, traits("PAT-TROIS", "DOMINIQUE", "F", "1979-03-28", "51215")))
	f.Add(ask(byVitale, `<RECVITALE xmlns="http://www.cnamts.fr/INSiRecVit"><MatriculeOD><NumIdentifiant>2790351215189</NumIdentifiant></MatriculeOD><DateNaissance>1979-03-28</DateNaissance></RECVITALE>`))
	f.Add(ask(byVerify, `<IndividuVerifie><INSFourni><OID>x</OID></INSFourni></IndividuVerifie>`))
	f.Add("<a")
	ca, err := openAuthority(f.TempDir(), rand.Reader, noon)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := ca.leaf(roleINSi)
	if err != nil {
		f.Fatal(err)
	}
	teleservice := NewINSi()
	f.Fuzz(func(t *testing.T, body string) {
		if strings.Contains(body, "PANNE LENTE") {
			return
		}
		r := httptest.NewRequest("POST", INSiPath, strings.NewReader(body))
		r.Header.Set("Content-Type", soapType)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}
		a := httptest.NewRecorder()
		teleservice.ServeHTTP(a, r)
		if a.Code != 200 && a.Code != 500 && a.Code != 413 {
			t.Fatalf("HTTP %d", a.Code)
		}
	})
}
