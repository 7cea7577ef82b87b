package cda

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// said writes the tokens of our scanner, one a line, and the error that ends
// them.
func said(text []byte) (tokens []string, err error) {
	s := scanner{text: text}
	for {
		kind, err := s.next()
		if err != nil {
			return tokens, err
		}
		at := fmt.Sprintf("%d-%d ", s.start, s.at)
		switch kind {
		case endOfText:
			return tokens, nil
		case startTag:
			line := at + "<" + s.space + " " + string(s.local)
			for _, a := range s.attrs {
				line += fmt.Sprintf(" %s %s=%q", a.space, a.local, a.value)
			}
			tokens = append(tokens, line)
		case endTag:
			tokens = append(tokens, at+"</")
		case charData:
			tokens = append(tokens, fmt.Sprintf("%s%q", at, s.chars))
		case instruction:
			tokens = append(tokens, fmt.Sprintf("%s?%s %q", at, s.local, s.chars.raw))
		case directive:
			return append(tokens, fmt.Sprintf("!%q", s.chars.raw)), nil
		}
	}
}

// saidBefore writes those of encoding/xml in the same way.
func saidBefore(text []byte) (tokens []string, err error) {
	dec := xml.NewDecoder(bytes.NewReader(text))
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return tokens, nil
		}
		if err != nil {
			return tokens, err
		}
		at := fmt.Sprintf("%d-%d ", start, dec.InputOffset())
		switch t := tok.(type) {
		case xml.StartElement:
			line := at + "<" + t.Name.Space + " " + t.Name.Local
			for _, a := range t.Attr {
				if a.Name.Space != nsXMLNS && (a.Name.Space != "" || a.Name.Local != nsXMLNS) {
					line += fmt.Sprintf(" %s %s=%q", a.Name.Space, a.Name.Local, a.Value)
				}
			}
			tokens = append(tokens, line)
		case xml.EndElement:
			tokens = append(tokens, at+"</")
		case xml.CharData:
			tokens = append(tokens, fmt.Sprintf("%s%q", at, []byte(t)))
		case xml.ProcInst:
			tokens = append(tokens, fmt.Sprintf("%s?%s %q", at, t.Target, t.Inst))
		case xml.Directive:
			return append(tokens, fmt.Sprintf("!%q", []byte(t))), nil
		}
	}
}

// stricter tells whether an error is one that encoding/xml does not know.
func stricter(err error) bool {
	for _, e := range []error{errTooMany, errBlank, errDeclaration, errChar, errTwice, errPrefix, errName} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// agrees holds our scanner against encoding/xml.
func agrees(t *testing.T, text []byte) {
	t.Helper()
	if !utf8.Valid(text) {
		return // never reaches the scanner
	}
	ours, err := said(text)
	theirs, theirErr := saidBefore(text)
	switch {
	case err == nil && theirErr != nil:
		if strings.Contains(theirErr.Error(), "invalid XML name") && strings.IndexFunc(string(text), func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
			return // a name of the fifth edition
		}
		t.Fatalf("taken by us, refused by encoding/xml: %v", theirErr)
	case err != nil && theirErr == nil && !stricter(err):
		t.Fatalf("refused by us only: %v", err)
	}
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			t.Fatalf("token %d: %s, encoding/xml says %s", i, ours[i], theirs[i])
		}
	}
	if err == nil && len(ours) != len(theirs) {
		t.Fatalf("%d tokens, encoding/xml says %d", len(ours), len(theirs))
	}
}

