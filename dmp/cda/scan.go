package cda

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"unicode"
	"unicode/utf8"
)

// scanner cuts a document in UTF-8 into tokens, in memory and without copying.
// encoding/xml reads a byte at a time through an interface and makes strings of
// every name and value; on a dense document of 300 KB it took two thirds of a
// check that must stay under 10 ms. FuzzScan holds this one against it: what
// this one takes, encoding/xml takes too, with the same tokens. It is stricter
// where the standard is (the strict errors below).
type scanner struct {
	text []byte
	at   int // end of the last token, beginning of the next

	// The last token. What it holds is good until the next call.
	start  int
	space  string // namespace of a start tag
	local  []byte // name of a start tag; target of an instruction
	attrs  []attribute
	chars  chars // character data; content of an instruction
	closed bool  // the start tag was an empty-element tag: its end follows

	open   [][]byte  // raw names of the elements that are open
	scope  []binding // namespace declarations that hold, innermost last
	ending bool      // the end of an empty element is owed
}

type tokenKind uint8

const (
	endOfText tokenKind = iota
	startTag
	endTag
	charData
	instruction
	comment
	directive
)

// attribute is one attribute as written; declarations of namespaces are left out.
type attribute struct {
	space string
	local []byte
	raw   []byte // its name with the prefix
	value chars
}

type binding struct {
	prefix []byte
	uri    string
	depth  int // of the element that declares it
}

// maxBindings bounds the namespace declarations that hold in one place: each
// name is looked up among them.
const maxBindings = 256

var (
	errSyntax   = errors.New("xml: not well-formed")
	errTooMany  = errors.New("xml: too many attributes or namespaces")
	errUnclosed = errors.New("xml: the end comes before an element is closed")

	// What the standard forbids and encoding/xml lets pass.
	errBlank       = errors.New("xml: no blank between attributes")
	errDeclaration = errors.New("xml: a declaration that does not begin the document")
	errChar        = errors.New("xml: a character that XML does not allow")
	errTwice       = errors.New("xml: an attribute stands twice")
	errPrefix      = errors.New("xml: a prefix that nothing declares")
	errName        = errors.New("xml: a name with an empty part")
)

// Classes of bytes.
const (
	nameByte   = 1 << iota // of a name, ASCII
	nameFirst              // may begin one
	textStop               // needs a look in character data
	valueStop              // needs a look in an attribute value
	illegal                // control character
	blankByte              // white space
	markupStop             // may end or spoil a comment or an instruction
)

var class = func() (c [256]uint8) {
	for i := range 256 {
		b := byte(i)
		switch {
		case b == '\t' || b == '\n' || b == '\r' || b == ' ':
			c[i] |= blankByte
		case b < ' ':
			c[i] |= illegal | textStop | valueStop | markupStop
		case b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' || b == ':':
			c[i] |= nameByte | nameFirst
		case b >= '0' && b <= '9' || b == '-' || b == '.':
			c[i] |= nameByte
		}
	}
	for _, b := range []byte("<&\r") {
		c[b] |= textStop | valueStop
	}
	c[']'] |= textStop
	for _, b := range []byte(`"'`) {
		c[b] |= valueStop
	}
	c[0xEF] |= textStop | valueStop | markupStop // U+FFFE and U+FFFF begin so
	c['-'] |= markupStop
	c['?'] |= markupStop
	return c
}()

