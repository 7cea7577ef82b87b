package xdm

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/charmap"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// Bounds of one METADATA.XML, beside its size.
const (
	maxDepth    = 32
	maxElements = 50_000
	maxPackages = 20
)

// node is one element. Names and attribute names are in lower case and without
// name space: faulty senders are told, not lost.
type node struct {
	name     string
	attrs    map[string]string
	text     []byte
	children []*node
}

func (n *node) all(name string) []*node {
	var out []*node
	for _, c := range n.children {
		if c.name == name {
			out = append(out, c)
		}
	}
	return out
}

func (n *node) find(name string, out []*node) []*node {
	if n.name == name {
		out = append(out, n)
	}
	for _, c := range n.children {
		out = c.find(name, out)
	}
	return out
}

// parse reads a bounded tree. A DTD is refused: entities come from nowhere else.
func parse(data []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(label string, r io.Reader) (io.Reader, error) {
		switch strings.ToLower(label) {
		case "utf-8", "us-ascii":
			return r, nil
		case "iso-8859-1", "latin1":
			return charmap.ISO8859_1.NewDecoder().Reader(r), nil
		case "iso-8859-15":
			return charmap.ISO8859_15.NewDecoder().Reader(r), nil
		case "windows-1252":
			return charmap.Windows1252.NewDecoder().Reader(r), nil
		}
		return nil, refuse(FaultMetadata, "encoding")
	}
	var root *node
	var stack []*node
	count := 0
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.Directive:
			return nil, refuse(FaultMetadata, "DOCTYPE")
		case xml.StartElement:
			if count++; count > maxElements || len(stack) >= maxDepth {
				return nil, refuse(FaultLimit, "METADATA.XML")
			}
			n := &node{name: strings.ToLower(t.Name.Local), attrs: make(map[string]string, len(t.Attr))}
			for _, a := range t.Attr {
				n.attrs[strings.ToLower(a.Name.Local)] = strings.TrimSpace(a.Value)
			}
			if len(stack) > 0 {
				p := stack[len(stack)-1]
				p.children = append(p.children, n)
			} else {
				root = n
			}
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) > 0 {
				n := stack[len(stack)-1]
				n.text = append(n.text, t...)
			}
		}
	}
	if root == nil {
		return nil, io.ErrUnexpectedEOF
	}
	return root, nil
}

