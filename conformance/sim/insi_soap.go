package sim

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// The result codes.
const (
	crFound   = "00"
	crNone    = "01"
	crSeveral = "02"
)

const (
	nsSOAP12  = "http://www.w3.org/2003/05/soap-envelope"
	nsINSi    = "http://www.cnamts.fr/INSiResultat"
	nsINSiTwo = "http://www.cnamts.fr/INSiLot2/REPUnitaire" // UNCONFIRMED
)

// insiRequest is what the teleservice reads of a request.
type insiRequest struct {
	XMLName xml.Name `xml:"http://www.w3.org/2003/05/soap-envelope Envelope"`
	Header  struct {
		BAM *struct {
			Version  string    `xml:"Version,attr"`
			ID       string    `xml:"urn:siram:bam:ctxbam Id"`
			Time     string    `xml:"urn:siram:bam:ctxbam Temps"`
			Coverage *struct{} `xml:"urn:siram:bam:ctxbam COUVERTURE"`
		} `xml:"urn:siram:bam:ctxbam ContexteBAM"`
		LPS *struct {
			Version  string `xml:"Version,attr"`
			ID       string `xml:"urn:siram:lps:ctxlps Id"`
			Time     string `xml:"urn:siram:lps:ctxlps Temps"`
			Emetteur string `xml:"urn:siram:lps:ctxlps Emetteur"`
			LPS      struct {
				IDAM struct {
					R     string `xml:"R,attr"`
					Value string `xml:",chardata"`
				} `xml:"urn:siram:lps:ctxlps IDAM"`
			} `xml:"urn:siram:lps:ctxlps LPS"`
		} `xml:"urn:siram:lps:ctxlps ContexteLPS"`
		Action    string `xml:"http://www.w3.org/2005/08/addressing Action"`
		MessageID string `xml:"http://www.w3.org/2005/08/addressing MessageID"`
		Security  *struct {
			Assertions []struct {
				NameID struct {
					Qualifier string `xml:"NameQualifier,attr"`
				} `xml:"Subject>NameID"`
			} `xml:"urn:oasis:names:tc:SAML:2.0:assertion Assertion"`
		} `xml:"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd Security"`
	} `xml:"http://www.w3.org/2003/05/soap-envelope Header"`
	Body struct {
		Sans   *insiSans   `xml:"http://www.cnamts.fr/INSiRecSans RECSANSVITALE"`
		Vitale *insiVitale `xml:"http://www.cnamts.fr/INSiRecVit RECVITALE"`
		Verify *insiVerify `xml:"IndividuVerifie"` // UNCONFIRMED, whatever its namespace
	} `xml:"http://www.w3.org/2003/05/soap-envelope Body"`
}

type insiSans struct {
	Name  string   `xml:"NomNaissance"`
	Given []string `xml:"Prenom"`
	Sex   string   `xml:"Sexe"`
	Born  string   `xml:"DateNaissance"`
	Place string   `xml:"LieuNaissance"`
	List  []string `xml:"ListePrenom"` // of a verification
}

type insiNumber struct {
	Number string `xml:"NumIdentifiant"`
	Key    string `xml:"Cle"`
}

type insiVitale struct {
	Individual insiNumber `xml:"MatriculeIndividu"`
	Insured    insiNumber `xml:"MatriculeOD"`
	Name       string     `xml:"NomNaissance"`
	Born       string     `xml:"DateNaissance"`
	Rank       string     `xml:"RangNaissance"`
}

type insiVerify struct {
	INS struct {
		ID  insiNumber `xml:"IdIndividu"`
		OID string     `xml:"OID"`
	} `xml:"INSFourni"`
	Traits insiSans `xml:"TraitsIdentiteIndividu"`
}

// readINSi reads a request. bad says what cannot be read.
func readINSi(body []byte) (q insiRequest, bad string) {
	if bytes.Contains(body, []byte("<!DOCTYPE")) {
		return q, "un document SOAP n'a pas de DOCTYPE"
	}
	if err := xml.Unmarshal(body, &q); err != nil {
		return insiRequest{}, "enveloppe SOAP 1.2 illisible"
	}
	return q, ""
}

// operation names a request for the counters.
func (q insiRequest) operation() string {
	switch {
	case q.Body.Sans != nil:
		return "rechercherInsAvecTraitsIdentite"
	case q.Body.Vitale != nil:
		return "rechercherInsAvecCarteVitale"
	case q.Body.Verify != nil:
		return "verifierInsAvecTraitsIdentite"
	}
	return "illisible"
}

