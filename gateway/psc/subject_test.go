package psc

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
)

func TestSubject(t *testing.T) {
	cert := &x509.Certificate{Subject: pkix.Name{Country: []string{"FR"}, Organization: []string{"CH, DES ESSAIS"}, OrganizationalUnit: []string{"399900002800012"}, CommonName: "dpi+1"}}
	for name, c := range map[string]struct {
		dn   string
		want bool
	}{
		"ok/as Go writes it":             {cert.Subject.String(), true},
		"ok/backwards":                   {`C=FR, O=CH\, DES ESSAIS, OU=399900002800012, CN=dpi\+1`, true},
		"ok/types in lower case":         {`c=FR,o=CH\, DES ESSAIS,ou=399900002800012,cn=dpi\+1`, true},
		"fail/its common name alone":     {`CN=dpi\+1`, false},
		"fail/another unit":              {`C=FR,O=CH\, DES ESSAIS,OU=399900002800099,CN=dpi\+1`, false},
		"fail/a component twice":         {`C=FR,C=FR,O=CH\, DES ESSAIS,OU=399900002800012,CN=dpi\+1`, false},
		"fail/nothing":                   {"", false},
		"fail/no type":                   {"dpi", false},
		"fail/no value":                  {"CN=", false},
		"fail/an escape that is cut":     {`CN=dpi\`, false},
		"fail/comma that is not escaped": {`C=FR,O=CH, DES ESSAIS,OU=399900002800012,CN=dpi\+1`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isSubject(cert, c.dn); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
	if SubjectForm("CN=" + strings.Repeat("x", 2000)) {
		t.Error("a name of 2000 characters")
	}
}
