package trust

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"time"
)

// namespace of the white list.
const namespace = "https://listeblanche.mssante.fr/schema"

const (
	maxList    = 16 << 20 // the list of June 2026 has some 8 700 entries
	maxDomains = 200_000
)

// list is one white list, read.
type list struct {
	generated time.Time
	domains   map[string]struct{}
	ignored   int // names that no address of ours can have
}

var (
	errRoot      = errors.New("not a white list")
	errDoctype   = errors.New("a DOCTYPE")
	errGenerated = errors.New("no single date of generation")
	errEmpty     = errors.New("no domain")
	errMany      = errors.New("too many domains")
	errTrailing  = errors.New("content after the root")
)

// parseList reads a white list to its last byte: one that is cut is refused.
func parseList(data []byte) (list, error) {
	l := list{domains: map[string]struct{}{}}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))))
	var path []string
	var text strings.Builder
	dates, ended := 0, false
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return list{}, err
		}
		switch t := tok.(type) {
		case xml.Directive:
			return list{}, errDoctype
		case xml.StartElement:
			if len(path) == 0 && (ended || t.Name.Space != namespace || t.Name.Local != "ListeBlancheMSSante") {
				return list{}, errRoot
			}
			if len(path) > 32 {
				return list{}, errRoot
			}
			name := t.Name.Local
			if t.Name.Space != namespace {
				name = "" // a signature, for example: not ours to read
			}
			path = append(path, name)
			text.Reset()
		case xml.CharData:
			if len(path) == 0 {
				if len(bytes.TrimSpace(t)) > 0 {
					return list{}, errTrailing
				}
				continue
			}
			if text.Len() < 4096 {
				text.Write(t)
			}
		case xml.EndElement:
			switch strings.Join(path, "/") {
			case "ListeBlancheMSSante/DateDeGeneration":
				dates++
				if l.generated, err = time.Parse(time.RFC3339, strings.TrimSpace(text.String())); err != nil {
					return list{}, errGenerated
				}
			case "ListeBlancheMSSante/ListeDomaines/Domaine/Nom":
				if len(l.domains) == maxDomains {
					return list{}, errMany
				}
				if name, ok := domainName(strings.TrimSpace(text.String())); ok {
					l.domains[name] = struct{}{}
				} else {
					l.ignored++
				}
			}
			text.Reset()
			path = path[:len(path)-1]
			ended = ended || len(path) == 0
		}
	}
	switch {
	case !ended:
		return list{}, errRoot
	case dates != 1:
		return list{}, errGenerated
	case len(l.domains) == 0:
		return list{}, errEmpty
	}
	return l, nil
}

// domainName is a domain in lower case; false for what no address can name.
func domainName(s string) (string, bool) {
	if s == "" || len(s) > 253 || !strings.Contains(s, ".") {
		return "", false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return "", false
		}
	}
	return strings.ToLower(s), true
}