// next reads one token. After an error nothing more may be read.
func (s *scanner) next() (tokenKind, error) {
	s.start = s.at
	if s.ending {
		s.ending = false
		return endTag, s.pop(s.open[len(s.open)-1])
	}
	if s.at == len(s.text) {
		if len(s.open) > 0 {
			return endOfText, errUnclosed
		}
		return endOfText, nil
	}
	if s.text[s.at] != '<' {
		return charData, s.characters()
	}
	rest := s.text[s.at+1:]
	switch {
	case len(rest) == 0:
		return endOfText, errSyntax
	case rest[0] == '/':
		s.at += 2
		name, err := s.name()
		if err != nil {
			return endTag, err
		}
		s.blanks()
		if !s.take('>') {
			return endTag, errSyntax
		}
		return endTag, s.pop(name)
	case rest[0] == '?':
		return instruction, s.instruction()
	case bytes.HasPrefix(rest, []byte("!--")):
		return comment, s.comment()
	case bytes.HasPrefix(rest, []byte("![CDATA[")):
		return charData, s.cdata()
	case rest[0] == '!':
		return directive, s.directive()
	}
	return startTag, s.startTag()
}

// pop closes the innermost element.
func (s *scanner) pop(name []byte) error {
	top := len(s.open) - 1
	if top < 0 || !bytes.Equal(s.open[top], name) {
		return errSyntax
	}
	for n := len(s.scope); n > 0 && s.scope[n-1].depth == top; n-- {
		s.scope = s.scope[:n-1]
	}
	s.open = s.open[:top]
	return nil
}

func (s *scanner) take(b byte) bool {
	if s.at < len(s.text) && s.text[s.at] == b {
		s.at++
		return true
	}
	return false
}

// blanks skips white space and tells whether there was any.
func (s *scanner) blanks() bool {
	from := s.at
	for s.at < len(s.text) && class[s.text[s.at]]&blankByte != 0 {
		s.at++
	}
	return s.at > from
}

// name reads a name, prefix included.
func (s *scanner) name() ([]byte, error) {
	from, ascii := s.at, true
	for ; s.at < len(s.text); s.at++ {
		if b := s.text[s.at]; b >= utf8.RuneSelf {
			ascii = false
		} else if class[b]&nameByte == 0 {
			break
		}
	}
	n := s.text[from:s.at]
	if len(n) == 0 || s.at == len(s.text) || n[0] < utf8.RuneSelf && class[n[0]]&nameFirst == 0 {
		return nil, errSyntax
	}
	if !ascii {
		for i, r := range string(n) {
			if r >= utf8.RuneSelf && !unicode.Is(nameRunes, r) && (i == 0 || !unicode.Is(nameMore, r)) {
				return nil, errSyntax
			}
		}
	}
	return n, nil
}

// What a name may hold beyond ASCII (XML 1.0, fifth edition), and what it may
// not begin with.
var (
	nameRunes = &unicode.RangeTable{
		R16: []unicode.Range16{
			{Lo: 0xC0, Hi: 0xD6, Stride: 1}, {Lo: 0xD8, Hi: 0xF6, Stride: 1}, {Lo: 0xF8, Hi: 0x2FF, Stride: 1}, {Lo: 0x370, Hi: 0x37D, Stride: 1},
			{Lo: 0x37F, Hi: 0x1FFF, Stride: 1}, {Lo: 0x200C, Hi: 0x200D, Stride: 1}, {Lo: 0x2070, Hi: 0x218F, Stride: 1}, {Lo: 0x2C00, Hi: 0x2FEF, Stride: 1},
			{Lo: 0x3001, Hi: 0xD7FF, Stride: 1}, {Lo: 0xF900, Hi: 0xFDCF, Stride: 1}, {Lo: 0xFDF0, Hi: 0xFFFD, Stride: 1},
		},
		R32: []unicode.Range32{{Lo: 0x10000, Hi: 0xEFFFF, Stride: 1}},
	}
	nameMore = &unicode.RangeTable{R16: []unicode.Range16{{Lo: 0xB7, Hi: 0xB7, Stride: 1}, {Lo: 0x300, Hi: 0x36F, Stride: 1}, {Lo: 0x203F, Hi: 0x2040, Stride: 1}}}
)

// split cuts a name at its colon.
func split(name []byte) (prefix, local []byte, err error) {
	i := bytes.IndexByte(name, ':')
	if i < 0 {
		return nil, name, nil
	}
	prefix, local = name[:i], name[i+1:]
	switch {
	case bytes.IndexByte(local, ':') >= 0:
		return nil, nil, errSyntax
	case len(prefix) == 0 || len(local) == 0:
		return nil, nil, errName
	}
	return prefix, local, nil
}

