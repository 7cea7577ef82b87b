package fhir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"
)

// Bounds of [Parse]. A lot of a hundred documents has about 20 000 values.
const (
	MaxDepth  = 64
	MaxValues = 200_000
)

// Kind is the kind of a JSON value.
type Kind byte

// The kinds of values.
const (
	Object Kind = '{'
	Array  Kind = '['
	String Kind = '"'
	Number Kind = '0'
	Bool   Kind = 't'
	Null   Kind = 'n'
)

// Node is one JSON value and its place in the bytes it was read from. All
// methods accept a nil receiver, which stands for a value that is absent.
type Node struct {
	doc        []byte
	start, end int
	kind       Kind
	members    []Member
	items      []*Node
}

// Member is one member of an object.
type Member struct {
	Name       string
	Value      *Node
	start, end int
}

// ParseError says where and why bytes are not a JSON value that we accept. It
// quotes nothing of what was read.
type ParseError struct {
	Offset int64
	Why    string
}

// Error is for logs.
func (e *ParseError) Error() string { return fmt.Sprintf("json: %s at byte %d", e.Why, e.Offset) }

// Parse reads one JSON value. The tree refers to data, which must not change.
func Parse(data []byte) (*Node, error) {
	if !utf8.Valid(data) {
		return nil, &ParseError{Why: "not UTF-8"}
	}
	if !json.Valid(data) {
		var raw json.RawMessage
		var syntax *json.SyntaxError
		e := &ParseError{Why: "syntax"}
		if errors.As(json.Unmarshal(data, &raw), &syntax) {
			e.Offset = syntax.Offset
		}
		return nil, e
	}
	p := &parser{data: data}
	return p.value(0)
}

// parser walks bytes that are known to be valid JSON.
type parser struct {
	data  []byte
	pos   int
	count int
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) fail(why string) error { return &ParseError{Offset: int64(p.pos), Why: why} }

func (p *parser) value(depth int) (*Node, error) {
	if depth > MaxDepth {
		return nil, p.fail("too deep")
	}
	if p.count++; p.count > MaxValues {
		return nil, p.fail("too many values")
	}
	p.space()
	n := &Node{doc: p.data, start: p.pos}
	var err error
	switch c := p.data[p.pos]; c {
	case '{':
		n.kind = Object
		err = p.object(n, depth)
	case '[':
		n.kind = Array
		err = p.array(n, depth)
	case '"':
		n.kind = String
		p.skipString()
	case 't', 'f':
		n.kind = Bool
		p.skipWord()
	case 'n':
		n.kind = Null
		p.skipWord()
	default:
		n.kind = Number
		p.skipWord()
	}
	n.end = p.pos
	return n, err
}

func (p *parser) object(n *Node, depth int) error {
	p.pos++
	var seen map[string]bool
	for {
		p.space()
		switch p.data[p.pos] {
		case '}':
			p.pos++
			return nil
		case ',':
			p.pos++
			continue
		}
		at := p.pos
		p.skipString()
		name := unquote(p.data[at:p.pos])
		fold := strings.ToLower(name)
		if seen == nil {
			seen = make(map[string]bool)
		}
		if seen[fold] {
			p.pos = at
			return p.fail("member given twice")
		}
		seen[fold] = true
		p.space()
		p.pos++ // the colon
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, Member{Name: name, Value: v, start: at, end: p.pos})
	}
}

