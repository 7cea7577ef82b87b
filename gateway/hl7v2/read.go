package hl7v2

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
)

// The profiles of MSH-21 that a port takes when its list is empty.
const (
	ProfileVolet = "2.1^CISIS_CDA_HL7_V2"
	ProfilePAM   = "2.11^IHE_FRANCE-2.11-PAM"
)

// Options are the settings of one port. The zero value is the default of the
// design.
type Options struct {
	Profiles       []string // MSH-21 allow-list; empty: ProfileVolet and ProfilePAM
	DefaultCharset string   // of a message without MSH-18; empty: UNICODE UTF-8
	Matrix         Matrix   // which combinations of flags are refused
	MaskedToPro    bool     // take MASQUE_PS=Y with DESTMSSANTEPS=Y
	StrictBodies   bool     // refuse a CORPSMAIL that is cut

	// Sender names the establishment of an application. Nil takes every sender
	// and leaves the establishment empty.
	Sender func(gateway.Party) (gateway.Establishment, bool)
}

func (o Options) profiles() []string {
	if len(o.Profiles) == 0 {
		return []string{ProfileVolet, ProfilePAM}
	}
	return o.Profiles
}

// shape is what a message type asks for.
type shape struct {
	version string
	events  map[string]dmp.Action // empty action: said by ORC-1
	grammar []rule
	fields  []fieldRule
	volet   bool
}

var shapes = map[string]shape{
	"ORU": {version: "2.5", grammar: grammarORU, fields: fieldsVolet, volet: true,
		events: map[string]dmp.Action{"R01": ""}},
	"MDM": {version: "2.6", grammar: grammarMDM, fields: fieldsVolet, volet: true,
		events: map[string]dmp.Action{"T02": dmp.New, "T10": dmp.Replace, "T04": dmp.Delete}},
	"ADT": {version: "2.5", grammar: grammarADT, fields: fieldsADT},
}

// reader turns one message into an Inbound.
type reader struct {
	opt  Options
	head Header
	in   gateway.Inbound

	known bool // the establishment is
}

func (r *reader) refuse(code, where string) {
	r.in.Refusals = append(r.in.Refusals, refuse(code, where))
}

func (r *reader) warn(code, where string) {
	if len(r.in.Warnings) < 100 {
		r.in.Warnings = append(r.in.Warnings, gateway.Note{Code: code, Where: where})
	}
}

// Read reads a message without its framing. What is wrong with it stands in
// Refusals in the order of the design; separators, profile, sender and type
// end the reading, because nothing after them can be trusted. The Inbound
// keeps raw and slices nothing out of it.
func Read(raw []byte, opt Options) (gateway.Inbound, Header) {
	r := &reader{opt: opt, head: ReadHeader(raw, opt.DefaultCharset)}
	r.in = gateway.Inbound{
		Door: "hl7", Raw: raw,
		From: r.head.From, Message: r.head.Message,
	}
	if opt.Sender != nil && r.head.Standard {
		// Whatever is wrong below, its refusal belongs to who sent it.
		r.in.Establishment, r.known = opt.Sender(r.in.From)
	}
	r.read()
	return r.in, r.head
}

func (r *reader) read() {
	if !r.head.Present {
		r.refuse(FaultNotHL7, "MSH")
		return
	}
	if !r.head.Standard {
		r.refuse(FaultSeparators, "MSH^1^2")
		return
	}
	if !r.profile() || !r.sender() {
		return
	}
	shape, ok := r.kind()
	if !ok {
		return
	}
	segments, ok := r.segments()
	if !ok {
		return
	}
	found, faults, ordered := match(shape.grammar, segments)
	r.in.Refusals = append(r.in.Refusals, faults...)
	r.in.Refusals = append(r.in.Refusals, checkFields(fieldsMSH, found)...)
	if !ordered {
		return
	}
	r.in.Refusals = append(r.in.Refusals, checkFields(shape.fields, found)...)
	for _, s := range found {
		switch s.Name {
		case "PID":
			r.patient(*s)
		case "PV1":
			r.visit(*s, shape.volet)
		}
	}
	r.consent(segments)
	r.register(segments)
	if shape.volet {
		r.volet(found, shape)
	}
}

// profile comes before version and type: it says which grammar they belong to.
func (r *reader) profile() bool {
	for _, p := range r.head.profiles {
		if slices.Contains(r.opt.profiles(), p) {
			r.in.Message.Profile, r.head.Message.Profile = p, p
			return true
		}
	}
	r.refuse(FaultProfile, "MSH^1^21")
	return false
}

func (r *reader) sender() bool {
	if r.opt.Sender == nil || r.known {
		return true
	}
	r.refuse(FaultSender, "MSH^1^3")
	return false
}