// lookup gives the namespace of a prefix; ok is false when nothing declares it.
func (s *scanner) lookup(prefix []byte) (uri string, ok bool) {
	for i := len(s.scope) - 1; i >= 0; i-- {
		if bytes.Equal(s.scope[i].prefix, prefix) {
			return s.scope[i].uri, true
		}
	}
	switch string(prefix) {
	case "":
		return "", true
	case "xml":
		return nsXML, true
	}
	return "", false
}

func (s *scanner) startTag() error {
	s.at++
	name, err := s.name()
	if err != nil {
		return err
	}
	prefix, local, err := split(name)
	if err != nil {
		return err
	}
	s.attrs, s.closed = s.attrs[:0], false
	depth, count := len(s.open), 0
	for {
		apart := s.blanks()
		if s.take('>') {
			break
		}
		if s.take('/') {
			if !s.take('>') {
				return errSyntax
			}
			s.closed, s.ending = true, true
			break
		}
		a, err := s.attribute()
		switch {
		case err != nil:
			return err
		case !apart:
			return errBlank
		}
		if count++; count > maxAttrs {
			return errTooMany
		}
		if err := s.declare(a, depth); err != nil {
			return err
		}
	}
	s.open = append(s.open, name)
	var ok bool
	if s.space, ok = s.lookup(prefix); !ok {
		return errPrefix
	}
	s.local = local
	return s.resolve()
}

func (s *scanner) attribute() (a attribute, err error) {
	if a.raw, err = s.name(); err != nil {
		return a, err
	}
	s.blanks()
	if !s.take('=') {
		return a, errSyntax
	}
	s.blanks()
	a.value, err = s.value()
	return a, err
}

// declare keeps an attribute, or the namespace that it declares.
func (s *scanner) declare(a attribute, depth int) error {
	var prefix []byte
	switch p, ok := bytes.CutPrefix(a.raw, []byte("xmlns:")); {
	case ok:
		prefix = p
	case string(a.raw) == nsXMLNS:
	default:
		s.attrs = append(s.attrs, a)
		return nil
	}
	for i := len(s.scope) - 1; i >= 0 && s.scope[i].depth == depth; i-- {
		if bytes.Equal(s.scope[i].prefix, prefix) {
			return errTwice
		}
	}
	uri := a.value.String()
	switch {
	case prefix == nil:
	case len(prefix) == 0:
		return errName
	case bytes.IndexByte(prefix, ':') >= 0:
		return errSyntax
	case uri == "", string(prefix) == nsXMLNS, (string(prefix) == "xml") != (uri == nsXML):
		return errPrefix
	}
	if len(s.scope) == maxBindings {
		return errTooMany
	}
	s.scope = append(s.scope, binding{prefix, uri, depth})
	return nil
}

// resolve gives the attributes their namespaces, once all are declared.
func (s *scanner) resolve() error {
	for i := range s.attrs {
		a := &s.attrs[i]
		prefix, local, err := split(a.raw)
		if err != nil {
			return err
		}
		if a.local = local; prefix != nil {
			var ok bool
			if a.space, ok = s.lookup(prefix); !ok {
				return errPrefix
			}
		}
		for j := range i {
			if b := &s.attrs[j]; bytes.Equal(b.local, local) && b.space == a.space {
				return errTwice
			}
		}
	}
	return nil
}