// slots gives the values of a slot, whatever the case of its name.
func (n *node) slots(name string) []string {
	var out []string
	for _, s := range n.all("slot") {
		if !strings.EqualFold(s.attrs["name"], name) {
			continue
		}
		for _, v := range s.find("value", nil) {
			if t := strings.TrimSpace(string(v.text)); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

func (n *node) slot(name string) string {
	if v := n.slots(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (n *node) label(element string) string {
	for _, l := range n.all(element) {
		for _, s := range l.all("localizedstring") {
			return s.attrs["value"]
		}
	}
	return ""
}

func (n *node) classifications(scheme string) []*node {
	var out []*node
	for _, c := range n.all("classification") {
		if strings.EqualFold(c.attrs["classificationscheme"], scheme) {
			out = append(out, c)
		}
	}
	return out
}

func (n *node) codes(scheme string) []dmp.Code {
	var out []dmp.Code
	for _, c := range n.classifications(scheme) {
		out = append(out, dmp.Code{Code: c.attrs["noderepresentation"], System: c.slot("codingScheme"), Display: c.label("name")})
	}
	return out
}

func (n *node) code(scheme string) dmp.Code {
	if c := n.codes(scheme); len(c) > 0 {
		return c[0]
	}
	return dmp.Code{}
}

func (n *node) external(scheme string) string {
	for _, e := range n.all("externalidentifier") {
		if strings.EqualFold(e.attrs["identificationscheme"], scheme) {
			return e.attrs["value"]
		}
	}
	return ""
}

type described struct {
	uri    string
	uuid   string
	action dmp.Action
	meta   dmp.Metadata
}

type submission struct {
	lot       Lot
	patientID string
	documents []described
	warnings  []Warning
}

func (s *submission) warn(where string) {
	s.warnings = append(s.warnings, Warning{Code: FaultOddMetadata, Where: where})
}

// readMetadata reads one METADATA.XML. Documents beyond max are a refusal.
func readMetadata(data []byte, where string, max int) (*submission, error) {
	root, err := parse(data)
	if err != nil {
		if e, ok := err.(*Error); ok {
			return nil, refuse(e.Code, where+"/"+e.Where)
		}
		return nil, &Error{Code: FaultMetadata, Where: where, Cause: err}
	}
	s := &submission{}
	objects := root.find("extrinsicobject", nil)
	if len(objects) == 0 {
		return nil, refuse(FaultField, where+"/documents")
	}
	if len(objects) > max {
		return nil, refuse(FaultLimit, where+"/documents")
	}
	packages := root.find("registrypackage", nil)
	if len(packages) > maxPackages {
		return nil, refuse(FaultLimit, where+"/RegistryPackage")
	}
	setAction := dmp.New
	if len(packages) > 0 {
		p := submissionSet(root, packages)
		s.readLot(p)
		setAction = action(p)
	} else {
		s.warn(where + "/RegistryPackage")
	}
	associations := root.find("association", nil)
	for i, o := range objects {
		at := fmt.Sprintf("%s/document[%d]", where, i+1)
		if err := s.readDocument(o, at); err != nil {
			return nil, err
		}
		d := &s.documents[i]
		d.action = action(o)
		if d.action == dmp.New {
			d.action = setAction
		}
		for _, a := range associations {
			if a.attrs["associationtype"] == replaces && a.attrs["sourceobject"] == o.attrs["id"] && d.action == dmp.New {
				d.action = dmp.Replace
			}
		}
	}
	if len(associations) == 0 {
		s.warn(where + "/Association")
	}
	return s, nil
}

// submissionSet picks the package that is marked as a submission set; another
// one may be a folder.
func submissionSet(root *node, packages []*node) *node {
	for _, c := range root.find("classification", nil) {
		if c.attrs["classificationnode"] != nodeSubmissionSet {
			continue
		}
		for _, p := range packages {
			if p.attrs["id"] == c.attrs["classifiedobject"] {
				return p
			}
		}
	}
	return packages[0]
}

func action(n *node) dmp.Action {
	switch strings.ToUpper(n.slot(actionSlot)) {
	case "C":
		return dmp.Replace
	case "D":
		return dmp.Delete
	}
	return dmp.New
}

func (s *submission) readLot(p *node) {
	s.patientID = p.external(setPatientID)
	s.lot = Lot{
		UniqueID:    dmp.ParseID(p.external(setUniqueID)),
		EntryUUID:   p.attrs["id"],
		SourceID:    p.external(setSourceID),
		Title:       p.label("name"),
		Comments:    p.label("description"),
		ContentType: p.code(setContentType),
		Patient:     identity(s.patientID, nil),
	}
	s.lot.Submitted, _ = readDTM(p.slot("submissionTime"))
	for _, r := range p.slots("intendedRecipient") {
		parts := strings.Split(r, "|")
		if address := text(parts[len(parts)-1], 4); len(parts) > 2 && address != "" {
			s.lot.Recipients = append(s.lot.Recipients, address)
		}
	}
	for _, a := range authors(p, setAuthor) {
		s.lot.Sender = &dmp.Requester{Person: a.Person, Device: a.Device, Organisation: a.Organisation}
		break
	}
}

// identity is what a patientId says. Another identifier than an INS is a local one.
func identity(cx string, info []string) ins.Identity {
	id := ins.Identity{Traits: readPatientInfo(info)}
	v, isINS := readCX(cx)
	switch {
	case isINS:
		id.Matricule, id.OID = v.Extension, ins.OID(v.Root)
	case v.Extension != "":
		id.Local = []ins.LocalID{{Value: v.Extension, Authority: v.Root}}
	}
	return id
}

// samePatient compares two patientIds: value and authority.
func samePatient(a, b string) bool {
	x, _ := readCX(a)
	y, _ := readCX(b)
	return x == y
}

func (s *submission) readDocument(o *node, where string) error {
	d := described{uri: o.slot("URI"), uuid: o.attrs["id"]}
	m := &d.meta
	if d.uri == "" {
		return refuse(FaultField, where+"/URI")
	}
	m.UniqueID = dmp.ParseID(o.external(docUniqueID))
	if m.UniqueID.Root == "" {
		return refuse(FaultField, where+"/uniqueId")
	}
	if m.Type = o.code(docType); m.Type.Code == "" {
		return refuse(FaultField, where+"/typeCode")
	}
	sum, err := hex.DecodeString(o.slot("hash"))
	if err != nil || len(sum) != 20 {
		return refuse(FaultField, where+"/hash")
	}
	m.SHA1 = sum
	if m.Size, err = strconv.ParseInt(o.slot("size"), 10, 64); err != nil || m.Size <= 0 {
		return refuse(FaultField, where+"/size")
	}
	cx := o.external(docPatientID)
	if v, _ := readCX(cx); v.Extension == "" {
		return refuse(FaultField, where+"/patientId")
	}
	if s.patientID == "" {
		s.patientID = cx
	}
	if !samePatient(s.patientID, cx) {
		return refuse(FaultPatient, where+"/patientId")
	}
	m.Patient = identity(cx, o.slots("sourcePatientInfo"))
	if s.lot.Patient.Matricule == "" && len(s.lot.Patient.Local) == 0 {
		s.lot.Patient = m.Patient
	}
	s.lot.Patient.Traits = m.Patient.Traits
	if v, isINS := readCX(o.slot("sourcePatientId")); !isINS {
		m.SourcePatientID = v
	}

	m.Title, m.Language, m.MimeType = o.label("name"), o.slot("languageCode"), o.attrs["mimetype"]
	m.Class, m.Facility, m.PracticeSetting = o.code(docClass), o.code(docFacility), o.code(docPractice)
	m.Events = o.codes(docEvent)
	m.Format = o.code(docFormat)
	m.Format.System = formatURI(m.Format.System)
	for _, c := range o.codes(docConf) {
		// A mask counts however its system is written (urn:oid:, a URL): a reader who
		// misses it shows what must stay hidden.
		_, flag := visibilityNames[dmp.Visibility(c.Code)]
		switch {
		case flag || c.System == oidVisibility:
			m.Visibility = append(m.Visibility, dmp.Visibility(c.Code))
		case m.Confidentiality.Code == "":
			m.Confidentiality = c
		}
	}
	m.Authors = authors(o, docAuthor)
	if v := o.slot("legalAuthenticator"); v != "" {
		m.LegalAuthenticator, _ = readXCN(v)
	}
	m.Created, _ = readDTM(o.slot("creationTime"))
	m.ServiceStart, _ = readDTM(o.slot("serviceStartTime"))
	m.ServiceStop, _ = readDTM(o.slot("serviceStopTime"))
	for _, w := range []struct {
		name    string
		missing bool
	}{
		{"author", len(m.Authors) == 0},
		{"classCode", m.Class.Code == ""},
		{"creationTime", m.Created.IsZero()},
		{"formatCode", m.Format.Code == ""},
	} {
		if w.missing {
			s.warn(where + "/" + w.name)
		}
	}
	s.documents = append(s.documents, d)
	return nil
}

func authors(n *node, scheme string) []dmp.Author {
	var out []dmp.Author
	for _, c := range n.classifications(scheme) {
		a := dmp.Author{Role: c.slot("authorRole")}
		if v := c.slot("authorPerson"); v != "" {
			a.Person, a.Device = readXCN(v)
		}
		if v := c.slot("authorInstitution"); v != "" {
			a.Organisation = readXON(v)
		}
		if v := c.slot("authorSpecialty"); v != "" {
			a.Specialty = readCE(v)
		}
		out = append(out, a)
	}
	return out
}