func (q insiRequest) id() string { return q.Header.MessageID }

var (
	insiName = regexp.MustCompile(`^[A-Z '-]{1,100}$`)
	insiDay  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)
	insiNIR  = regexp.MustCompile(`^\d{6}[A-Z0-9]\d{6}$`)
	insiCOG  = regexp.MustCompile(`^[A-Z0-9]{5}$`)
)

// incomplete names the first element that is missing or wrong; empty when the
// request is in order. No value is repeated.
func (q insiRequest) incomplete() string {
	h := q.Header
	instant := func(s string) bool { _, err := time.Parse(time.RFC3339, s); return err == nil }
	switch {
	case h.BAM == nil || h.BAM.ID == "" || h.BAM.Version != "01_02" || !instant(h.BAM.Time) || h.BAM.Coverage == nil:
		return "ContexteBAM (Id, Temps, COUVERTURE, Version 01_02)"
	case h.LPS == nil || h.LPS.ID == "" || h.LPS.Version != "01_00" || !instant(h.LPS.Time):
		return "ContexteLPS (Id, Temps, Version 01_00)"
	case h.LPS.LPS.IDAM.R != "4" || h.LPS.LPS.IDAM.Value == "":
		return "IDAM R=4 : numéro d'autorisation du logiciel"
	case h.MessageID == "":
		return "wsa:MessageID"
	case h.Action != "urn:ServiceIdentiteCertifiee:1.0.0:"+q.operation():
		return "wsa:Action ne correspond pas au corps"
	case h.Security != nil && (len(h.Security.Assertions) != 1 || h.Security.Assertions[0].NameID.Qualifier != "CPS" && h.Security.Assertions[0].NameID.Qualifier != "PSC"):
		return "wsse:Security : une assertion, NameQualifier CPS ou PSC"
	case q.Body.Sans != nil:
		return q.Body.Sans.incomplete(q.Body.Sans.Given)
	case q.Body.Vitale != nil:
		v := q.Body.Vitale
		if !insiNIR.MatchString(v.Individual.Number) && !insiNIR.MatchString(v.Insured.Number) || !insiDay.MatchString(v.Born) {
			return "RECVITALE : MatriculeIndividu ou MatriculeOD, et DateNaissance"
		}
	default:
		v := q.Body.Verify
		if !insiNIR.MatchString(v.INS.ID.Number) || len(v.INS.ID.Key) != 2 || v.INS.OID == "" {
			return "INSFourni (NumIdentifiant, Cle, OID)"
		}
		return v.Traits.incomplete(append(v.Traits.Given, v.Traits.List...))
	}
	return ""
}

func (q *insiSans) incomplete(given []string) string {
	switch {
	case !insiName.MatchString(q.Name):
		return "NomNaissance (capitales, espace, apostrophe, tiret)"
	case len(given) == 0 || !insiName.MatchString(strings.Join(given, " ")):
		return "Prenom (capitales, espace, apostrophe, tiret)"
	case q.Sex != "M" && q.Sex != "F":
		return "Sexe (M ou F)"
	case !insiDay.MatchString(q.Born):
		return "DateNaissance (AAAA-MM-JJ)"
	case q.Place != "" && !insiCOG.MatchString(q.Place):
		return "LieuNaissance (code officiel géographique)"
	}
	return ""
}

// insiFault is a fault as INSi answers it.
type insiFault struct {
	sender                          bool // Sender instead of Receiver
	subcode, detail, severity, text string
}

// insiFaults are those that are known, by their detail in lower case; the last
// one is not, for whoever must cope with one.
var insiFaults = map[string]insiFault{
	"insi_102":   {false, "siram_40", "insi_102", "fatale", "Erreur technique lors de la recherche par traits"},
	"desir_1020": {true, "siram_40", "desir_1020", "fatale", "Service temporairement indisponible"},
	"desir_550":  {true, "siram_100", "desir_550", "erreur", "Le numéro d'autorisation du logiciel est inconnu"},
	"desir_560":  {true, "", "DESIR_560", "erreur", "Droits insuffisants"},
	"insi_999":   {false, "siram_999", "insi_999", "fatale", "Erreur que personne ne connaît"},
}

// xmlText escapes a text of ours.
func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder does not fail
	return b.String()
}