// kind checks MSH-9, MSH-12 and MSH-11.
func (r *reader) kind() (shape, bool) {
	f := r.head.segment.Field(9)
	kind, structure := f.Component(1).Text(), f.Component(3).Text()
	s, ok := shapes[kind]
	pam := strings.Contains(r.in.Message.Profile, "PAM")
	wanted := map[string]string{"ORU": "ORU_R01", "MDM": "MDM_T02"}[kind]
	switch {
	case f.Empty():
		r.refuse(FaultFieldMissing, "MSH^1^9")
		return s, false
	case !ok, s.volet == pam, wanted != "" && structure != "" && structure != wanted:
		r.refuse(FaultType, "MSH^1^9")
		return s, false
	}
	if _, ok := s.events[r.head.event]; !ok && s.volet {
		r.refuse(FaultEvent, "MSH^1^9")
		return s, false
	}
	if r.in.Message.Version != s.version {
		r.refuse(FaultVersion, "MSH^1^12")
	}
	if p := r.in.Message.Processing; p != "P" && p != "T" && p != "D" {
		r.refuse(FaultProcessing, "MSH^1^11")
	}
	if at := r.head.segment.Field(7).First().Text(); at != "" && !isTime(at) {
		r.refuse(FaultFieldType, "MSH^1^7")
	}
	if len(r.in.Message.ControlID) > 199 {
		r.refuse(FaultFieldType, "MSH^1^10")
	}
	return s, true
}

// segments decodes by MSH-18, never by guess, and cuts the message.
func (r *reader) segments() ([]Segment, bool) {
	if !r.head.known || !r.head.set.valid(r.in.Raw) {
		r.refuse(FaultCharset, "MSH^1^18")
		return nil, false
	}
	if r.head.set.suspect(r.in.Raw) {
		r.warn(FaultCharsetSuspect, "MSH^1^18")
	}
	body := r.in.Raw[bytes.Index(r.in.Raw, []byte("MSH")):]
	segments, err := splitSegments(body, r.head.set)
	if err != nil {
		r.in.Refusals = append(r.in.Refusals, err)
		return nil, false
	}
	return segments, true
}

// parts are the segments of a volet message, by their use.
type parts struct {
	order, request, txa *Segment
	documents           []group
	flags               []group
	prt                 []*Segment
}

// group is an OBX and the NTE that follow it.
type group struct {
	obx   *Segment
	notes []*Segment
}

// volet reads the part that ORU and MDM have in common.
func (r *reader) volet(found []*Segment, shape shape) {
	p := r.sort(found)
	if len(p.documents) == 0 && len(p.flags) > 0 {
		r.noDocument(p.flags)
	}
	if r.head.Message.Type == "ORU^R01" && !slices.ContainsFunc(found, func(s *Segment) bool { return s.Name == "PV1" }) {
		r.warn(FaultVisitMissing, "PV1")
	}
	r.action(p, shape)
	r.documents(p)
	if len(p.documents)+len(p.flags) == 0 {
		return
	}
	before := len(r.in.Refusals)
	r.flags(p.flags)
	if r.people(p.prt) {
		r.decide()
	}
	r.in.FlagRefusals = len(r.in.Refusals) - before
}

func (r *reader) sort(found []*Segment) (p parts) {
	var last *group
	for _, s := range found {
		switch s.Name {
		case "ORC":
			p.order = s
		case "OBR":
			p.request = s
		case "TXA":
			p.txa = s
		case "PRT":
			p.prt = append(p.prt, s)
		case "NTE":
			if last != nil {
				last.notes = append(last.notes, s)
			}
		case "OBX":
			if isDocument(*s) {
				p.documents = append(p.documents, group{obx: s})
				last = &p.documents[len(p.documents)-1]
			} else {
				p.flags = append(p.flags, group{obx: s})
				last = &p.flags[len(p.flags)-1]
			}
		}
	}
	return p
}

// noDocument says why no document was found: an OBX that is none of the flags but
// not ED either, or nothing at all.
func (r *reader) noDocument(flags []group) {
	for _, g := range flags {
		if _, ok := flagNamed(g.obx.Field(3).Code()); !ok && g.obx.Field(3).First().Component(3).Text() != "MetaDMPMSS" {
			r.refuse(FaultFieldValue, g.obx.At(2))
			return
		}
	}
	r.refuse(FaultDocumentMissing, "OBX")
}

// isDocument tells a document from the metadata of table MetaDMPMSS.
func isDocument(obx Segment) bool {
	id := obx.Field(3).First()
	if id.Component(3).Text() == "MetaDMPMSS" {
		return false
	}
	if _, ok := flagNamed(id.Component(1).Text()); ok {
		return false
	}
	return obx.Field(2).Text() == "ED"
}

// action checks that the event, ORC-1 and OBX-11 ask for the same thing.
func (r *reader) action(p parts, shape shape) {
	order := map[string]dmp.Action{"NW": dmp.New, "RO": dmp.Replace, "CA": dmp.Delete}
	observed := map[string]dmp.Action{"F": dmp.New, "C": dmp.Replace, "D": dmp.Delete}
	r.in.Action = shape.events[r.head.event]
	if p.order != nil {
		said, ok := order[p.order.Field(1).Code()]
		switch {
		case !ok: // checkFields said it
		case r.in.Action == "":
			r.in.Action = said
		case r.in.Action != said:
			r.refuse(FaultAction, p.order.At(1))
			return
		}
	}
	for _, d := range p.documents {
		f := d.obx.Field(11)
		said, ok := observed[f.Code()]
		switch {
		case f.Empty():
			r.refuse(FaultFieldMissing, d.obx.At(11))
		case !ok:
			r.refuse(FaultFieldValue, d.obx.At(11))
		case r.in.Action == "":
			r.in.Action = said
		case r.in.Action != said:
			// The volet names ORC-1 for any disagreement.
			r.refuse(FaultAction, place("ORC", 1, 1))
			return
		}
	}
}

