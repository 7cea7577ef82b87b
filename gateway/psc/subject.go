package psc

import (
	"crypto/x509"
	"slices"
	"strings"
)

// subjectParts are the components of a distinguished name (RFC 4514), in an
// order of their own: tools write them forwards or backwards. Nil is a text that
// is no name.
func subjectParts(dn string) []string {
	var parts []string
	var part strings.Builder
	add := func() bool {
		s := strings.TrimSpace(part.String())
		part.Reset()
		kind, value, ok := strings.Cut(s, "=")
		kind, value = strings.TrimSpace(kind), strings.TrimSpace(value)
		parts = append(parts, strings.ToUpper(kind)+"="+value)
		return ok && kind != "" && value != ""
	}
	escaped := false
	for _, r := range dn {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case r == ',' || r == '+':
			if !add() {
				return nil
			}
			continue
		}
		part.WriteRune(r)
	}
	if escaped || !add() {
		return nil
	}
	slices.Sort(parts)
	return parts
}

// SubjectForm tells whether a text is a distinguished name that a certificate
// can be held against.
func SubjectForm(dn string) bool { return len(dn) <= 1000 && subjectParts(dn) != nil }

// isSubject tells whether a certificate has this subject, whole.
func isSubject(cert *x509.Certificate, dn string) bool {
	want := subjectParts(dn)
	return want != nil && slices.Equal(want, subjectParts(cert.Subject.String()))
}
