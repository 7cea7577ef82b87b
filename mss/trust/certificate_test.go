package trust

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"
	"time"
)

func named(cn string, usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: cn}; c.ExtKeyUsage = usages }
}

func TestRoles(t *testing.T) {
	ca := newAuthority(t, "IGC")
	client, server := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	for name, c := range map[string]struct {
		edit func(*x509.Certificate)
		want []Role
	}{
		"ok/client":            {named("CH-EX", client), []Role{Client}},
		"ok/server":            {named("ch-ex.fr", server), []Role{Server}},
		"ok/both":              {nil, []Role{Server, Client}},
		"ok/any":               {named("x", x509.ExtKeyUsageAny), []Role{Server, Client}},
		"ok/no extended usage": {named("x"), []Role{Server, Client}},
		"ok/INSi, automatic":   {named("INSI-AUTO", client), []Role{Client, INSiAuto}},
		"ok/INSi, manual":      {named("INSI-MANU", client), []Role{Client, INSiHuman}},
		"ok/near INSi":         {named("insi-auto", client), []Role{Client}},
		"fail/mail":            {named("x", x509.ExtKeyUsageEmailProtection), nil},
		"fail/signature only":  {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }, nil},
		"fail/authority":       {func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Roles(ca.issue(c.edit).Leaf); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	ca := newAuthority(t, "IGC")
	sub := ca.sub("AC 2")
	at := newClock().now
	until := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = at.Add(d) }
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakRSA := ca.sign(ca.issue(nil).Leaf, ca.cert, small.Public(), ca.key)
	weakCurve := ca.sign(ca.issue(nil).Leaf, ca.cert, newKey(t, elliptic.P224()).Public(), ca.key)
	client := Use{Role: Client, At: at, Roots: ca.pool()}
	for name, c := range map[string]struct {
		cert *x509.Certificate
		use  Use
		want []string
	}{
		"ok/client":                  {ca.issue(nil).Leaf, client, nil},
		"ok/authority not judged":    {newAuthority(t, "x").issue(nil).Leaf, Use{Role: Client, At: at}, nil},
		"ok/server by its name":      {ca.issue(nil).Leaf, Use{Role: Server, Name: "op.mssante.test", At: at}, nil},
		"ok/INSi":                    {ca.issue(named("INSI-AUTO", x509.ExtKeyUsageClientAuth)).Leaf, Use{Role: INSiAuto, At: at}, nil},
		"ok/in time":                 {ca.issue(until(61 * 24 * time.Hour)).Leaf, client, nil},
		"fail/expiring":              {ca.issue(until(59 * 24 * time.Hour)).Leaf, client, []string{FaultExpiring}},
		"fail/expiring, by a margin": {ca.issue(until(80 * 24 * time.Hour)).Leaf, Use{Role: Client, At: at, Soon: 90 * 24 * time.Hour}, []string{FaultExpiring}},
		"fail/expired":               {ca.issue(until(-time.Hour)).Leaf, client, []string{FaultExpired}},
		"fail/not yet":               {ca.issue(func(c *x509.Certificate) { c.NotBefore = at.Add(time.Hour) }).Leaf, client, []string{FaultNotYet}},
		"fail/server used as client": {ca.issue(named("x", x509.ExtKeyUsageServerAuth)).Leaf, client, []string{FaultRole}},
		"fail/client used as server": {ca.issue(named("x", x509.ExtKeyUsageClientAuth)).Leaf, Use{Role: Server, At: at}, []string{FaultRole}},
		"fail/INSi, other name":      {ca.issue(named("INSI-MANU", x509.ExtKeyUsageClientAuth)).Leaf, Use{Role: INSiAuto, At: at}, []string{FaultName}},
		"fail/server, other name":    {ca.issue(nil).Leaf, Use{Role: Server, Name: "autre.fr", At: at}, []string{FaultName}},
		"fail/other authority":       {newAuthority(t, "IGC").issue(nil).Leaf, client, []string{FaultAuthority}},
		"fail/intermediate missing":  {sub.issue(nil).Leaf, client, []string{FaultAuthority}},
		"fail/short key":             {weakRSA, client, []string{FaultWeak}},
		"fail/short curve":           {weakCurve, client, []string{FaultWeak}},
		"fail/everything": {newAuthority(t, "y").issue(func(c *x509.Certificate) {
			c.NotAfter, c.ExtKeyUsage = at.Add(-time.Hour), []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}).Leaf, Use{Role: INSiAuto, At: at, Roots: ca.pool()}, []string{FaultExpired, FaultRole, FaultName, FaultAuthority}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := listed(Inspect(c.cert, c.use)); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func listed(found []*Error) []string {
	var out []string
	for _, e := range found {
		out = append(out, e.FaultCode())
	}
	return out
}

func TestInspectPair(t *testing.T) {
	ca := newAuthority(t, "IGC")
	sub := ca.sub("AC 2")
	use := Use{Role: Client, At: newClock().now, Roots: ca.pool()}
	good, other := sub.issue(nil), sub.issue(nil)
	chained := good
	chained.Certificate = append(slices.Clone(good.Certificate), sub.cert.Raw)
	for name, c := range map[string]struct {
		pair tls.Certificate
		want []string
	}{
		"ok/with its chain":   {chained, nil},
		"fail/no chain":       {good, []string{FaultAuthority}},
		"fail/another key":    {tls.Certificate{Certificate: chained.Certificate, PrivateKey: other.PrivateKey}, []string{FaultKey}},
		"fail/no key":         {tls.Certificate{Certificate: chained.Certificate}, []string{FaultKey}},
		"fail/nothing":        {tls.Certificate{}, []string{FaultRole}},
		"fail/no certificate": {tls.Certificate{Certificate: [][]byte{{1, 2}}}, []string{FaultRole}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := listed(InspectPair(c.pair, use)); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
	use.Intermediates = x509.NewCertPool()
	use.Intermediates.AddCert(sub.cert)
	if got := listed(InspectPair(good, use)); got != nil {
		t.Error(got)
	}
}
