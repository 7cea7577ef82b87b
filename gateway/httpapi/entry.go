package httpapi

import (
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/ins"
)

// describe reads what a DocumentReference says of its document, in the words of
// dmp. What it does not say stays empty and contradicts nothing.
func (d *lotDocument) describe(l *lot) {
	r := d.resource
	a := attachment(r)
	m := &d.claimed
	master := r.Get("masterIdentifier", "value").Text()
	root, isOID := strings.CutPrefix(master, fhir.OIDPrefix)
	if !isOID {
		l.refuse(FaultElement, d.where+".masterIdentifier")
	}
	m.UniqueID = dmp.ID{Root: root}
	if s := r.Get("status").Text(); s != "current" {
		l.refuse(FaultElement, d.where+".status")
	}
	m.Type = codeOf(r.Get("type"))
	if category := r.Get("category").Items(); len(category) > 0 {
		m.Class = codeOf(category[0])
	}
	for _, label := range r.Get("securityLabel").Items() {
		c := codeOf(label)
		if len(label.Get("coding").Items()) > 1 {
			c.Code = "" // a visibility behind another code would be lost
		}
		switch c.Code {
		case "N", "R", "V":
			m.Confidentiality = c
		case string(dmp.HiddenFromProfessionals), string(dmp.HiddenFromPatient), string(dmp.HiddenFromRepresentatives):
			d.hidden = append(d.hidden, c.Code)
		default:
			l.refuse(FaultElement, d.where+".securityLabel")
		}
	}
	slices.Sort(d.hidden)
	m.Title, m.Language, m.MimeType = a.Get("title").Text(), a.Get("language").Text(), a.Get("contentType").Text()
	if format := r.Get("content").Items()[0].Get("format"); format != nil {
		m.Format = dmp.Code{Code: format.Get("code").Text(), System: format.Get("system").Text()}
	}
	for _, t := range []struct {
		to    *time.Time
		node  *fhir.Node
		where string
	}{
		{&m.Created, r.Get("date"), "date"},
		{&m.Created, a.Get("creation"), "content[0].attachment.creation"},
		{&m.ServiceStart, r.Get("context", "period", "start"), "context.period.start"},
		{&m.ServiceStop, r.Get("context", "period", "end"), "context.period.end"},
	} {
		if t.node == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339, t.node.Text())
		if err != nil {
			l.refuse(FaultElement, d.where+"."+t.where)
			continue
		}
		*t.to = at
	}
	m.Facility, m.PracticeSetting = codeOf(r.Get("context", "facilityType")), codeOf(r.Get("context", "practiceSetting"))
	if relation := replaced(r); relation != nil {
		d.replaces = true
		if root, ok := strings.CutPrefix(relation.Get("target", "identifier", "value").Text(), fhir.OIDPrefix); ok {
			m.Replaces = &dmp.ID{Root: root}
		}
	} else if len(r.Get("relatesTo").Items()) > 0 {
		l.refuse(FaultEntry, d.where+".relatesTo")
	}
	for _, ref := range r.Get("author").Items() {
		author, ok := authorOf(r, r.Contained(ref))
		if !ok {
			m.Authors = nil // one that cannot be read: nothing is claimed
			break
		}
		m.Authors = append(m.Authors, author)
	}
	if signer, ok := authorOf(r, r.Contained(r.Get("authenticator"))); ok {
		m.LegalAuthenticator = signer.Person
	}
}

// codeOf is the first coding of a concept.
func codeOf(concept *fhir.Node) dmp.Code {
	for _, c := range concept.Get("coding").Items() {
		return dmp.Code{Code: c.Get("code").Text(), System: c.Get("system").Text()}
	}
	return dmp.Code{}
}

// systemRPPS names RPPS numbers without the digit of their kind.
const systemRPPS = "https://rpps.esante.gouv.fr"

// idOf is the first identifier of a resource that an HL7 II can say.
func idOf(resource *fhir.Node) dmp.ID {
	for _, id := range resource.Get("identifier").Items() {
		system, value := id.Get("system").Text(), id.Get("value").Text()
		switch root, isOID := strings.CutPrefix(system, fhir.OIDPrefix); {
		case isOID:
			return dmp.ID{Root: root, Extension: value}
		case system == systemRPPS && len(value) == 11:
			return dmp.ID{Root: dmp.OIDPerson, Extension: "8" + value}
		case system == fhir.SystemURN && strings.HasPrefix(value, fhir.OIDPrefix):
			return dmp.ID{Root: strings.TrimPrefix(value, fhir.OIDPrefix)}
		}
	}
	return dmp.ID{}
}

func personOf(resource *fhir.Node) *dmp.Person {
	p := &dmp.Person{ID: idOf(resource)}
	if names := resource.Get("name").Items(); len(names) > 0 {
		p.Family = names[0].Get("family").Text()
		for _, part := range []struct {
			to   *string
			name string
		}{{&p.Given, "given"}, {&p.Prefix, "prefix"}, {&p.Suffix, "suffix"}} {
			if items := names[0].Get(part.name).Items(); len(items) > 0 {
				*part.to = items[0].Text()
			}
		}
	}
	return p
}

func organisationOf(resource *fhir.Node) dmp.Organisation {
	return dmp.Organisation{ID: idOf(resource), Name: resource.Get("name").Text()}
}