// codeSystems are the OIDs behind the names of OBR-4.3 and OBX-3.3.
var codeSystems = map[string]string{
	"LN":      "2.16.840.1.113883.6.1",
	"TRE_A05": "1.2.250.1.213.1.1.4.12",
}

func codeOf(f Field) dmp.Code {
	f = f.First()
	system := f.Component(3).Text()
	if oid, ok := codeSystems[strings.ToUpper(system)]; ok {
		system = oid
	}
	return dmp.Code{Code: f.Component(1).Text(), Display: f.Component(2).Text(), System: system}
}

// documents decodes what the message carries.
func (r *reader) documents(p parts) {
	most := 1
	if r.in.Message.Type == "ORU^R01" {
		most = 2 // level 1 and level 3 of the same content
	}
	for i, d := range p.documents {
		if i == most {
			r.refuse(FaultDocuments, d.obx.At(0))
			return
		}
		doc := gateway.InboundDocument{Where: d.obx.At(5), Type: codeOf(d.obx.Field(3))}
		if d.obx.Field(1).Empty() {
			r.refuse(FaultFieldMissing, d.obx.At(1))
		}
		if doc.Type.Code == "" {
			r.refuse(FaultFieldMissing, d.obx.At(3))
		}
		if p.request != nil {
			asked := codeOf(p.request.Field(4))
			if asked.Code != "" && doc.Type.Code != "" &&
				(asked.Code != doc.Type.Code || asked.System != "" && doc.Type.System != "" && asked.System != doc.Type.System) {
				r.refuse(FaultTypeCode, d.obx.At(3))
			}
			if doc.Type.System == "" {
				doc.Type.System = asked.System
			}
		}
		if p.txa != nil {
			r.txa(*p.txa, &doc)
		}
		r.content(*d.obx, &doc)
		r.in.Documents = append(r.in.Documents, doc)
	}
}

func (r *reader) txa(txa Segment, doc *gateway.InboundDocument) {
	if code := txa.Field(2).Code(); code != "" && doc.Type.Code != "" && code != doc.Type.Code {
		r.refuse(FaultTypeCode, txa.At(2))
	}
	doc.ID = entity(txa.Field(12))
	if r.in.Action != dmp.Replace {
		return // samples fill TXA-13 on a deletion too; only T10 replaces
	}
	if doc.Replaces = entity(txa.Field(13)); doc.Replaces == nil {
		r.refuse(FaultFieldMissing, txa.At(13))
	}
}

// entity reads an EI as the volet writes it: root alone in .1, or extension in
// .1 and root in .3. Whatever stands in .2 is ignored.
func entity(f Field) *dmp.ID {
	f = f.First()
	id := dmp.ID{Root: f.Component(3).Text(), Extension: f.Component(1).Text()}
	if id.Root == "" {
		id = dmp.ID{Root: id.Extension}
	}
	if id.Zero() {
		return nil
	}
	return &id
}

func (r *reader) content(obx Segment, doc *gateway.InboundDocument) {
	f := obx.Field(5)
	if f.Repeated() {
		r.refuse(FaultFieldRepeated, obx.At(5)) // one OBX, one document
		return
	}
	data := f.Component(5)
	announced := strings.EqualFold(f.Component(3).Text(), "XML") && strings.EqualFold(f.Component(4).Text(), "Base64")
	switch empty := len(bytes.TrimSpace(data.raw)) == 0; {
	case empty && (announced || f.Empty()):
		r.refuse(FaultFieldMissing, obx.At(5))
		return
	case !announced:
		r.refuse(FaultFormat, obx.At(5))
		return
	}
	content, err := decodeBase64(data)
	if err != nil || len(content) == 0 {
		r.refuse(FaultBase64, obx.At(5))
		return
	}
	doc.Content = content
}

// decodeBase64 reads base64 with or without padding, with or without line
// breaks, raw or escaped.
func decodeBase64(f Field) ([]byte, error) {
	b := bytes.TrimRight(f.raw, " \t\r\n")
	if bytes.IndexByte(b, '\\') >= 0 {
		b = []byte(unescape(b, f.set))
	}
	if bytes.ContainsAny(b, " \t") {
		b = bytes.Map(func(c rune) rune {
			if c == ' ' || c == '\t' {
				return -1
			}
			return c
		}, b)
	}
	// At most two signs of padding, possibly with a line break between.
	for range 2 {
		b = bytes.TrimRight(b, "\r\n")
		b = bytes.TrimSuffix(b, []byte{'='})
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(b)))
	n, err := base64.RawStdEncoding.Decode(out, b)
	return out[:n], err
}
