package insi

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of an answer.
const (
	maxAnswer   = 256 << 10
	maxDepth    = 32
	maxElements = 2000
)

var errXML = errors.New("not an XML document that INSi would send")

// element is one element of an answer, its prefix resolved.
type element struct {
	space, name string
	text        string
	attrs       map[string]string // by local name
	children    []*element
}

func (e *element) is(space, name string) bool { return e != nil && e.space == space && e.name == name }

// child finds the first child of a local name; nil when there is none, or no e.
func (e *element) child(name string) *element {
	if e != nil {
		for _, c := range e.children {
			if c.name == name {
				return c
			}
		}
	}
	return nil
}

// at follows local names downwards.
func (e *element) at(path ...string) *element {
	for _, name := range path {
		e = e.child(name)
	}
	return e
}

// value is the text of a descendant, without the blanks around it.
func (e *element) value(path ...string) string {
	if e = e.at(path...); e == nil {
		return ""
	}
	return strings.TrimSpace(e.text)
}

// readXML reads a whole document within bounds. A document type, a processing
// instruction, an entity that is not predefined, another charset than UTF-8 are
// refused.
func readXML(data []byte) (*element, error) {
	if len(data) > maxAnswer || !utf8.Valid(data) {
		return nil, errXML
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	var root *element
	var open []*element
	var texts []*strings.Builder // by address: a Builder must not move once written to
	for count, first := 0, true; ; first = false {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errXML // the decoder quotes the document
		}
		switch t := token.(type) {
		case xml.StartElement:
			count++
			if count > maxElements || len(open) >= maxDepth || len(open) == 0 && root != nil {
				return nil, errXML
			}
			e := &element{space: t.Name.Space, name: t.Name.Local, attrs: map[string]string{}}
			for _, a := range t.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			if len(open) == 0 {
				root = e
			} else {
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			}
			open, texts = append(open, e), append(texts, new(strings.Builder))
		case xml.EndElement:
			last := len(open) - 1
			open[last].text = texts[last].String()
			open, texts = open[:last], texts[:last]
		case xml.CharData:
			if len(open) > 0 {
				texts[len(open)-1].Write(t)
			} else if len(bytes.TrimSpace(t)) > 0 && !(first && bytes.Equal(t, []byte("\ufeff"))) {
				return nil, errXML
			}
		case xml.ProcInst:
			if t.Target != "xml" {
				return nil, errXML
			}
		case xml.Directive:
			return nil, errXML
		}
	}
	if root == nil {
		return nil, errXML
	}
	return root, nil
}

// writer writes XML. Its first mistake, a character that XML cannot hold, is
// told at the end.
type writer struct {
	b   bytes.Buffer
	bad bool
}

func (w *writer) escape(s string) {
	for _, r := range s {
		if r == utf8.RuneError || r < ' ' || r == 0xFFFE || r == 0xFFFF {
			w.bad = true
		}
	}
	_ = xml.EscapeText(&w.b, []byte(s)) // a buffer does not fail
}

// open writes a start tag; attrs are names and values.
func (w *writer) open(name string, attrs ...string) {
	w.b.WriteString("<" + name)
	for i := 0; i+1 < len(attrs); i += 2 {
		w.b.WriteString(" " + attrs[i] + `="`)
		w.escape(attrs[i+1])
		w.b.WriteString(`"`)
	}
	w.b.WriteString(">")
}

func (w *writer) close(name string) { w.b.WriteString("</" + name + ">") }

// leaf writes an element with a text.
func (w *writer) leaf(name, text string, attrs ...string) {
	w.open(name, attrs...)
	w.escape(text)
	w.close(name)
}

// given writes a leaf unless its text is empty.
func (w *writer) given(name, text string) {
	if text != "" {
		w.leaf(name, text)
	}
}

func (w *writer) bytes() ([]byte, error) {
	if w.bad {
		return nil, fail(FaultQuestion, "character", nil)
	}
	return w.b.Bytes(), nil
}
