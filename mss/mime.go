package mss

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// The writer of messages. It is our own because every byte must follow from the
// input: libraries draw boundaries and identifiers at random.

type field struct{ name, value string }

type header []field

// add adds a field. A value with a control character is refused at the name of
// the field: a line break there would write fields of its own.
func (h *header) add(name, value string) error {
	if !clean(value) {
		return refuse(FaultHeader, name)
	}
	*h = append(*h, field{name, value})
	return nil
}

// clean tells whether s may stand on one line: valid UTF-8, no control
// character, no line or paragraph separator.
func clean(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return false
		}
	}
	return true
}

func (h header) write(b *bytes.Buffer) {
	for _, f := range h {
		b.WriteString(fold(f.name + ": " + f.value))
		b.WriteString("\r\n")
	}
}

// fold breaks a field at its blanks, before 76 columns where it can.
func fold(line string) string {
	var out strings.Builder
	col := 0
	for i, word := range strings.SplitAfter(line, " ") {
		if i > 1 && col+len(strings.TrimRight(word, " ")) > 76 {
			// The blank that ended the previous word moves to the new line.
			s := strings.TrimSuffix(out.String(), " ")
			out.Reset()
			out.WriteString(s + "\r\n ")
			col = 1
		}
		out.WriteString(word)
		col += len(word)
	}
	return out.String()
}

// encodeText writes unstructured text (RFC 2047). ASCII words before and after
// the others stay as they are: some receivers look for XDM/1.0/DDM undecoded.
func encodeText(s string) string {
	words := strings.Split(s, " ")
	first, last := -1, -1
	for i, w := range words {
		if !ascii(w) || strings.Contains(w, "=?") {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return s
	}
	out := append([]string(nil), words[:first]...)
	out = append(out, encodedWords(strings.Join(words[first:last+1], " ")))
	return strings.Join(append(out, words[last+1:]...), " ")
}

// encodedWords always encodes, even what is ASCII and looks encoded already.
func encodedWords(s string) string {
	const room = 45 // bytes in one word of at most 75 characters
	var out []string
	for s != "" {
		n := 0
		for i, r := range s {
			if i+utf8.RuneLen(r) > room {
				break
			}
			n = i + utf8.RuneLen(r)
		}
		out = append(out, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(out, " ")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func mailbox(name string, a Address) string {
	return (&mail.Address{Name: name, Address: a.String()}).String()
}

// part is one leaf of a message, its body already encoded.
type part struct {
	header header
	body   []byte
}

func textPart(text string) part {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	// A bytes.Buffer never fails.
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return part{header{
		{"Content-Type", "text/plain; charset=UTF-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	}, b.Bytes()}
}

func filePart(mediaType, name string, content []byte) part {
	params := func(base, key string) string { return mime.FormatMediaType(base, map[string]string{key: name}) }
	return part{header{
		{"Content-Type", params(mediaType, "name")},
		{"Content-Transfer-Encoding", "base64"},
		{"Content-Disposition", params("attachment", "filename")},
	}, wrap64(content)}
}

func wrap64(content []byte) []byte {
	const line = 57 // bytes, 76 columns
	out := make([]byte, 0, len(content)/line*78+80)
	for len(content) > 0 {
		n := min(line, len(content))
		out = base64.StdEncoding.AppendEncode(out, content[:n])
		out = append(out, '\r', '\n')
		content = content[n:]
	}
	return out
}

// assemble writes a multipart message. The boundary follows from seed, and from
// nothing that the parts contain: it is changed until none of them holds it.
func assemble(h header, subtype string, params map[string]string, seed string, parts []part) []byte {
	boundary := ""
	for again := true; again; {
		sum := sha256.Sum256([]byte(seed))
		seed = hex.EncodeToString(sum[:])
		boundary = "=_" + seed[:32]
		again = false
		for _, p := range parts {
			again = again || bytes.Contains(p.body, []byte(boundary))
		}
	}
	all := map[string]string{"boundary": boundary}
	size := 4096
	for k, v := range params {
		all[k] = v
	}
	for _, p := range parts {
		size += len(p.body) + 512
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	h.write(b)
	root := header{{"Content-Type", mime.FormatMediaType("multipart/"+subtype, all)}}
	for _, p := range parts {
		if transfer(p.body) != "7bit" {
			root = append(root, field{"Content-Transfer-Encoding", "8bit"})
			break
		}
	}
	root.write(b)
	b.WriteString("\r\n")
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n")
		p.header.write(b)
		b.WriteString("\r\n")
		b.Write(p.body)
		if !bytes.HasSuffix(p.body, []byte("\r\n")) {
			b.WriteString("\r\n")
		}
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes()
}

// plainText reads a body that an application handed in: UTF-8, or windows-1252
// when it is not. Controls other than tabulation and line ends are dropped.
func plainText(data []byte) string {
	s := strings.TrimPrefix(legacy(string(data)), "\ufeff")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// legacy reads as windows-1252 what is not UTF-8.
func legacy(s string) string {
	if !utf8.ValidString(s) {
		if d, err := charmap.Windows1252.NewDecoder().String(s); err == nil {
			return d
		}
	}
	return s
}

// plainASCII writes what a field of a report takes (RFC 8098 §3.1: 7 bits): letters
// lose their accents, anything else becomes a question mark.
func plainASCII(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case r >= utf8.RuneSelf:
			return '?'
		}
		return r
	}, norm.NFD.String(s))
}

// cut shortens to n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n]))
	}
	return s
}
