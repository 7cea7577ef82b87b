package cda

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// BuildInput is what [Build] needs to know. Its JSON form is the envelope of
// the command `cda build`. Code systems may be left out where the value set of
// the element has only one for the code; displays of confidentiality and sex
// have a default, all others must be given.
type BuildInput struct {
	To              ins.Destination `json:"to"` // where the document is to go: decides what the INS gate asks
	ID              dmp.ID          `json:"id"`
	SetID           dmp.ID          `json:"set_id"`          // of a first version: the id when absent
	Version         int             `json:"version"`         // of a first version: 1 when absent
	Replaces        *dmp.ID         `json:"replaces"`        // the document that this version replaces
	Type            dmp.Code        `json:"type"`            // JDV_J07
	Title           string          `json:"title"`           // the display of the type when absent
	Created         time.Time       `json:"created"`         // written with its own zone
	Confidentiality dmp.Code        `json:"confidentiality"` // N when absent
	Language        string          `json:"language"`        // fr-FR when absent

	Patient    BuildPatient      `json:"patient"`
	Authors    []Professional    `json:"authors"`    // or a device, in Device
	Device     *BuildDevice      `json:"device"`     // an author that is not human
	Signatory  *Professional     `json:"signatory"`  // legalAuthenticator; the first author when absent
	Signed     time.Time         `json:"signed"`     // Created when absent
	Custodian  BuildOrganisation `json:"custodian"`  // the structure of the signatory when absent
	Recipients []Professional    `json:"recipients"` // informationRecipient
	Orders     []dmp.ID          `json:"orders"`     // inFulfillmentOf
	Act        BuildAct          `json:"act"`
	Encounter  BuildEncounter    `json:"encounter"`
	Policy     ins.Policy        `json:"-"` // of the site, for the INS gate
	PDF        []byte            `json:"-"` // the body
}

// BuildPatient is the person whom the document is about.
type BuildPatient struct {
	ins.Identity
	UsedName  string       `json:"used_name,omitempty"`  // nom utilisé
	UsedGiven string       `json:"used_given,omitempty"` // prénom utilisé
	Telecoms  []string     `json:"telecoms,omitempty"`   // tel:…, mailto:…
	Address   BuildAddress `json:"address"`
}

// BuildAddress is a postal address.
type BuildAddress struct {
	Lines    []string `json:"lines,omitempty"`
	PostCode string   `json:"post_code,omitempty"`
	City     string   `json:"city,omitempty"`
}

// BuildOrganisation is a structure with its coordinates. The root of its ID is
// that of national identifiers when it is absent.
type BuildOrganisation struct {
	dmp.Organisation
	Telecoms []string     `json:"telecoms,omitempty"`
	Address  BuildAddress `json:"address"`
}

// Professional is a person acting for a structure. The root of its ID is that of
// national identifiers when it is absent; Prefix is a civilité (M, MME) and
// Suffix a titre (DR, PR, …).
type Professional struct {
	dmp.Person
	Specialty    dmp.Code          `json:"specialty"` // JDV_J01
	Function     dmp.Code          `json:"function"`  // JDV_J47, of an author only
	Telecoms     []string          `json:"telecoms,omitempty"`
	Address      BuildAddress      `json:"address"`
	Organisation BuildOrganisation `json:"organisation"`
}

// BuildDevice is an author that is not human.
type BuildDevice struct {
	dmp.Device
	Organisation BuildOrganisation `json:"organisation"`
}

// BuildAct is the documented act.
type BuildAct struct {
	ID              dmp.ID        `json:"id"`
	Code            dmp.Code      `json:"code"`
	Start           time.Time     `json:"start"`
	Stop            time.Time     `json:"stop,omitzero"`
	Performer       *Professional `json:"performer"`        // the first author, else the signatory, when absent
	PracticeSetting dmp.Code      `json:"practice_setting"` // JDV_J04
}

// BuildEncounter is the stay or visit.
type BuildEncounter struct {
	ID       dmp.ID    `json:"id"`
	Code     dmp.Code  `json:"code"` // JDV_J142
	Start    time.Time `json:"start,omitzero"`
	Stop     time.Time `json:"stop,omitzero"`
	Facility dmp.Code  `json:"facility"` // JDV_J02
}

// Replacing gives the input of the next version of a document: same set, next
// number, and the link to the version that it replaces. The id must be new.
func (in BuildInput) Replacing(previous dmp.Metadata) BuildInput {
	replaced := previous.UniqueID
	in.SetID, in.Version, in.Replaces = previous.SetID, previous.Version+1, &replaced
	return in
}

// Refused is a document that [Build] would not let out: every finding of the
// verdict that is an error, in the order of the rule table. It carries the code
// and the place of the first.
type Refused struct {
	RuleSet  string
	Findings []*Finding
}

// Error is for logs: the first finding, and how many there are.
func (r *Refused) Error() string {
	return fmt.Sprintf("%s (%d findings)", r.Findings[0].Error(), len(r.Findings))
}