func (p *parser) array(n *Node, depth int) error {
	p.pos++
	for {
		p.space()
		switch p.data[p.pos] {
		case ']':
			p.pos++
			return nil
		case ',':
			p.pos++
			continue
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
}

func (p *parser) skipString() {
	p.pos++
	for {
		i := bytes.IndexAny(p.data[p.pos:], `"\`)
		p.pos += i
		if p.data[p.pos] == '"' {
			p.pos++
			return
		}
		p.pos += 2
	}
}

func (p *parser) skipWord() {
	for p.pos < len(p.data) && !strings.ContainsRune(",]} \t\r\n", rune(p.data[p.pos])) {
		p.pos++
	}
}

func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // the bytes are known to be a valid string
	return s
}

// Get follows names of members; nil when one is absent.
func (n *Node) Get(names ...string) *Node {
	for _, name := range names {
		if n == nil {
			return nil
		}
		var next *Node
		for _, m := range n.members {
			if m.Name == name {
				next = m.Value
				break
			}
		}
		n = next
	}
	return n
}

// Is tells whether n is present and of a kind.
func (n *Node) Is(k Kind) bool { return n != nil && n.kind == k }

// Text is the value of a string; empty when n is absent or not a string.
func (n *Node) Text() string {
	if !n.Is(String) {
		return ""
	}
	return unquote(n.Raw())
}

// Raw is the bytes of the value; nil when n is absent.
func (n *Node) Raw() []byte {
	if n == nil {
		return nil
	}
	return n.doc[n.start:n.end]
}

// Members are the members of an object, in the order of the bytes.
func (n *Node) Members() []Member {
	if n == nil {
		return nil
	}
	return n.members
}

// Items are the items of an array, in order.
func (n *Node) Items() []*Node {
	if n == nil {
		return nil
	}
	return n.items
}

// Contained follows a reference (#id) to a resource that n contains; nil when it
// leads to none.
func (n *Node) Contained(reference *Node) *Node {
	id, ok := strings.CutPrefix(reference.Get("reference").Text(), "#")
	if !ok || id == "" {
		return nil
	}
	for _, c := range n.Get("contained").Items() {
		if c.Get("id").Text() == id {
			return c
		}
	}
	return nil
}

// Decode fills a typed view.
func (n *Node) Decode(view any) error {
	if n == nil {
		return &ParseError{Why: "absent"}
	}
	if err := n.exactNames(); err != nil {
		return err
	}
	if err := json.Unmarshal(n.Raw(), view); err != nil {
		return &ParseError{Offset: int64(n.start), Why: "unexpected type of value"}
	}
	return nil
}

func (n *Node) exactNames() error {
	known := knownNames()
	for _, m := range n.members {
		if exact, ok := known[strings.ToLower(m.Name)]; ok && exact != m.Name {
			return &ParseError{Offset: int64(m.Value.start), Why: "misspelt member name"}
		}
		if err := m.Value.exactNames(); err != nil {
			return err
		}
	}
	for _, item := range n.items {
		if err := item.exactNames(); err != nil {
			return err
		}
	}
	return nil
}

// knownNames maps the lower-case form of every name that a view reads to the name.
var knownNames = sync.OnceValue(func() map[string]string {
	known := make(map[string]string)
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for i := range t.NumField() {
				name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
				known[strings.ToLower(name)] = name
				walk(t.Field(i).Type)
			}
		}
	}
	for _, v := range []any{Patient{}, DocumentReference{}, List{}, Bundle{}, Binary{}, Parameters{}, PractitionerRole{}, Practitioner{}, Organization{}, DeviceResource{}} {
		walk(reflect.TypeOf(v))
	}
	return known
})

// Edit replaces one stretch of the bytes that a tree was read from.
type Edit struct {
	start, end int
	text       string
}

// Replace gives the value other bytes.
func (n *Node) Replace(raw string) Edit { return Edit{n.start, n.end, raw} }

// Set gives a member of an object other bytes, or adds it: after the member
// named resourceType if there is one, first otherwise.
func (n *Node) Set(name, raw string) Edit {
	if v := n.Get(name); v != nil {
		return v.Replace(raw)
	}
	text := Quote(name) + ":" + raw
	for _, m := range n.members {
		if m.Name == "resourceType" {
			return Edit{m.end, m.end, "," + text}
		}
	}
	if len(n.members) > 0 {
		text += ","
	}
	return Edit{n.start + 1, n.start + 1, text}
}

// Remove takes a member away from an object, with one comma; no edit when it
// is not there.
func (n *Node) Remove(name string) []Edit {
	for i, m := range n.Members() {
		switch {
		case m.Name != name:
		case i > 0:
			return []Edit{{n.members[i-1].end, m.end, ""}}
		case len(n.members) > 1:
			return []Edit{{m.start, n.members[1].start, ""}}
		default:
			return []Edit{{m.start, m.end, ""}}
		}
	}
	return nil
}

// Splice gives the bytes of n with edits made inside it. Edits at one place
// are made in the order given; edits must not overlap.
func Splice(n *Node, edits ...Edit) []byte {
	ordered := make([]Edit, len(edits))
	copy(ordered, edits)
	// Stable insertion sort: edits are few.
	for i := 1; i < len(ordered); i++ {
		for j := i; j > 0 && ordered[j].start < ordered[j-1].start; j-- {
			ordered[j], ordered[j-1] = ordered[j-1], ordered[j]
		}
	}
	var out bytes.Buffer
	pos := n.start
	for _, e := range ordered {
		out.Write(n.doc[pos:e.start])
		out.WriteString(e.text)
		pos = e.end
	}
	out.Write(n.doc[pos:n.end])
	return out.Bytes()
}

// Quote writes a JSON string without escaping &, < and >.
func Quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// Marshal writes a view without escaping &, < and >.
func Marshal(view any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(view); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
