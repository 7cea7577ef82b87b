package insi

import (
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

// Result is what INSi answers to a search.
type Result string

// The results.
const (
	Found   Result = ins.Found // one identity
	None    Result = "01"      // nobody
	Several Result = "02"      // several people
)

// maxFormer bounds the history of one person; about ten changes exist upstream.
const maxFormer = 100

// Former is an INS that a person had. Days are as they came: often empty, and
// once inverted.
type Former struct {
	ins.Pair
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Answer is one answer of INSi to a search. INS, Former and Traits are there
// for Found only.
type Answer struct {
	Result    Result     `json:"result"`
	Operation Operation  `json:"operation"`
	MessageID string     `json:"message_id"` // of the request
	At        time.Time  `json:"at"`
	INS       ins.Pair   `json:"ins"`
	KeyAdded  bool       `json:"key_added,omitempty"` // INSi gave no key, it was computed
	Former    []Former   `json:"former,omitempty"`
	Traits    ins.Traits `json:"traits"` // verbatim; INSi gives no first given name
	Given     string     `json:"given,omitempty"`
}

// Trace is the evidence that a register keeps once a person has accepted the
// answer; false unless exactly one identity was found.
func (a Answer) Trace() (ins.Trace, bool) {
	if a.Result != Found {
		return ins.Trace{}, false
	}
	t := ins.Trace{Channel: ins.ChannelINSi, MessageID: a.MessageID, Result: string(a.Result), INS: a.INS, Traits: a.Traits, At: a.At}
	for _, f := range a.Former {
		t.Former = append(t.Former, f.Pair)
	}
	return t, true
}

// Err is the answer in the words of the error table; nil for Found.
func (a Answer) Err() error {
	switch a.Result {
	case Found:
		return nil
	case Several:
		return fail(FaultSeveral, "", nil)
	}
	return fail(FaultNone, "", nil)
}

// bodyOf gives the one element that a SOAP answer carries.
func bodyOf(data []byte) (*element, bool) {
	root, err := readXML(data)
	if err != nil || !root.is(nsSOAP, "Envelope") {
		return nil, false
	}
	body := root.child("Body")
	if !body.is(nsSOAP, "Body") || len(body.children) != 1 {
		return nil, false
	}
	return body.children[0], true
}

// readResult reads the RESULTAT of a search.
func readResult(e *element, env ins.Environment) (Answer, error) {
	bad := func(where string) (Answer, error) { return Answer{}, fail(FaultAnswer, where, nil) }
	if !e.is(nsResult, "RESULTAT") {
		return bad("RESULTAT")
	}
	a := Answer{Result: Result(e.value("CR", "CodeCR"))}
	person := e.child("INDIVIDU")
	switch {
	case a.Result != Found && a.Result != None && a.Result != Several:
		return bad("CodeCR")
	case (a.Result == Found) != (person != nil):
		return bad("INDIVIDU")
	case person == nil:
		return a, nil
	}
	var ok bool
	if a.INS, a.KeyAdded, ok = pairOf(person.child("INSACTIF")); !ok || !a.INS.OID.Known() {
		return bad("INSACTIF")
	}
	if env.Check(a.INS.OID) != nil {
		return Answer{}, fail(FaultEnvironment, "OID", nil)
	}
	for _, c := range person.children {
		if c.name != "INSHISTO" {
			continue
		}
		p, _, ok := pairOf(c)
		if !ok || len(a.Former) >= maxFormer {
			return bad("INSHISTO")
		}
		f := Former{p, c.value("DateDeb"), c.value("DateFin")}
		if p != a.INS && !slices.Contains(a.Former, f) {
			a.Former = append(a.Former, f)
		}
	}
	traits := person.child("TIQ")
	if traits == nil {
		return bad("TIQ")
	}
	a.Traits = ins.Traits{BirthName: traits.value("NomNaissance"), GivenNames: traits.value("ListePrenom"),
		BirthDate: traits.value("DateNaissance"), Sex: traits.value("Sexe"), BirthPlace: traits.value("LieuNaissance")}
	a.Given = traits.value("Prenom")
	return a, nil
}

// pairOf reads an INS; its children come in any order. A key that is not there
// is computed.
func pairOf(e *element) (p ins.Pair, added, ok bool) {
	body, key := e.value("IdIndividu", "NumIdentifiant"), e.value("IdIndividu", "Cle")
	n, ok := ins.Key(body)
	if !ok || key != "" && (len(key) != 2 || strings.Trim(key, "0123456789") != "") {
		return ins.Pair{}, false, false
	}
	if key == "" {
		key, added = string([]byte{'0' + byte(n/10), '0' + byte(n%10)}), true
	}
	return ins.Pair{Matricule: body + key, OID: ins.OID(e.value("OID"))}, added, true
}

// remoteCodes are the codes of INSi that are known, and what they mean here.
var remoteCodes = map[string]string{
	"insi_102":   FaultUnavailable, // technical error of the search
	"desir_1020": FaultUnavailable, // service unavailable
	"desir_550":  FaultSoftware,
	"desir_560":  FaultRights,
	// A subcode decides where the detail is unknown.
	"siram_40": FaultUnavailable,
}

// faultOf reads a SOAP fault. Neither the text for users nor any word beyond the
// codes is kept: it is the server's.
func faultOf(e *element) (*Error, bool) {
	if !e.is(nsSOAP, "Fault") {
		return nil, false
	}
	f := &Error{code: FaultRejected, siram: remoteCode(e.value("Code", "Subcode", "Value"))}
	if detail := e.at("Detail", "Erreur"); detail != nil {
		f.detail = remoteCode(detail.attrs["code"])
	}
	for _, c := range [...]string{f.siram, f.detail} { // the detail has the last word
		if code, known := remoteCodes[c]; known {
			f.code = code
		}
	}
	return f, true
}

// remoteCode is a code in lower case, without the prefix that makes it a QName;
// empty when it is no code.
func remoteCode(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		s = s[i+1:]
	}
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return ""
	}
	return s
}
