package conformance

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"path"
	"strings"

	"github.com/antchfx/xmlquery"
)

// Bounds of a letter.
const (
	maxParts   = 60
	maxDepth   = 6
	maxEntries = 200
	maxEntry   = 32 << 20
	maxUnzip   = 96 << 20
)

// part is a leaf of a MIME message.
type part struct {
	kind, name string
	params     map[string]string
	content    []byte
}

// letter is one mail, read without the code of any gateway.
type letter struct {
	raw      []byte
	header   mail.Header
	parts    []part
	entries  map[string][]byte // of the XDM archive, by upper-case path
	metadata *xmlquery.Node
	ids      []string // uniqueIds of the documents: of METADATA.XML and of the CDA themselves
	unzipped int      // bytes
	n        int      // exchange
}

func readLetter(raw []byte) (*letter, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	l := &letter{raw: raw, header: m.Header, entries: map[string][]byte{}}
	if err := l.read(m.Header.Get, m.Body, 0); err != nil {
		return nil, err
	}
	for _, p := range l.parts {
		if strings.HasSuffix(strings.ToLower(p.name), ".zip") || p.kind == "application/zip" {
			if err := l.unzip(p.content); err != nil {
				return nil, err
			}
		}
	}
	for name, data := range l.entries {
		if path.Base(name) == "METADATA.XML" {
			if l.metadata, err = parseXML(data); err != nil {
				return nil, err
			}
		}
	}
	l.ids = l.xpath(pathUniqueID)
	for _, data := range l.cdas() {
		if root, err := parseXML(data); err == nil {
			l.ids = append(l.ids, xpath(root, pathCDAID)...)
		}
	}
	return l, nil
}

func (l *letter) read(get func(string) string, body io.Reader, depth int) error {
	if depth > maxDepth || len(l.parts) >= maxParts {
		return errors.New("the mail has too many parts")
	}
	kind, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil {
		kind, params = "text/plain", map[string]string{}
	}
	if strings.HasPrefix(kind, "multipart/") {
		l.parts = append(l.parts, part{kind: kind, params: params})
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := l.read(p.Header.Get, p, depth+1); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	data, err := io.ReadAll(io.LimitReader(body, maxUnzip))
	if err != nil {
		return err
	}
	name := params["name"]
	if _, disposition, err := mime.ParseMediaType(get("Content-Disposition")); err == nil && disposition["filename"] != "" {
		name = disposition["filename"]
	}
	if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
		name = decoded
	}
	l.parts = append(l.parts, part{kind, name, params, data})
	return nil
}

func (l *letter) unzip(data []byte) error {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	if len(z.File) > maxEntries {
		return errors.New("the archive has too many entries")
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(r, maxEntry+1))
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		if l.unzipped += len(content); len(content) > maxEntry || l.unzipped > maxUnzip {
			return errors.New("the archive is too large")
		}
		l.entries[strings.ToUpper(f.Name)] = content
	}
	return nil
}

// parseXML reads foreign XML; a DOCTYPE is refused.
func parseXML(data []byte) (*xmlquery.Node, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	for depth := 0; ; {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch tok.(type) {
		case xml.Directive:
			return nil, errors.New("the XML has a DOCTYPE")
		case xml.StartElement:
			if depth++; depth > 200 {
				return nil, errors.New("the XML is too deep")
			}
		case xml.EndElement:
			depth--
		}
	}
	return xmlquery.Parse(bytes.NewReader(data))
}

// head is a header, decoded.
func (l *letter) head(name string) string {
	v := l.header.Get(name)
	if out, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		v = out
	}
	return strings.TrimSpace(v)
}

func (l *letter) messageID() string { return strings.Trim(l.head("Message-ID"), "<> ") }

// text is the readable body.
func (l *letter) text() string {
	for _, p := range l.parts {
		if strings.HasPrefix(p.kind, "text/") && p.name == "" {
			return string(p.content)
		}
	}
	return ""
}

// attachments with a name that ends so.
func (l *letter) attachments(suffix string) (list []part) {
	for _, p := range l.parts {
		if strings.HasSuffix(strings.ToLower(p.name), suffix) {
			list = append(list, p)
		}
	}
	return list
}

// xpath gives the values that a path finds in METADATA.XML. Names are local
// names, since prefixes are the writer's choice.
func (l *letter) xpath(expression string) []string { return xpath(l.metadata, expression) }

func xpath(root *xmlquery.Node, expression string) (values []string) {
	if root == nil {
		return nil
	}
	nodes, err := xmlquery.QueryAll(root, expression)
	if err != nil {
		return nil
	}
	for _, n := range nodes {
		values = append(values, n.InnerText())
	}
	return values
}

// The paths that are read in METADATA.XML and in a CDA.
const (
	pathPatientID = `//*[local-name()='ExtrinsicObject']/*[local-name()='ExternalIdentifier'][@identificationScheme='urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427']/@value`
	pathUniqueID  = `//*[local-name()='ExtrinsicObject']/*[local-name()='ExternalIdentifier'][@identificationScheme='urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab']/@value`
	pathTypeCode  = `//*[local-name()='ExtrinsicObject']/*[local-name()='Classification'][@classificationScheme='urn:uuid:f0306f51-975f-434e-a61c-c59651d33983']/@nodeRepresentation`
	pathURI       = `//*[local-name()='ExtrinsicObject']/*[local-name()='Slot'][@name='URI']//*[local-name()='Value']`
	pathHash      = `//*[local-name()='ExtrinsicObject']/*[local-name()='Slot'][@name='hash']//*[local-name()='Value']`
	pathLabels    = `//*[local-name()='ExtrinsicObject']/*[local-name()='Classification'][@classificationScheme='urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f']/@nodeRepresentation`
	pathRPLC      = `//*[local-name()='Association'][contains(@associationType,'RPLC')]/@associationType`
	pathCDAPerson = `/*[local-name()='ClinicalDocument']/*[local-name()='recordTarget']/*[local-name()='patientRole']/*[local-name()='id']`
	pathCDACode   = `/*[local-name()='ClinicalDocument']/*[local-name()='code']/@code`
	pathCDAID     = `/*[local-name()='ClinicalDocument']/*[local-name()='id']/@root`
)

// cdas are the documents of the archive.
func (l *letter) cdas() (list [][]byte) {
	for name, data := range l.entries {
		if strings.HasSuffix(name, ".XML") && path.Base(name) != "METADATA.XML" && bytes.Contains(data, []byte("ClinicalDocument")) {
			list = append(list, data)
		}
	}
	return list
}

// carries tells whether the letter is about a document.
func (l *letter) carries(id string) bool {
	for _, v := range l.ids {
		if v == id || strings.HasPrefix(v, id+"^") {
			return true
		}
	}
	return false
}

// everything is all that a reader of the letter could see: headers, parts and
// entries, decoded.
func (l *letter) everything() (all [][]byte) {
	all = append(all, l.raw)
	for name := range l.header {
		all = append(all, []byte(l.head(name)))
	}
	for _, p := range l.parts {
		all = append(all, []byte(p.name), p.content)
	}
	for name, data := range l.entries {
		all = append(all, []byte(name), data)
	}
	return all
}
