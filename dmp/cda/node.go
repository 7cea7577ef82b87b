package cda

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
)

// Namespaces that a national document uses.
const (
	nsHL7   = "urn:hl7-org:v3"
	nsXSL   = "http://www.w3.org/1999/XSL/Transform"
	nsXSI   = "http://www.w3.org/2001/XMLSchema-instance"
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "xmlns"
)

// node is an element of the header or of the frame of the body.
type node struct {
	name   xml.Name
	attrs  []xml.Attr // without namespace declarations
	text   []byte     // character data, joined
	kids   []*node
	parent *node
	line   int
	start  int // offset of the start tag in Document.text
	end    int // offset after the end tag
	opaque bool
}

// is tells whether n is the HL7 element of that name.
func (n *node) is(name string) bool { return n.name.Space == nsHL7 && n.name.Local == name }

// attr gives an attribute without namespace; ok is false when it is absent.
func (n *node) attr(name string) (string, bool) {
	if n == nil {
		return "", false
	}
	for i := range n.attrs {
		if n.attrs[i].Name.Local == name && n.attrs[i].Name.Space == "" {
			return n.attrs[i].Value, true
		}
	}
	return "", false
}

// get is attr without the presence.
func (n *node) get(name string) string {
	v, _ := n.attr(name)
	return v
}

// value is the character data without the blanks around.
func (n *node) value() string {
	if n == nil {
		return ""
	}
	return string(bytes.TrimSpace(n.text))
}

// null tells whether n says why it has no value.
func (n *node) null() bool {
	_, ok := n.attr("nullFlavor")
	return ok
}

// all gives the HL7 descendants at the end of a path of child steps.
func (n *node) all(path string) []*node {
	if n == nil {
		return nil
	}
	step, rest, more := strings.Cut(path, "/")
	var found []*node
	for _, k := range n.kids {
		if !k.is(step) {
			continue
		}
		if !more {
			found = append(found, k)
			continue
		}
		found = append(found, k.all(rest)...)
	}
	return found
}

// one gives the first HL7 descendant at the end of a path; nil when none.
func (n *node) one(path string) *node {
	if n == nil {
		return nil
	}
	step, rest, more := strings.Cut(path, "/")
	for _, k := range n.kids {
		if !k.is(step) {
			continue
		}
		if !more {
			return k
		}
		if f := k.one(rest); f != nil {
			return f
		}
	}
	return nil
}

// walk visits n and what is under it, in document order, until visit is false.
func (n *node) walk(visit func(*node) bool) bool {
	if !visit(n) {
		return false
	}
	for _, k := range n.kids {
		if !k.walk(visit) {
			return false
		}
	}
	return true
}

// maxStep bounds a step of an XPath: element names are foreign bytes.
const maxStep = 64

// xpath writes the place of n; HL7 elements by their name, others as *:name
// (XPath 2). An index stands only where it distinguishes.
func (n *node) xpath() string {
	var steps []string
	for e := n; e != nil; e = e.parent {
		steps = append(steps, e.step())
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(steps[i])
	}
	return b.String()
}

func (n *node) step() string {
	name := n.name.Local
	if len(name) > maxStep {
		name = name[:maxStep]
	}
	if n.name.Space != nsHL7 {
		name = "*:" + name
	}
	if n.parent == nil {
		return name
	}
	at, count := 0, 0
	for _, s := range n.parent.kids {
		if s.name == n.name {
			count++
			if s == n {
				at = count
			}
		}
	}
	if count > 1 {
		name += "[" + strconv.Itoa(at) + "]"
	}
	return name
}

// Place is where something was read in the document.
type Place struct{ n *node }

// Line is the line of the start tag, counted from 1; 0 when there is no such
// element.
func (p Place) Line() int {
	if p.n == nil {
		return 0
	}
	return p.n.line
}

// XPath is the path of the element; empty when there is no such element.
func (p Place) XPath() string {
	if p.n == nil {
		return ""
	}
	return p.n.xpath()
}

// Zero tells whether the element is absent.
func (p Place) Zero() bool { return p.n == nil }
