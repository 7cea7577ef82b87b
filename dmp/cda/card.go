package cda

import (
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

// field is one line of the header card.
type field struct{ label, value string }

// card is what a reader must know before the narrative (MSSanté, PDF copy of a
// level 3 document): title apart, the type, the date, who wrote it, who answers
// for it and who keeps it; then the patient and the act.
func (d *Document) card() []field {
	h := &d.Header
	var out []field
	add := func(label, value string) {
		if value = clean(value); value != "" {
			out = append(out, field{label, value})
		}
	}
	kind := h.Code.Display
	if kind == "" {
		kind = h.Code.Code
	}
	add("Type de document", kind)
	add("Date et heure de création", d.frenchTime(h.EffectiveTime))
	for _, a := range h.Authors {
		switch {
		case a.Person != nil:
			add("Auteur", comma(a.Person.full(), a.Code.Display, a.Organisation.Name))
		case a.Device != nil:
			add("Auteur", comma(a.Device.Software, a.Device.Model, a.Organisation.Name))
		}
	}
	if s := h.LegalAuthenticator; s != nil {
		add("Responsable", comma(s.Name.full(), s.Code.Display, s.Organisation.Name))
	}
	add("Organisation conservant le document", h.Custodian.Name)
	if len(h.Patients) > 0 {
		d.patientCard(h.Patients[0], add)
	}
	if act := h.mainAct(); act.Start.Value != "" {
		when := "le " + d.frenchTime(act.Start)
		if act.Stop.Value != "" && act.Stop.Value != act.Start.Value {
			when = "du " + d.frenchTime(act.Start) + " au " + d.frenchTime(act.Stop)
		}
		add("Acte", comma(act.Code.Display, when))
	}
	switch h.Confidentiality.Code {
	case "R", "V":
		add("Confidentialité", h.Confidentiality.Display)
	}
	if v := h.VersionNumber.Value; v != "" && v != "1" {
		add("Version", v)
	}
	return out
}

func (d *Document) patientCard(p PatientRole, add func(label, value string)) {
	t := p.traits()
	birth, name := "", comma(strings.TrimSpace(t.BirthName+" "+t.FirstGiven))
	if name == "" {
		name = p.Name.full()
	}
	if used := used(p.Name.Family); used != "" && used != t.BirthName && t.BirthName != "" {
		name += " (nom utilisé : " + used + ")"
	}
	if when, err := time.Parse(time.DateOnly, t.BirthDate); err == nil {
		birth = when.Format("02/01/2006")
	} else {
		birth = p.BirthTime.Value // lunar or partial: as written
	}
	add("Patient", name)
	add("Prénoms de naissance", t.GivenNames)
	add("Date de naissance", birth)
	add("Sexe", map[string]string{"F": "féminin", "M": "masculin", "U": "indéterminé"}[t.Sex])
	add("Lieu de naissance (code INSEE)", t.BirthPlace)
	id := d.Patient()
	if id.HasINS() {
		add("Matricule INS", id.Matricule+" ("+map[ins.OID]string{
			ins.OIDNIR: "NIR", ins.OIDNIA: "NIA", ins.OIDTest: "NIR de test", ins.OIDDemo: "NIR de démonstration",
		}[id.OID]+")")
	}
	for _, l := range id.Local {
		add("Identifiant local", l.Value)
		break
	}
}

// full is a name as a letter writes it: civility, title, given name, name.
func (n Name) full() string {
	return strings.Join(strings.Fields(n.Prefix+" "+n.Suffix+" "+used(n.Given)+" "+used(n.Family)), " ")
}

// comma joins what is not empty, each once.
func comma(parts ...string) string {
	var out []string
	seen := map[string]bool{}
	for _, p := range parts {
		if p = clean(p); p != "" && !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return strings.Join(out, ", ")
}

// frenchTime is a time to read, at the precision and in the zone that were
// written; as written when it cannot be read.
func (d *Document) frenchTime(v TS) string {
	t, _, ok := ParseTime(v.Value, d.location)
	if !ok {
		return v.Value
	}
	digits := v.Value
	if i := strings.IndexAny(digits, "+-."); i >= 0 {
		digits = digits[:i]
	}
	switch len(digits) {
	case 4:
		return t.Format("2006")
	case 6:
		return t.Format("01/2006")
	case 8:
		return t.Format("02/01/2006")
	}
	return t.Format("02/01/2006 à 15:04")
}

// heading is the title of the document, or what stands for it.
func (d *Document) heading() string {
	for _, s := range []string{d.Header.Title.Value, d.Header.Code.Display} {
		if s = clean(s); s != "" {
			return s
		}
	}
	return "Document sans titre"
}
