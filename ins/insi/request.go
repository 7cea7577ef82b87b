package insi

import (
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

// Names of the exchange (DESIR_ICIR_EXP 1.5.0).
const (
	nsSOAP      = "http://www.w3.org/2003/05/soap-envelope"
	nsWSA       = "http://www.w3.org/2005/08/addressing"
	nsWSSE      = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
	nsSAML      = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsBAM       = "urn:siram:bam:ctxbam"
	nsLPS       = "urn:siram:lps:ctxlps"
	nsSans      = "http://www.cnamts.fr/INSiRecSans"
	nsVitale    = "http://www.cnamts.fr/INSiRecVit"
	nsResult    = "http://www.cnamts.fr/INSiResultat"
	actionBase  = "urn:ServiceIdentiteCertifiee:1.0.0:"
	actionSans  = actionBase + "rechercherInsAvecTraitsIdentite"
	actionCarte = actionBase + "rechercherInsAvecCarteVitale"
	contentType = "application/soap+xml; charset=utf-8"
	instant     = "2006-01-02T15:04:05.000Z"
)

// Software is what INSi knows of the calling software.
type Software struct {
	Authorisation string // number of the CNDA authorisation (IDAM)
	Name          string
	Version       string
	Instance      string // UUID of the installation
}

// Number is a NIR or NIA as a carte Vitale gives it: 13 characters and the key.
type Number struct{ Body, Key string }

// Vitale is what was read of a carte Vitale about one beneficiary. Insured,
// BirthDate and Rank are required.
type Vitale struct {
	Insured     Number // of the person who is insured
	Beneficiary Number // of the beneficiary; empty when the card does not give it
	CertifiedOn string // day on which Beneficiary was certified, YYYY-MM-DD
	BirthName   string
	BirthDate   string // YYYY-MM-DD, may be lunar
	Rank        string // one digit
	Regime      string
	Organisme   string
	Centre      string
	Holder      string // one digit: the beneficiary presents the card
}

// Query is one person to look for.
type Query struct {
	Subject  string // who it is, in the register's own words, for the trace; never an INS
	Identity ins.Identity
}

// Verification names the parts of the unit verification (WS_INS3) that no
// published file confirms. See [GuessedVerification].
type Verification struct {
	Action            string
	Namespace, Root   string // of the request
	AnswerNamespace   string
	AnswerRoot        string
	Agree, Disagree   []string // result codes
	ListOfGivenNames  bool     // send ListePrenom instead of Prenom
	SeparateGivenName bool     // one Prenom for each given name
}

// GuessedVerification is the unit verification as the names in public clients
// suggest it. UNCONFIRMED: ask CNAM before it is switched on.
func GuessedVerification() *Verification {
	return &Verification{
		Action:    actionBase + "verifierInsAvecTraitsIdentite",
		Namespace: "http://www.cnamts.fr/INSiLot2/REQUnitaire", Root: "IndividuVerifie",
		AnswerNamespace: "http://www.cnamts.fr/INSiLot2/REPUnitaire", AnswerRoot: "RESULTAT",
		Agree: []string{"00"}, Disagree: []string{"01", "02"}, ListOfGivenNames: true,
	}
}

// criteria are the traits of one call, in the alphabet of INSi.
type criteria struct {
	name, given, sex, born, place string
}

// names lists what is sent, for the trace.
func (c criteria) names() []string {
	out := []string{ins.TraitBirthName, ins.TraitFirstGiven}
	if strings.Contains(c.given, " ") {
		out[1] = ins.TraitGivenNames
	}
	out = append(out, ins.TraitSex, ins.TraitBirthDate)
	if c.place != "" {
		out = append(out, ins.TraitBirthPlace)
	}
	return out
}

func (c criteria) body(w *writer) {
	w.open("r:RECSANSVITALE", "xmlns:r", nsSans)
	w.leaf("r:NomNaissance", c.name)
	w.leaf("r:Prenom", c.given)
	w.leaf("r:Sexe", c.sex)
	w.leaf("r:DateNaissance", c.born)
	w.given("r:LieuNaissance", c.place)
	w.close("r:RECSANSVITALE")
}

// criteriaOf writes the traits of a person in the alphabet of INSi: everything
// but the given name, which differs between calls. Its place may be empty.
func criteriaOf(t ins.Traits) (criteria, error) {
	missing := func(where string) (criteria, error) { return criteria{}, fail(FaultQuestion, where, nil) }
	if t.BirthName == "" {
		return missing(ins.TraitBirthName)
	}
	name, err := ins.FamilyNameForINSi(t.BirthName)
	if err != nil {
		return criteria{}, err
	}
	if t.Sex != "M" && t.Sex != "F" {
		return missing(ins.TraitSex)
	}
	born, err := ins.ParseBirthDate(t.BirthDate)
	if err != nil || born.Year == 0 {
		return missing(ins.TraitBirthDate)
	}
	place := t.BirthPlace
	if place == ins.UnknownPlace {
		place = ""
	}
	if ins.Refuse(ins.Judge(ins.Identity{Traits: ins.Traits{BirthPlace: place}})) != nil {
		return missing(ins.TraitBirthPlace)
	}
	return criteria{name: name, sex: t.Sex, born: born.String(), place: place}, nil
}

// check refuses a card that was not read entirely.
func (v Vitale) check() error {
	digits := func(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789") == "" }
	number := func(n Number) bool {
		return len(n.Body) == 13 && digits(n.Body[:6]+n.Body[7:], 12) && strings.Contains("0123456789AB", n.Body[6:7]) && digits(n.Key, 2)
	}
	day := func(s string) bool { d, err := ins.ParseBirthDate(s); return err == nil && d.String() == s }
	if v.BirthName != "" {
		if _, err := ins.FamilyNameForINSi(v.BirthName); err != nil {
			return err
		}
	}
	for _, c := range [...]struct {
		ok    bool
		where string
	}{
		{number(v.Insured), "insured"},
		{v.Beneficiary == (Number{}) || number(v.Beneficiary), "beneficiary"},
		{v.CertifiedOn == "" || day(v.CertifiedOn), "certified_on"},
		{day(v.BirthDate), ins.TraitBirthDate},
		{digits(v.Rank, 1), "rank"},
		{v.Holder == "" || digits(v.Holder, 1), "holder"},
		{max(len(v.Regime), len(v.Organisme), len(v.Centre)) <= 20, "coverage"},
	} {
		if !c.ok {
			return fail(FaultQuestion, c.where, nil)
		}
	}
	return nil
}

func (v Vitale) names() []string {
	out := []string{"insured", ins.TraitBirthDate, "rank"}
	if v.Beneficiary != (Number{}) {
		out = append(out, "beneficiary")
	}
	if v.BirthName != "" {
		out = append(out, ins.TraitBirthName)
	}
	return out
}

func (v Vitale) body(w *writer) {
	name, err := ins.FamilyNameForINSi(v.BirthName)
	if err != nil {
		name = "" // check let only an absent name pass
	}
	w.open("r:RECVITALE", "xmlns:r", nsVitale)
	for _, m := range [...]struct {
		name string
		n    Number
	}{{"r:MatriculeIndividu", v.Beneficiary}, {"r:MatriculeOD", v.Insured}} {
		if m.n == (Number{}) {
			continue
		}
		w.open(m.name)
		w.leaf("r:NumIdentifiant", m.n.Body)
		w.leaf("r:Cle", m.n.Key)
		w.close(m.name)
	}
	w.given("r:NomNaissance", name)
	w.leaf("r:DateNaissance", v.BirthDate)
	w.leaf("r:RangNaissance", v.Rank)
	w.close("r:RECVITALE")
}

// coverage is the part of the BAM context that the card fills.
func (v Vitale) coverage(w *writer) {
	number := func(n Number) {
		w.leaf("ctxbam:Num", n.Body)
		w.leaf("ctxbam:Cle", n.Key)
	}
	w.open("ctxbam:COUVERTURE")
	w.given("ctxbam:GrandRegime", v.Regime)
	w.given("ctxbam:Organisme", v.Organisme)
	w.given("ctxbam:CodeCentre", v.Centre)
	w.open("ctxbam:ASSURE")
	w.open("ctxbam:Id")
	number(v.Insured)
	w.close("ctxbam:Id")
	w.close("ctxbam:ASSURE")
	w.open("ctxbam:BENEFICIAIRE")
	if v.Beneficiary != (Number{}) {
		w.open("ctxbam:Nir")
		number(v.Beneficiary)
		w.given("ctxbam:DateCertification", v.CertifiedOn)
		w.close("ctxbam:Nir")
	}
	w.leaf("ctxbam:DateNai", v.BirthDate)
	w.leaf("ctxbam:Rang", v.Rank)
	w.given("ctxbam:Porteur", v.Holder)
	w.close("ctxbam:BENEFICIAIRE")
	w.close("ctxbam:COUVERTURE")
}

// body writes an identity to verify: matricule, OID and traits as they are held,
// names in the alphabet of INSi.
func (v *Verification) body(w *writer, id ins.Identity, c criteria, given []string) {
	w.open("v:"+v.Root, "xmlns:v", v.Namespace)
	w.open("v:INSFourni")
	w.open("v:IdIndividu")
	w.leaf("v:NumIdentifiant", id.Matricule[:13])
	w.leaf("v:Cle", id.Matricule[13:])
	w.close("v:IdIndividu")
	w.leaf("v:OID", string(id.OID))
	w.close("v:INSFourni")
	w.open("v:TraitsIdentiteIndividu")
	w.leaf("v:NomNaissance", c.name)
	switch {
	case v.ListOfGivenNames:
		w.leaf("v:ListePrenom", strings.Join(given, " "))
	case v.SeparateGivenName:
		for _, g := range given {
			w.leaf("v:Prenom", g)
		}
	default:
		w.leaf("v:Prenom", given[0])
	}
	w.leaf("v:Sexe", c.sex)
	w.leaf("v:DateNaissance", c.born)
	w.given("v:LieuNaissance", c.place)
	w.close("v:TraitsIdentiteIndividu")
	w.close("v:" + v.Root)
}

func (v *Verification) complete() bool {
	return !slices.Contains([]string{v.Action, v.Namespace, v.Root, v.AnswerNamespace, v.AnswerRoot}, "") &&
		len(v.Agree) > 0 && len(v.Disagree) > 0 &&
		!slices.ContainsFunc(v.Agree, func(c string) bool { return slices.Contains(v.Disagree, c) })
}

// call is one request before it is written.
type call struct {
	op       Operation
	action   string
	subject  string
	attempt  int
	criteria []string
	coverage func(*writer) // nil for none
	body     func(*writer)
}

// envelope writes the whole request. ids are those of the two contexts and of
// the message.
func (c call) envelope(ids [3]string, at string, cred Credential, s Software) ([]byte, error) {
	w := &writer{}
	w.b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	w.open("soap:Envelope", "xmlns:soap", nsSOAP)
	w.open("soap:Header")
	w.open("ctxbam:ContexteBAM", "xmlns:ctxbam", nsBAM, "Nature", "CTXBAM", "Version", "01_02")
	w.leaf("ctxbam:Id", ids[0])
	w.leaf("ctxbam:Temps", at)
	w.leaf("ctxbam:Emetteur", cred.Emitter)
	if c.coverage != nil {
		c.coverage(w)
	} else {
		w.leaf("ctxbam:COUVERTURE", "")
	}
	w.close("ctxbam:ContexteBAM")
	w.open("ctxlps:ContexteLPS", "xmlns:ctxlps", nsLPS, "Nature", "CTXLPS", "Version", "01_00")
	w.leaf("ctxlps:Id", ids[1])
	w.leaf("ctxlps:Temps", at)
	w.leaf("ctxlps:Emetteur", cred.Emitter)
	w.open("ctxlps:LPS")
	w.leaf("ctxlps:IDAM", s.Authorisation, "R", "4")
	w.leaf("ctxlps:Version", s.Version)
	w.leaf("ctxlps:Instance", s.Instance)
	w.leaf("ctxlps:Nom", s.Name)
	w.close("ctxlps:LPS")
	w.close("ctxlps:ContexteLPS")
	w.leaf("wsa:Action", c.action, "xmlns:wsa", nsWSA)
	w.leaf("wsa:MessageID", messageID(ids[2]), "xmlns:wsa", nsWSA)
	if cred.Assertion != nil {
		w.open("wsse:Security", "xmlns:wsse", nsWSSE)
		w.b.Write(cred.Assertion)
		w.close("wsse:Security")
	}
	w.close("soap:Header")
	w.open("soap:Body")
	c.body(w)
	w.close("soap:Body")
	w.close("soap:Envelope")
	return w.bytes()
}

func messageID(uuid string) string { return "uuid:" + uuid }
