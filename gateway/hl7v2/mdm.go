package hl7v2

import (
	"bytes"
	"context"
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
)

// ProfileApplication is the profile of the messages to the hospital software
// (MSH-21): volet "Transmission au LPS d'un document CDA provenant d'un
// courriel MSSanté".
const ProfileApplication = "1.1^CISIS_CDA_HL7_LPS"

// Software is the application that files the documents received by mail for
// one establishment.
type Software struct {
	Target     Target
	To         gateway.Party // MSH-5/6: the application
	As         gateway.Party // MSH-3/4: what the gateway calls itself to it
	Processing string        // MSH-11; P if empty
}

// Application brings documents received by MSSanté mail to the hospital
// software; it is the gateway's [gateway.Application].
type Application struct {
	// Route finds the application of an establishment.
	Route func(gateway.Establishment) (Software, bool)
	// Timeout of one exchange, connection included; 30 s if zero.
	Timeout time.Duration
	// Zone of the times written; nil keeps the one of the filing.
	Zone *time.Location
	// Trace is told when the bytes of a message have been written.
	Trace func(gateway.Filing)
}

// File sends one document and waits for its acknowledgement. AA is success; AE
// is permanent and its error tells ERR-5 (ApplicationCode); AR, silence and an
// answer to something else are temporary. What must not leave is refused
// before anything is dialled.
func (a *Application) File(ctx context.Context, f gateway.Filing) error {
	software, ok := a.Route(f.Establishment)
	if !ok {
		return refuse(FaultMDMRoute, "")
	}
	message, err := RenderMDM(f, software, a.Zone)
	if err != nil {
		return err
	}
	e := errand{target: software.Target, timeout: a.Timeout, message: message, controlID: f.ControlID, words: mdmWords}
	if a.Trace != nil {
		e.sent = func() { a.Trace(f) }
	}
	return e.run(ctx)
}

// request is how the volet writes one action.
type request struct{ event, order, status string }

var requests = map[dmp.Action]request{
	dmp.New:     {"T02", "NW", "F"},
	dmp.Replace: {"T10", "RO", "C"},
	dmp.Delete:  {"T04", "CA", "D"},
}

// RenderMDM writes the MDM of one filing. It depends on its arguments alone, so
// that a resend has the same bytes. It refuses a document masked to
// professionals, a matricule that the gate holds back, a document whose INS is
// not that of the person, and a filing that lacks what the profile requires.
func RenderMDM(f gateway.Filing, to Software, zone *time.Location) ([]byte, error) {
	r, ok := requests[f.Action]
	if !ok {
		return nil, refuse(FaultEvent, "MSH^1^9")
	}
	if err := mayFile(f); err != nil {
		return nil, err
	}
	at := f.Composed
	if zone != nil {
		at = at.In(zone)
	}
	processing := to.Processing
	if processing == "" {
		processing = "P"
	}
	kind := codeText(f.Metadata.Type)
	replaced := ""
	if id := f.Metadata.Replaces; id != nil && f.Action == dmp.Replace {
		replaced = writeID(*id)
	}

	const rest = 4 << 10 // the segments without the document and the mail
	var b bytes.Buffer
	b.Grow(base64.StdEncoding.EncodedLen(len(f.Document)) + base64.StdEncoding.EncodedLen(len(f.Body)) + 2*len(f.Subject) + rest)
	segment(&b, "MSH", `^~\&`, writeHD(to.As.Application), writeHD(to.As.Facility),
		writeHD(to.To.Application), writeHD(to.To.Facility), timestamp(at), "",
		"MDM^"+r.event+"^MDM_T02", text(f.ControlID), text(processing), "2.6",
		"", "", "", "", "FRA", charsetUTF8.String(), "", "", ProfileApplication)
	segment(&b, "EVN", "", timestamp(at))
	writePID(&b, f.Patient, f.Establishment)
	segment(&b, "PV1", "1", "N")
	segment(&b, "ORC", r.order)
	segment(&b, "OBR", "1", "", "", kind)
	segment(&b, "TXA", "1", text(f.Metadata.Type.Code), "TEXT", "", "", "", "", "", "", "", "",
		writeID(f.Metadata.UniqueID), replaced, "", "", "", "AU")
	writeData(&b, "1", kind, "^text^XML^Base64^", f.Document, r.status)
	writePRT(&b, "SB^Send by", f.Sender)
	for _, address := range f.Recipients {
		writePRT(&b, "RCT^Result Copies To", address)
	}
	for _, address := range f.ReplyTo {
		writePRT(&b, "REPLY^Reply To", address)
	}
	writeData(&b, "2", text(f.MessageID)+"^"+text(f.Subject), "^text^^Base64^", []byte(f.Body), "F")
	for i, m := range restrictions {
		answer := "N"
		if m.set(f) {
			answer = "Y"
		}
		segment(&b, "OBX", strconv.Itoa(3+i), "CWE", m.code+"^"+m.label+"^MetaDMPMSS", "",
			answer+"^^expandedYes-NoIndicator", "", "", "", "", "", "F")
	}
	return b.Bytes(), nil
}