// FaultCode names the row of the error table.
func (r *Refused) FaultCode() string { return r.Findings[0].FaultCode() }

// FaultWhere names the place in the document that would have been built.
func (r *Refused) FaultWhere() string { return r.Findings[0].FaultWhere() }

// Build makes a CDA R2 level 1 document of a PDF: same input, same bytes. It
// lets out only what [Document.Verdict] accepts without an error. The error is
// an INS refusal ([ins.Refusal]) when the patient carries a matricule that may
// not leave to in.To, a [*Finding] when the body is no PDF, and a [*Refused]
// otherwise.
func Build(in BuildInput) ([]byte, error) {
	if err := in.Policy.Gate(in.Patient.Identity, in.To); err != nil {
		return nil, err
	}
	if !wholePDF(in.PDF) {
		return nil, &Finding{Code: FaultNotPDF, Severity: Blocking}
	}
	in.complete()
	out := in.write()
	d, err := Read(out)
	if err != nil {
		return nil, err
	}
	v := d.Verdict()
	refused := &Refused{RuleSet: v.RuleSet}
	for _, f := range v.Findings {
		if f.Severity >= Error {
			refused.Findings = append(refused.Findings, f)
		}
	}
	if in.Replaces != nil && in.Version == 1 {
		v := d.Header.VersionNumber
		refused.Findings = append(refused.Findings, &Finding{Code: FaultVersion, Severity: Error, Line: v.Line(), XPath: v.XPath()})
	}
	if len(refused.Findings) > 0 {
		return nil, refused
	}
	return out, nil
}

// wholePDF tells whether a file begins and ends as a PDF does: HTML under the
// name of a PDF, and one cut on its way, are refused where they are cheapest to
// find.
func wholePDF(b []byte) bool {
	return looksLike(b, "application/pdf") && len(b) > 0 && bytes.Contains(b, []byte("startxref"))
}

// complete fills what has one right value.
func (in *BuildInput) complete() {
	if in.Replaces == nil {
		if in.SetID.Zero() {
			in.SetID = in.ID
		}
		if in.Version == 0 {
			in.Version = 1
		}
	}
	in.Type = coded(in.Type, dmp.SetJ07)
	if in.Title == "" {
		in.Title = in.Type.Display
	}
	if in.Language == "" {
		in.Language = "fr-FR"
	}
	c := &in.Confidentiality
	if c.Code == "" {
		c.Code = "N"
	}
	if c.System == "" {
		c.System = dmp.OIDConfidentiality
	}
	if c.Display == "" {
		c.Display = map[string]string{"N": "Normal", "R": "Restreint", "V": "Très restreint"}[c.Code]
	}
	if in.Signatory == nil && len(in.Authors) > 0 {
		in.Signatory = &in.Authors[0]
	}
	if in.Signed.IsZero() {
		in.Signed = in.Created
	}
	if in.Custodian.ID.Zero() && in.Signatory != nil {
		in.Custodian = in.Signatory.Organisation
	}
	if in.Act.Performer == nil {
		in.Act.Performer = in.Signatory
		if len(in.Authors) > 0 {
			in.Act.Performer = &in.Authors[0]
		}
	}
	in.Act.PracticeSetting = coded(in.Act.PracticeSetting, dmp.SetJ04)
	in.Encounter.Code = coded(in.Encounter.Code, dmp.SetJ142)
	in.Encounter.Facility = coded(in.Encounter.Facility, dmp.SetJ02)
}

// coded completes a code with its code system, where its set leaves no choice.
func coded(c dmp.Code, set *dmp.ValueSet) dmp.Code {
	if c.Code != "" && c.System == "" {
		c.System = set.System(c.Code)
	}
	return c
}