// authorOf reads a contained author; false when there is none that we know.
func authorOf(holder, resource *fhir.Node) (dmp.Author, bool) {
	switch resource.Get("resourceType").Text() {
	case "PractitionerRole":
		a := dmp.Author{Person: &dmp.Person{}}
		if person := holder.Contained(resource.Get("practitioner")); person != nil {
			a.Person = personOf(person)
		} else if id := idOf(resource); !id.Zero() {
			a.Person.ID = id
		}
		if org := holder.Contained(resource.Get("organization")); org != nil {
			a.Organisation = organisationOf(org)
		}
		return a, true
	case "Practitioner":
		return dmp.Author{Person: personOf(resource)}, true
	case "Patient":
		// By name only: the identifier of a patient goes where the subject goes, never
		// into the token of a sender.
		a := dmp.Author{Person: personOf(resource)}
		a.Person.ID = dmp.ID{}
		return a, true
	case "Device":
		d := &dmp.Device{ID: idOf(resource)}
		for _, n := range resource.Get("deviceName").Items() {
			if n.Get("type").Text() == "model-name" {
				d.Model = n.Get("name").Text()
			} else {
				d.Name = n.Get("name").Text()
			}
		}
		a := dmp.Author{Device: d}
		if org := holder.Contained(resource.Get("owner")); org != nil {
			a.Organisation = organisationOf(org)
		}
		return a, true
	}
	return dmp.Author{}, false
}

// subjectOf reads the patient of a resource: a conditional reference, which a
// transaction may use, a logical one, or a contained Patient.
func subjectOf(resource *fhir.Node) (ins.Identity, bool) {
	subject := resource.Get("subject")
	if p := resource.Contained(subject); p != nil {
		id, ok := identityOf(p)
		return id, ok && id.Matricule != ""
	}
	system, value := subject.Get("identifier", "system").Text(), subject.Get("identifier", "value").Text()
	if ref := subject.Get("reference").Text(); ref != "" {
		token, ok := strings.CutPrefix(ref, "Patient?identifier=")
		if !ok {
			return ins.Identity{}, false
		}
		system, value, _ = strings.Cut(strings.NewReplacer("%7C", "|", "%7c", "|").Replace(token), "|")
	}
	oid := ins.OID(strings.TrimPrefix(system, fhir.OIDPrefix))
	if !oid.Known() || value == "" {
		return ins.Identity{}, false
	}
	return ins.Identity{OID: oid, Matricule: value}, true
}

// identityOf reads an FR Core Patient; false when it has several INS in use that
// nothing orders.
func identityOf(p *fhir.Node) (who ins.Identity, ok bool) {
	var all []fhir.Identifier
	for _, id := range p.Get("identifier").Items() {
		one := fhir.Identifier{Use: id.Get("use").Text(), System: id.Get("system").Text(), Value: id.Get("value").Text()}
		if kind := id.Get("type"); kind != nil {
			one.Type = &fhir.CodeableConcept{Text: kind.Get("text").Text()}
			for _, c := range kind.Get("coding").Items() {
				one.Type.Coding = append(one.Type.Coding, fhir.Coding{Code: c.Get("code").Text()})
			}
		}
		oid, isOID := strings.CutPrefix(one.System, fhir.OIDPrefix)
		switch {
		case !isOID || one.Value == "":
		case ins.OID(oid).Known():
			// An INS, a former one, or a billing number under the same system: the
			// last two are nobody's local number.
			all = append(all, one)
		default:
			who.Local = append(who.Local, ins.LocalID{Value: one.Value, Authority: oid})
		}
	}
	who.OID, who.Matricule = fhir.Matricule(all)
	ok = who.Matricule != "" || !slices.ContainsFunc(all, func(one fhir.Identifier) bool {
		_, m := fhir.Matricule([]fhir.Identifier{one})
		return m != ""
	})
	for _, n := range p.Get("name").Items() {
		if use := n.Get("use").Text(); use != "official" && len(p.Get("name").Items()) > 1 {
			continue
		}
		who.Traits.BirthName = n.Get("family").Text()
		if given := n.Get("given").Items(); len(given) > 0 {
			who.Traits.FirstGiven = given[0].Text()
		}
		for _, e := range n.Get("extension").Items() {
			if strings.HasSuffix(e.Get("url").Text(), "/fr-core-patient-birth-list-given-name") {
				who.Traits.GivenNames = e.Get("valueString").Text()
			}
		}
	}
	who.Traits.Sex = map[string]string{"male": "M", "female": "F", "unknown": "U"}[p.Get("gender").Text()]
	who.Traits.BirthDate = p.Get("birthDate").Text()
	var said []ins.FHIRCode
	for _, e := range p.Get("extension").Items() {
		switch url := e.Get("url").Text(); {
		case strings.HasSuffix(url, "/patient-birthPlace"):
			for _, place := range e.Get("valueAddress", "extension").Items() {
				if strings.HasSuffix(place.Get("url").Text(), "/fr-core-address-insee-code") {
					who.Traits.BirthPlace = place.Get("valueCoding", "code").Text()
				}
			}
		case strings.HasSuffix(url, "/fr-core-identity-reliability"):
			said = append(said, ins.FHIRCode{}) // said, even when not in a word that is known
			for _, part := range e.Get("extension").Items() {
				said = append(said, ins.FHIRCode{System: part.Get("valueCoding", "system").Text(), Code: part.Get("valueCoding", "code").Text()})
			}
		}
	}
	if said != nil {
		who.Status, who.Attributes = ins.FromFHIRReliability(said, who.Matricule != "")
	}
	return who, ok
}