// mayFile is what must hold before a document leaves to the hospital software.
func mayFile(f gateway.Filing) error {
	if slices.Contains(f.Metadata.Visibility, dmp.HiddenFromProfessionals) {
		return refuse(FaultMDMMasked, "OBX^3^5")
	}
	if err := ins.Gate(f.Patient, ins.ToHL7); err != nil {
		return err
	}
	p, d := f.Patient, f.Metadata.Patient
	switch {
	case !p.HasINS() && len(p.Local) == 0:
		return refuse(FaultMDMIncomplete, "PID^1^3")
	case p.Traits.BirthName == "":
		return refuse(FaultMDMIncomplete, "PID^1^5")
	// A person held without INS does not take that of the document with it.
	case d.HasINS() && (p.Matricule != d.Matricule || p.OID != d.OID):
		return refuse(FaultMDMPatient, "PID^1^3")
	case f.Metadata.Type.Code == "":
		return refuse(FaultMDMIncomplete, "TXA^1^2")
	case f.Metadata.UniqueID.Zero():
		return refuse(FaultMDMIncomplete, "TXA^1^12")
	case f.Action == dmp.Replace && (f.Metadata.Replaces == nil || f.Metadata.Replaces.Zero()):
		return refuse(FaultMDMIncomplete, "TXA^1^13")
	case len(f.Document) == 0:
		return refuse(FaultMDMIncomplete, "OBX^1^5")
	case f.Sender == "":
		return refuse(FaultMDMIncomplete, "PRT^1^15")
	}
	return nil
}

// restrictions are the flags of the profile, in its order and words.
var restrictions = []struct {
	code, label string
	set         func(gateway.Filing) bool
}{
	{"MASQUE_PS", "Masqué aux professionnels de Santé", has(dmp.HiddenFromProfessionals)},
	{"INVISIBLE_PATIENT", "Document Non Visible par le patient", has(dmp.HiddenFromPatient)},
	{"INVISIBLE_REP_LEGAUX", "Non visible par les représentants Légaux du patient", has(dmp.HiddenFromRepresentatives)},
	{"MODIF_CONF_CODE", "Modification Confidentiality Code", func(f gateway.Filing) bool { return f.VisibilityChange }},
}

func has(v dmp.Visibility) func(gateway.Filing) bool {
	return func(f gateway.Filing) bool { return slices.Contains(f.Metadata.Visibility, v) }
}

// insAuthority is the namespace of PAM.fr beside the OID of an INS.
func insAuthority(oid ins.OID) string {
	if oid == ins.OIDNIA {
		return "ASIP-SANTE-INS-NIA"
	}
	return "ASIP-SANTE-INS-NIR"
}

// insCX is an INS as PID-3 and MRG-1 have it.
func insCX(matricule string, oid ins.OID) string {
	return text(matricule) + "^^^" + insAuthority(oid) + "&" + text(string(oid)) + "&ISO^INS"
}

// localCX are the local numbers of a person.
func localCX(p ins.Identity, e gateway.Establishment) (ids []string) {
	for _, l := range p.Local {
		ids = append(ids, text(l.Value)+"^^^"+localAuthority(l.Authority, e)+"^PI")
	}
	return ids
}

// writePID writes a person whom the gate lets through.
func writePID(b writer, p ins.Identity, e gateway.Establishment) {
	ids := localCX(p, e)
	if p.HasINS() {
		ids = append([]string{insCX(p.Matricule, p.OID)}, ids...)
	}
	writeIdentified(b, ids, p)
}

// writeIdentified writes PID under identifiers that are already written.
func writeIdentified(b writer, ids []string, p ins.Identity) {
	t := p.Traits
	place := ""
	if t.BirthPlace != "" {
		place = "^^^^^^BDL^^" + text(t.BirthPlace)
	}
	segment(b, "PID", "1", "", strings.Join(ids, "~"), "",
		text(t.BirthName)+"^"+text(t.FirstGiven)+"^"+text(t.GivenNames)+"^^^^L", "",
		text(strings.ReplaceAll(t.BirthDate, "-", "")), text(t.Sex), "", "", place,
		"", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "",
		joinText(ins.ToPID32(p.Status, p.Attributes)))
}

var oidForm = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]*))+$`)

// localAuthority is CX-4 of a local identifier. Its authority is an OID or a
// FINESS number, and has a name if it is the establishment itself.
func localAuthority(authority string, e gateway.Establishment) string {
	name := ""
	if authority == e.FINESSEJ || authority == e.FINESSGeo || authority == e.SourceOID {
		name = text(e.Name)
	}
	switch {
	case authority == "":
		return ""
	case oidForm.MatchString(authority):
		return name + "&" + authority + "&ISO"
	case len(authority) == 9:
		return name + "&" + text(authority) + "&N"
	}
	return text(authority)
}

// writeID is the EI of a document identifier, as TXA-12 wants it.
func writeID(id dmp.ID) string {
	if id.Extension == "" {
		return text(id.Root)
	}
	return text(id.Extension) + "^^" + text(id.Root) + "^ISO"
}

// codeText is a coded value with the system name of the volet; a system that
// the volet does not have keeps its OID.
func codeText(c dmp.Code) string {
	system := c.System
	for name, oid := range codeSystems {
		if oid == system {
			system = name
		}
	}
	return strings.TrimRight(text(c.Code)+"^"+text(c.Display)+"^"+text(system), "^")
}

// writeData writes an OBX that carries bytes, encoded straight into b.
func writeData(b writer, set, identifier, head string, data []byte, status string) {
	for _, s := range []string{"OBX|", set, "|ED|", identifier, "||", head} {
		_, _ = b.WriteString(s)
	}
	encoder := base64.NewEncoder(base64.StdEncoding, b)
	_, _ = encoder.Write(data)
	_ = encoder.Close()
	_, _ = b.WriteString("||||||" + status + "\r")
}

// writePRT writes one participant of the letter, of whom the address is known.
func writePRT(b writer, participation, address string) {
	segment(b, "PRT", "", "UC", "", participation+"^participation",
		"", "", "", "", "", "", "", "", "", "", "^^X.400^"+text(address))
}

// text escapes what came from a letter, a document or a register.
func text(s string) string { return escape(strings.ToValidUTF8(s, "\uFFFD")) }

func joinText(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = text(s)
	}
	return strings.Join(out, "~")
}