// envelope answers a body with the prefixes of the style.
func (s *INSi) envelope(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/soap+xml; charset=utf-8")
	w.WriteHeader(status)
	open, end := `<soap:Envelope xmlns:soap="`+nsSOAP12+`"><env:Body xmlns:env="`+nsSOAP12+`">`, `</env:Body></soap:Envelope>`
	if s.Style() == INSiStylePrefixed {
		open, end = `<soap:Envelope xmlns:soap="`+nsSOAP12+`"><S:Body xmlns:S="`+nsSOAP12+`">`, `</S:Body></soap:Envelope>`
	}
	_, _ = w.Write([]byte(`<?xml version='1.0' encoding='UTF-8'?>` + open + body + end)) // a client that left is not our trouble
}

// element writes one element; the content is XML already.
func element(name, content string) string { return "<" + name + ">" + content + "</" + name + ">" }

// result answers a search.
func (s *INSi) result(w http.ResponseWriter, code string, p *insiPerson) {
	labels := map[string]string{crFound: "OK", crNone: "Aucune identité trouvée", crSeveral: "Plusieurs identités trouvées"}
	body := element("CR", element("CodeCR", code)+element("LibelleCR", labels[code]))
	if p != nil {
		body += element("INDIVIDU", p.xml())
	}
	s.envelope(w, http.StatusOK, s.named("RESULTAT", nsINSi, body))
}

// verdict answers a verification. UNCONFIRMED.
func (s *INSi) verdict(w http.ResponseWriter, agrees bool) {
	code, label := crNone, "Les traits et l'INS ne correspondent pas"
	if agrees {
		code, label = crFound, "OK"
	}
	s.envelope(w, http.StatusOK, s.named("RESULTAT", nsINSiTwo, element("CR", element("CodeCR", code)+element("LibelleCR", label))))
}

var insiTag = regexp.MustCompile(`<(/?)([A-Za-z])`)

// named writes a root element in its namespace, by default or with a prefix.
func (s *INSi) named(name, namespace, content string) string {
	if s.Style() == INSiStylePrefixed {
		return `<ns2:` + name + ` xmlns:ns2="` + namespace + `">` + insiTag.ReplaceAllString(content, "<${1}ns2:$2") + `</ns2:` + name + `>`
	}
	return `<` + name + ` xmlns="` + namespace + `">` + content + `</` + name + `>`
}

// xml is the person as the schema of the answer has it.
func (p insiPerson) xml() string {
	number := func(matricule, oid, from, to string, key bool) string {
		id := element("NumIdentifiant", matricule[:13])
		if key {
			id += element("Cle", matricule[13:])
		}
		out := element("IdIndividu", id) + element("OID", oid)
		for _, day := range [...][2]string{{"DateDeb", from}, {"DateFin", to}} {
			if day[1] != "" {
				out += element(day[0], day[1])
			}
		}
		return out
	}
	out := element("INSACTIF", number(p.matricule, p.oid, "", "", !p.noKey))
	for _, f := range p.former {
		out += element("INSHISTO", number(f.matricule, f.oid, f.from, f.to, true))
	}
	return out + element("TIQ", element("NomNaissance", xmlText(p.name))+element("ListePrenom", xmlText(p.list))+element("Sexe", p.sex)+
		element("DateNaissance", p.born)+element("LieuNaissance", p.place))
}

// fault answers a SOAP fault. As INSi does, the prefix of the style stands in
// the text of the values, and the French text says that it is English.
func (s *INSi) fault(w http.ResponseWriter, f insiFault, messageID string) {
	prefix, value := "soap", "Receiver"
	if s.Style() == INSiStylePrefixed {
		prefix = "S"
	}
	if f.sender {
		value = "Sender"
	}
	tag := func(name, content string) string { return element(prefix+":"+name, content) }
	code := tag("Value", prefix+":"+value)
	if f.subcode != "" {
		code += tag("Subcode", tag("Value", prefix+":"+f.subcode))
	}
	if messageID != "" {
		messageID = ` messageID="` + xmlText(messageID) + `"`
	}
	s.envelope(w, http.StatusInternalServerError, `<`+prefix+`:Fault xmlns:`+prefix+`="`+nsSOAP12+`">`+tag("Code", code)+
		tag("Reason", `<`+prefix+`:Text xml:lang="en">`+xmlText(f.text)+`</`+prefix+`:Text>`)+
		tag("Detail", `<siram:Erreur xmlns:siram="urn:siram" severite="`+f.severity+`" code="`+f.detail+`"`+messageID+`>`+xmlText(f.text)+`</siram:Erreur>`)+
		`</`+prefix+`:Fault>`)
}
