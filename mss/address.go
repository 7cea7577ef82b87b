package mss

import (
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

// PatientDomain is where patients have their mailbox (Mon espace santé); its
// local part is the matricule.
const PatientDomain = "patient.mssante.fr"

// Address is the address of a mailbox, checked. The zero value is no address.
type Address struct {
	local, domain string
}

// ParseAddress reads local@domain, without display name. ASCII only: a domain
// of the trust space is compared with a list, and two letters that look alike
// are not the same letter. The domain is put in lower case.
func ParseAddress(s string) (Address, error) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 {
		return Address{}, refuse(FaultAddress, "")
	}
	local, domain := s[:at], strings.ToLower(s[at+1:])
	if !validLocal(local) || !validDomain(domain) {
		return Address{}, refuse(FaultAddress, "")
	}
	return Address{local, domain}, nil
}

// validLocal is a dot-atom of RFC 5321.
func validLocal(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" {
			return false
		}
		for i := range len(part) {
			if !alphanumeric(part[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", part[i]) < 0 {
				return false
			}
		}
	}
	return true
}

func validDomain(s string) bool {
	labels := strings.Split(s, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := range len(l) {
			if !alphanumeric(l[i]) && l[i] != '-' {
				return false
			}
		}
	}
	// An IPv4 address is no domain.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// String is local@domain; empty for no address.
func (a Address) String() string {
	if a == (Address{}) {
		return ""
	}
	return a.local + "@" + a.domain
}

// Domain is the domain, in lower case.
func (a Address) Domain() string { return a.domain }

// Key is what two mentions of one mailbox have in common: no mailbox of the
// trust space tells cases apart.
func (a Address) Key() string { return strings.ToLower(a.String()) }

// IsPatient tells whether the mailbox is a patient's.
func (a Address) IsPatient() bool { return a.domain == PatientDomain }

// PatientAddress forms the address of a patient. The identity must be one that
// may leave to the patient's mailbox (ECO.2.2.6).
func PatientAddress(id ins.Identity) (Address, error) {
	if err := ins.Gate(id, ins.ToPatient); err != nil {
		return Address{}, err
	}
	return ParseAddress(id.Matricule + "@" + PatientDomain)
}

// CheckPatientAddress is [PatientAddress], held against what the message gives:
// an address that is not the one of this identity refuses, and is never used.
func CheckPatientAddress(id ins.Identity, given string) (Address, error) {
	a, err := PatientAddress(id)
	if err != nil {
		return Address{}, err
	}
	if given == "" {
		return a, nil
	}
	if g, err := ParseAddress(given); err != nil || g.Key() != a.Key() {
		return Address{}, refuse(FaultPatientAddress, "to")
	}
	return a, nil
}