// value reads a quoted attribute value.
func (s *scanner) value() (chars, error) {
	if s.at == len(s.text) || s.text[s.at] != '"' && s.text[s.at] != '\'' {
		return chars{}, errSyntax
	}
	quote := s.text[s.at]
	s.at++
	c := chars{plain: true}
	for from := s.at; s.at < len(s.text); s.at++ {
		b := s.text[s.at]
		if class[b]&valueStop == 0 {
			continue
		}
		if b == quote {
			c.raw = s.text[from:s.at]
			s.at++
			return c, nil
		}
		switch b {
		case '"', '\'':
		case '<':
			return c, errSyntax
		default:
			if err := s.odd(&c); err != nil {
				return c, err
			}
		}
	}
	return c, errSyntax
}

// characters reads text up to the next tag.
func (s *scanner) characters() error {
	from := s.at
	s.chars = chars{plain: true}
	for ; s.at < len(s.text); s.at++ {
		b := s.text[s.at]
		if class[b]&textStop == 0 {
			continue
		}
		if b == '<' {
			break
		}
		if b == ']' {
			if bytes.HasPrefix(s.text[s.at:], []byte("]]>")) {
				return errSyntax
			}
			continue
		}
		if err := s.odd(&s.chars); err != nil {
			return err
		}
	}
	s.chars.raw = s.text[from:s.at]
	return nil
}

// odd looks at a byte of text that is more than itself, and stands on its last.
func (s *scanner) odd(c *chars) error {
	switch b := s.text[s.at]; b {
	case '\r':
		c.plain = false
	case '&':
		c.plain = false
		r, n := charRef(s.text[s.at:])
		if n == 0 {
			return errSyntax
		}
		if r < 0 {
			return errChar
		}
		s.at += n - 1
	default:
		return s.allowed()
	}
	return nil
}

// allowed refuses a control character and what is no character.
func (s *scanner) allowed() error {
	if class[s.text[s.at]]&illegal != 0 {
		return errChar
	}
	if r, _ := utf8.DecodeRune(s.text[s.at:]); r == 0xFFFE || r == 0xFFFF {
		return errChar
	}
	return nil
}

// until stands behind the mark that ends a comment, an instruction or a CDATA
// section, and gives what is before.
func (s *scanner) until(mark string) ([]byte, error) {
	n := bytes.Index(s.text[s.at:], []byte(mark))
	if n < 0 {
		return nil, errSyntax
	}
	end := s.at + n
	inside := s.text[s.at:end]
	for ; s.at < end; s.at++ {
		if class[s.text[s.at]]&markupStop != 0 {
			if err := s.allowed(); err != nil {
				return nil, err
			}
		}
	}
	s.at += len(mark)
	return inside, nil
}

func (s *scanner) comment() error {
	s.at += len("<!--")
	if _, err := s.until("--"); err != nil {
		return err
	}
	if !s.take('>') {
		return errSyntax
	}
	return nil
}

func (s *scanner) cdata() error {
	s.at += len("<![CDATA[")
	inside, err := s.until("]]>")
	s.chars = chars{raw: inside, plain: bytes.IndexByte(inside, '\r') < 0, cdata: true}
	return err
}

func (s *scanner) instruction() error {
	from := s.at
	s.at += len("<?")
	name, err := s.name()
	if err != nil {
		return err
	}
	s.blanks()
	inside, err := s.until("?>")
	if err != nil {
		return err
	}
	s.local, s.chars = name, chars{raw: inside, plain: true}
	if string(name) != "xml" {
		return nil
	}
	if from != 0 {
		return errDeclaration
	}
	_, err = s.foreign(from, s.at) // the version, and the form of what is declared
	return err
}

// directive reads <!DOCTYPE …> by encoding/xml: the document is refused anyway.
func (s *scanner) directive() error {
	t, err := s.foreign(s.at, len(s.text))
	if err != nil {
		return err
	}
	d, ok := t.(xml.Directive)
	if !ok {
		return errSyntax
	}
	s.chars = chars{raw: d, plain: true}
	return nil
}

// foreign reads one token by encoding/xml.
func (s *scanner) foreign(from, to int) (xml.Token, error) {
	dec := xml.NewDecoder(bytes.NewReader(s.text[from:to]))
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // decoded already
	return dec.RawToken()
}