// write writes the document. What is absent is left out: the verdict says what
// must not be.
func (in *BuildInput) write() []byte {
	var w writer
	w.raw(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	w.open("ClinicalDocument", "xmlns", nsHL7, "xmlns:xsi", nsXSI)
	w.empty("realmCode", "code", "FR")
	w.empty("typeId", "root", "2.16.840.1.113883.1.3", "extension", "POCD_HD000040")
	for _, t := range []string{templateHL7France, templateCISIS, templateXDSSD} {
		w.empty("templateId", "root", t)
	}
	w.id("id", in.ID)
	w.code("code", in.Type)
	w.text("title", in.Title)
	w.time("effectiveTime", in.Created)
	w.code("confidentialityCode", in.Confidentiality)
	w.empty("languageCode", "code", in.Language)
	w.id("setId", in.SetID)
	if in.Version != 0 {
		w.empty("versionNumber", "value", fmt.Sprint(in.Version))
	}
	in.writePatient(&w)
	for i := range in.Authors {
		in.writeAuthor(&w, &in.Authors[i])
	}
	if in.Device != nil {
		in.writeDevice(&w)
	}
	w.wrap("custodian/assignedCustodian", func() {
		w.organisation("representedCustodianOrganization", in.Custodian, nil)
	})
	for i := range in.Recipients {
		in.writeRecipient(&w, &in.Recipients[i])
	}
	if in.Signatory != nil {
		w.wrap("legalAuthenticator", func() {
			w.time("time", in.Signed)
			w.empty("signatureCode", "code", "S")
			w.professional("assignedEntity", "assignedPerson", in.Signatory, nil)
		})
	}
	for _, o := range in.Orders {
		w.wrap("inFulfillmentOf/order", func() { w.id("id", o) })
	}
	in.writeAct(&w)
	if in.Replaces != nil {
		w.open("relatedDocument", "typeCode", "RPLC")
		w.wrap("parentDocument", func() { w.id("id", *in.Replaces) })
		w.close("relatedDocument")
	}
	in.writeEncounter(&w)
	w.wrap("component/nonXMLBody", func() {
		w.start("text", "mediaType", "application/pdf", "representation", "B64")
		w.raw(base64.StdEncoding.EncodeToString(in.PDF))
		w.raw("</text>\n")
	})
	w.close("ClinicalDocument")
	return w.Bytes()
}

func (in *BuildInput) writePatient(w *writer) {
	p := in.Patient
	w.wrap("recordTarget/patientRole", func() {
		if p.Matricule != "" {
			w.id("id", dmp.ID{Root: string(p.OID), Extension: p.Matricule})
		}
		for _, l := range p.Local {
			w.id("id", dmp.ID{Root: l.Authority, Extension: l.Value})
		}
		w.address(p.Address)
		w.telecoms(p.Telecoms)
		w.open("patient", "classCode", "PSN")
		w.wrap("name", func() {
			w.text("family", p.Traits.BirthName, "qualifier", "BR")
			w.text("family", p.UsedName, "qualifier", "CL")
			w.text("given", p.Traits.GivenNames)
			w.text("given", p.Traits.FirstGiven, "qualifier", "BR")
			w.text("given", p.UsedGiven, "qualifier", "CL")
		})
		display := map[string]string{"F": "Féminin", "M": "Masculin", "U": "Inconnu"}[p.Traits.Sex]
		w.code("administrativeGenderCode", dmp.Code{Code: ins.SexForCDA(p.Traits.Sex), System: "2.16.840.1.113883.5.1", Display: display})
		if d := p.Traits.BirthDate; d != "" {
			w.empty("birthTime", "value", string(bytes.ReplaceAll([]byte(d), []byte("-"), nil)))
		}
		if p.Traits.BirthPlace != "" {
			w.wrap("birthplace/place/addr", func() { w.text("county", p.Traits.BirthPlace) })
		}
		w.close("patient")
	})
}

func (in *BuildInput) writeAuthor(w *writer, p *Professional) {
	w.wrap("author", func() {
		w.code("functionCode", coded(p.Function, dmp.SetJ47))
		w.time("time", in.Created)
		w.professional("assignedAuthor", "assignedPerson", p, nil)
	})
}

func (in *BuildInput) writeDevice(w *writer) {
	d := in.Device
	w.wrap("author", func() {
		w.time("time", in.Created)
		w.wrap("assignedAuthor", func() {
			w.id("id", d.ID)
			w.address(d.Organisation.Address)
			w.telecoms(d.Organisation.Telecoms)
			w.wrap("assignedAuthoringDevice", func() {
				w.text("manufacturerModelName", d.Model)
				w.text("softwareName", d.Name)
			})
			w.organisation("representedOrganization", d.Organisation, nil)
		})
	})
}

func (in *BuildInput) writeRecipient(w *writer, p *Professional) {
	w.wrap("informationRecipient/intendedRecipient", func() {
		if !p.ID.Zero() {
			w.id("id", rooted(p.ID, dmp.OIDPerson))
		}
		w.address(p.Address)
		w.telecoms(p.Telecoms)
		w.wrap("informationRecipient", func() { w.name(p.Person) })
		if !p.Organisation.ID.Zero() {
			w.organisation("receivedOrganization", p.Organisation, nil)
		}
	})
}

func (in *BuildInput) writeAct(w *writer) {
	a := in.Act
	w.wrap("documentationOf/serviceEvent", func() {
		if !a.ID.Zero() {
			w.id("id", a.ID)
		}
		w.code("code", a.Code)
		if !a.Start.IsZero() {
			w.interval(a.Start, a.Stop)
		}
		if a.Performer != nil {
			w.open("performer", "typeCode", "PRF")
			w.professional("assignedEntity", "assignedPerson", a.Performer, &a.PracticeSetting)
			w.close("performer")
		}
	})
}

func (in *BuildInput) writeEncounter(w *writer) {
	e := in.Encounter
	w.wrap("componentOf/encompassingEncounter", func() {
		if !e.ID.Zero() {
			w.id("id", e.ID)
		}
		w.code("code", e.Code)
		if e.Start.IsZero() && e.Stop.IsZero() {
			w.empty("effectiveTime", "nullFlavor", "UNK")
		} else {
			w.interval(e.Start, e.Stop)
		}
		w.wrap("location/healthCareFacility", func() { w.code("code", e.Facility) })
	})
}