func TestScan(t *testing.T) {
	for _, c := range []struct {
		name, doc string
		err       error
	}{
		{"ok/empty", "", nil},
		{"ok/attributes", `<a b = "c&lt;&#233;" d='"'/>`, nil},
		{"ok/ends of line", "<a b='1\r\n2\r3'>x\r\n\ry\r</a>", nil},
		{"ok/namespaces in and out", `<a xmlns="u"><p:b xmlns:p="v" p:c="1" xml:lang="fr"/><b xmlns=""/></a>`, nil},
		{"ok/one prefix, two namespaces", `<a xmlns:p="u"><p:b xmlns:p="v"/><p:b/></a>`, nil},
		{"ok/CDATA", "<a><![CDATA[<&amp;>\r\n]]]]></a>", nil},
		{"ok/comments", "<!----><a><!-->--><!-- - --></a><!--->-->", nil},
		{"ok/instructions", `<?xml version="1.0" encoding="ISO-8859-15"?><?x?><a><?y z??></a>`, nil},
		{"ok/references", "<a>&amp;&#x41;&#10;&apos;]]&gt;</a>", nil},
		{"ok/names beyond ASCII", "<é ü='1'><日本/></é>", nil},
		{"ok/directive", `<!DOCTYPE a [<!ENTITY b "c"><!-- > -->]><a/>`, nil},
		{"fail/unclosed", "<a><b></b>", errUnclosed},
		{"fail/crossed", "<a><b></a></b>", errSyntax},
		{"fail/closed by another prefix", `<p:a xmlns:p="u" xmlns:q="u"></q:a>`, errSyntax},
		{"fail/end alone", "</a>", errSyntax},
		{"fail/cut", "<a b='", errSyntax},
		{"fail/cut name", "<a", errSyntax},
		{"fail/cut instruction", "<?a b?", errSyntax},
		{"fail/value without quotes", "<a b=c/>", errSyntax},
		{"fail/no value", "<a b/>", errSyntax},
		{"fail/< in a value", "<a b='<'/>", errSyntax},
		{"fail/]]>", "<a>]]></a>", errSyntax},
		{"fail/entity", "<a>&eacute;</a>", errSyntax},
		{"fail/no semicolon", "<a>&amp b</a>", errSyntax},
		{"fail/reference to nothing", "<a>&#;</a>", errSyntax},
		{"fail/reference with a sign", "<a>&#+65;</a>", errSyntax},
		{"fail/-- in a comment", "<a><!-- -- --></a>", errSyntax},
		{"fail/two colons", "<a:b:c/>", errSyntax},
		{"fail/digit first", "<1/>", errSyntax},
		{"fail/control character", "<a>\x01</a>", errChar},
		{"fail/control character in a comment", "<a><!--\x01--></a>", errChar},
		{"fail/U+FFFF", "<a>\uffff</a>", errChar},
		{"fail/U+FFFF in a value", "<a b='\uffff'/>", errChar},
		{"fail/reference to a control character", "<a>&#1;</a>", errChar},
		{"fail/reference to a surrogate", "<a>&#xD800;</a>", errChar},
		{"fail/no blank between attributes", `<a b="1"c="2"/>`, errBlank},
		{"fail/declaration inside", `<a><?xml version="1.0"?></a>`, errDeclaration},
		{"fail/blank before the declaration", ` <?xml version="1.0"?><a/>`, errDeclaration},
		{"fail/twice", `<a b="1" b="2"/>`, errTwice},
		{"fail/twice by two prefixes", `<a xmlns:p="u" xmlns:q="u" p:b="1" q:b="2"/>`, errTwice},
		{"fail/declared twice", `<a xmlns:p="u" xmlns:p="v"/>`, errTwice},
		{"fail/prefix out of scope", `<a><b xmlns:p="u"/><p:c/></a>`, errPrefix},
		{"fail/prefix of an attribute", `<a p:b="1"/>`, errPrefix},
		{"fail/prefix undeclared again", `<a xmlns:p="u"><b xmlns:p=""/></a>`, errPrefix},
		{"fail/empty prefix", "<:a/>", errName},
		{"fail/empty local name", "<a:/>", errName},
		{"fail/many attributes", "<a" + strings.Repeat(" b='1'", maxAttrs+1) + "/>", errTooMany},
		{"fail/many namespaces", manyNamespaces(), errTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := said([]byte(c.doc)); !errors.Is(err, c.err) {
				t.Errorf("got %v, want %v", err, c.err)
			}
			agrees(t, []byte(c.doc))
		})
	}
	if _, err := said([]byte(`<?xml version="1.1"?><a/>`)); err == nil {
		t.Error("XML 1.1 taken")
	}
}

func manyNamespaces() string {
	var b strings.Builder
	for i := range maxBindings + 1 {
		fmt.Fprintf(&b, `<a xmlns:p%d="u">`, i)
	}
	return b.String()
}

// TestScanReference holds the scanner against encoding/xml on the published
// documents.
func TestScanReference(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(reference(t), "cda", "*.xml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no document", err)
	}
	for _, f := range files {
		t.Run("ok/"+filepath.Base(f), func(t *testing.T) {
			doc, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text, bad := decode(doc)
			if bad != nil {
				t.Fatal(bad)
			}
			agrees(t, text)
		})
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`<?xml version="1.0" encoding="UTF-8"?><a xmlns="u" xmlns:p="v"><p:b c="&lt;&#xe9;" xml:lang='fr'/>x` + "\r\n" + `<![CDATA[]]>]]&gt;<!-- - --><?y z?></a>`,
		"<a>\r&#10;\n]]\uffff</a>", `<a b="1"c="2" b="3"/>`, `<!DOCTYPE a [<!ENTITY b SYSTEM "c">]>`, "<é:b xmlns:é='u'/>", "<a:/>", "</a>", "<a></b>", "<!-", "<?", "<![CDATA[",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(agrees)
}
