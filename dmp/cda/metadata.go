package cda

import (
	"crypto/sha1" //nolint:gosec // XDS asks for SHA-1; nothing is protected by it
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// Media types of a CDA document (VOL-A).
const (
	MimeXML           = "text/xml"
	MimeSelfRendering = "application/xslt+xml"
)

// Metadata derives the document entry. content is the document exactly as it
// is sent and stored: digest and size are computed over it. The findings say
// what could not be derived, or was derived by a fallback.
func (d *Document) Metadata(content []byte) (dmp.Metadata, []*Finding) {
	h := &d.Header
	n := notes{d: d}
	sum := sha1.Sum(content) //nolint:gosec // see the import
	act := h.mainAct()
	m := dmp.Metadata{
		UniqueID:           h.ID.ID(),
		SetID:              h.SetID.ID(),
		Version:            version(h.VersionNumber.Value),
		Type:               h.Code.DMP(),
		Title:              h.Title.Value,
		Language:           h.Language.Value,
		MimeType:           MimeXML,
		Confidentiality:    h.Confidentiality.DMP(),
		Created:            n.time(h.EffectiveTime),
		ServiceStart:       n.time(act.Start),
		ServiceStop:        n.time(act.Stop),
		LegalAuthenticator: h.LegalAuthenticator.person(),
		Custodian:          h.Custodian.dmp(),
		PracticeSetting:    act.practiceSetting(),
		Patient:            d.Patient(),
		SHA1:               sum[:],
		Size:               int64(len(content)),
	}
	if d.SelfRendering {
		m.MimeType = MimeSelfRendering
	}
	if h.Encounter != nil {
		m.Facility = h.Encounter.Facility.DMP()
	}
	class, ok := dmp.ClassOf(h.Code.Code)
	if !ok && h.Code.Code != "" {
		n.add(FaultClassUnknown, h.Code.Place)
	}
	m.Class = class
	m.Format = n.format()
	for _, a := range h.Authors {
		m.Authors = append(m.Authors, a.dmp())
	}
	for _, a := range h.Acts {
		if a.Code.Code != "" {
			m.Events = append(m.Events, a.Code.DMP())
		}
	}
	m.SourcePatientID = dmp.ID{Root: string(m.Patient.OID), Extension: m.Patient.Matricule}
	if len(m.Patient.Local) > 0 {
		l := m.Patient.Local[0]
		m.SourcePatientID = dmp.ID{Root: l.Authority, Extension: l.Value}
	}
	for _, r := range h.Related {
		if r.Type == "RPLC" && !r.ID.ID().Zero() {
			id := r.ID.ID()
			m.Replaces = &id
			break
		}
	}
	return m, n.found
}

// notes collects what a derivation has to say.
type notes struct {
	d     *Document
	found []*Finding
}

func (n *notes) add(code string, p Place) {
	n.found = append(n.found, &Finding{Code: code, Severity: Warning, Line: p.Line(), XPath: p.XPath()})
}

func (n *notes) time(v TS) time.Time {
	if v.Value == "" {
		return time.Time{}
	}
	t, zoned, ok := ParseTime(v.Value, n.d.location)
	switch {
	case !ok:
		n.add(FaultTime, v.Place)
	case !zoned && len(v.Value) > 8:
		n.add(FaultTimeZone, v.Place)
	}
	return t
}

// version reads a version number; 0 when there is none that can be used, which
// a rule says.
func version(v string) int {
	i, err := strconv.ParseInt(v, 10, 32)
	if err != nil || i < 1 {
		return 0
	}
	return int(i)
}

func (n *notes) format() dmp.Code {
	d := n.d
	place := Place{d.root}
	if d.Body.Kind == Level1 && d.Body.File != nil {
		if f, ok := dmp.FormatOfMediaType(d.Body.File.MediaType); ok {
			return f
		}
		n.add(FaultFormatUnknown, d.Body.File.Place)
		return dmp.Format(dmp.FormatUnknownModel)
	}
	var format dmp.Code
	ans := false
	for _, t := range d.Models {
		f, ok := dmp.FormatOfTemplate(t.Root)
		if national := strings.HasPrefix(t.Root, "1.2.250.1.213."); ok && (format.Code == "" || national && !ans) {
			format, place, ans = f, t.Place, national
		}
	}
	switch {
	case format.Code == "":
		n.add(FaultFormatUnknown, place)
		return dmp.Format(dmp.FormatUnknownModel)
	case !dmp.FormatAllowedOnDMP(format.Code):
		n.add(FaultFormatNotDMP, place)
	}
	return format
}

// Model is the document model (volet) that a structured document declares.
type Model struct {
	Root    string `json:"root"`
	Name    string `json:"name"`    // short name of TRE_R220: CR-BIO, VSM, …
	Version string `json:"version"` // extension of the templateId, such as 2024.01
}

// Model finds the model of the document; false when it declares none that
// TRE_R220 knows. Its own rules are not judged: see [SourceStructure] for what
// is.
func (d *Document) Model() (Model, bool) {
	for _, t := range d.Models {
		if name, ok := dmp.ModelName(t.Root); ok {
			return Model{Root: t.Root, Name: name, Version: t.Extension}, true
		}
	}
	return Model{}, false
}

// mainAct is the first act with a start; the zero Act when there is no act.
func (h *Header) mainAct() Act {
	for _, a := range h.Acts {
		if a.Start.Value != "" {
			return a
		}
	}
	if len(h.Acts) > 0 {
		return h.Acts[0]
	}
	return Act{}
}

// practiceSetting is that of the main performer; else that of any performer.
func (a Act) practiceSetting() dmp.Code {
	var other dmp.Code
	for _, p := range a.Performers {
		c := p.Organisation.Industry.DMP()
		switch {
		case c.Code == "":
		case p.Type == "PRF":
			return c
		case other.Code == "":
			other = c
		}
	}
	return other
}

func (o Organisation) dmp() dmp.Organisation { return dmp.Organisation{ID: o.ID.ID(), Name: o.Name} }

func (s *Signer) person() *dmp.Person {
	if s == nil {
		return nil
	}
	return s.Name.person(s.ID)
}

// person takes the name in use (CL) before the birth name, and any name first
// written before none.
func (n Name) person(id II) *dmp.Person {
	return &dmp.Person{
		ID: id.ID(), Family: used(n.Family), Given: used(n.Given),
		Prefix: n.Prefix, Suffix: n.Suffix,
	}
}

func used(parts []Part) string {
	for _, q := range []string{"CL", "", "BR"} {
		for _, p := range parts {
			if p.Qualifier == q {
				return p.Value
			}
		}
	}
	if len(parts) > 0 {
		return parts[0].Value
	}
	return ""
}

func (a Author) dmp() dmp.Author {
	out := dmp.Author{
		Organisation: a.Organisation.dmp(), Specialty: a.Code.DMP(),
		Role: a.Function.Display, Time: a.Time.Value,
	}
	switch {
	case a.Person != nil:
		out.Person = a.Person.person(a.ID)
	case a.Device != nil:
		out.Device = &dmp.Device{ID: a.ID.ID(), Model: a.Device.Model, Name: a.Device.Software}
	}
	return out
}
