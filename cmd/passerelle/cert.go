package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/ins/insi"
	"github.com/passerelle-sante/passerelle/mss/trust"
)

type certCmd struct {
	Check certCheckCmd `cmd:"" help:"Dit ce que valent des certificats, et quels réglages ils peuvent servir. Rien n'est envoyé ni téléchargé."`
}

type certCheckCmd struct {
	Files []string `arg:"" name:"fichier" help:"Certificats, clés privées, autorités et listes de révocation (CRL), ensemble : PEM, ou DER pour un certificat ou une CRL."`
	For   string   `name:"for" enum:"gateway,hl7,store,machine,dmp,mss,psc,insi," default:"" help:"Usage voulu : gateway, hl7 ou store (serveur), machine, dmp, mss (BAL APP) ou psc (client), insi."`
	Name  string   `help:"Nom par lequel un serveur sera appelé." placeholder:"HÔTE"`
	judging
}

// uses are the settings that a certificate can serve, by its role, and the
// words of --for.
var uses = []struct {
	name, setting string
	role          trust.Role
}{
	{"gateway", "gateway.certificate", trust.Server},
	{"hl7", "hl7.certificate", trust.Server},
	{"store", "certificate (store.yaml)", trust.Server},
	{"dmp", "dmp.certificate", trust.Client},
	{"mss", "mss.certificate (BAL APP)", trust.Client},
	{"psc", "psc.certificate", trust.Client},
	{"machine", "establishments.machines", trust.Client},
	{"insi", "insi.certificate", trust.INSiAuto},
	{"insi", "insi.certificate", trust.INSiHuman},
}

// pemFiles is what the files given hold, sorted. A key is only ever compared.
type pemFiles struct {
	certs []held[*x509.Certificate]
	keys  []held[crypto.Signer]
	lists []held[[]byte]
	// locked are the files of keys under a password.
	locked []string
}

type held[T any] struct {
	file string
	it   T
}

// certReport is the result of `cert check`.
type certReport struct {
	Wrong        int           `json:"wrong"`
	Certificates []certVerdict `json:"certificates"`
	Findings     []finding     `json:"findings"` // about the other files
}

// certVerdict is what is known of one certificate.
type certVerdict struct {
	File      string    `json:"file"`
	OK        bool      `json:"ok"`
	Authority bool      `json:"authority"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"`
	Days      int       `json:"days"` // left; negative once it has expired
	Serves    []string  `json:"serves"`
	Key       string    `json:"key,omitempty"` // file of its private key
	Notes     []string  `json:"notes"`
	Findings  []finding `json:"findings"`
}

// Run judges every certificate of the files. Exit 1 when one cannot be used as
// it is, or not as --for says.
func (c *certCheckCmd) Run(e *env) error {
	files := &pemFiles{}
	report := certReport{Certificates: []certVerdict{}, Findings: []finding{}}
	if err := eachFile(c.Files, files.read); err != nil {
		return err
	}
	if len(files.certs) == 0 {
		return usageError{errors.New("aucun certificat dans les fichiers donnés")}
	}
	for _, cert := range files.certs {
		v := c.judge(cert, files, e.clock())
		if !v.OK {
			report.Wrong++
		}
		report.Certificates = append(report.Certificates, v)
		if !c.JSON {
			v.print(e.out, c.Lang)
		}
	}
	for _, name := range files.locked {
		report.Findings = append(report.Findings, c.Lang.wrong(&trust.Error{Code: trust.FaultKeyLocked, Where: name}))
	}
	for _, key := range files.keys {
		if !slices.ContainsFunc(files.certs, func(cert held[*x509.Certificate]) bool { return belongs(key.it, cert.it) }) {
			report.Findings = append(report.Findings, c.Lang.wrong(&trust.Error{Code: trust.FaultKey, Where: key.file}))
		}
	}
	if !c.JSON {
		for _, f := range report.Findings {
			f.print(e.out)
		}
	}
	wrong := report.Wrong + len(report.Findings)
	return c.end(e, nil, wrong, report, fmt.Sprintf(c.Lang.say("%s, %d à corriger.", "%s, %d to correct."),
		count(len(report.Certificates), c.Lang.say("certificat", "certificate")), wrong))
}

// read sorts what one file holds.
func (p *pemFiles) read(name string, f io.Reader) error {
	data, err := bounded(name, f, maxTrustFile)
	if err != nil {
		return err
	}
	found := len(p.certs) + len(p.keys) + len(p.lists) + len(p.locked)
	if cert, err := x509.ParseCertificate(data); err == nil {
		p.certs = append(p.certs, held[*x509.Certificate]{name, cert})
	} else if _, err := x509.ParseRevocationList(data); err == nil {
		p.lists = append(p.lists, held[[]byte]{name, data})
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if len(p.certs)+len(p.keys)+len(p.lists) >= maxTrustBlocks {
			return usageError{fmt.Errorf("%s : plus de %d éléments", name, maxTrustBlocks)}
		}
		switch {
		case block.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return usageError{fmt.Errorf("%s : certificat illisible", name)}
			}
			p.certs = append(p.certs, held[*x509.Certificate]{name, cert})
		case block.Type == "X509 CRL":
			p.lists = append(p.lists, held[[]byte]{name, block.Bytes})
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
			p.locked = append(p.locked, name)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, ok := privateKey(block.Bytes)
			if !ok {
				return usageError{fmt.Errorf("%s : clé privée illisible", name)} // and nothing of it is told
			}
			p.keys = append(p.keys, held[crypto.Signer]{name, key})
		}
	}
	if found == len(p.certs)+len(p.keys)+len(p.lists)+len(p.locked) {
		return usageError{fmt.Errorf("%s : ni certificat, ni clé, ni CRL ; un fichier .p12 ou .pfx s'ouvre ainsi : openssl pkcs12 -in FICHIER -nodes -out FICHIER.pem", name)}
	}
	return nil
}

// What is read of one file, and of all.
const (
	maxTrustFile   = 64 << 20 // a CRL may be large
	maxTrustBlocks = 1000
)

func privateKey(der []byte) (crypto.Signer, bool) {
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
	} {
		if key, err := parse(der); err == nil {
			signer, ok := key.(crypto.Signer)
			return signer, ok
		}
	}
	return nil, false
}

func belongs(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

func (c *certCheckCmd) judge(cert held[*x509.Certificate], files *pemFiles, now time.Time) certVerdict {
	t, x := c.Lang, cert.it
	v := certVerdict{
		File: cert.file, OK: true, Authority: x.IsCA, Subject: plain(x.Subject.String()), Issuer: plain(x.Issuer.String()), Serial: x.SerialNumber.Text(16),
		From: x.NotBefore, Until: x.NotAfter, Days: int(math.Floor(x.NotAfter.Sub(now).Hours() / 24)), Serves: []string{}, Notes: []string{}, Findings: []finding{},
	}
	add := func(err error) {
		f := t.wrong(err)
		var found *trust.Error
		if errors.As(err, &found) && found.Code == trust.FaultExpiring {
			f.Level = t.say("avertissement", "warning")
		} else {
			v.OK = false
		}
		v.Findings = append(v.Findings, f)
	}
	note := func(fr, en string) { v.Notes = append(v.Notes, t.say(fr, en)) }

	use := trust.Use{At: now, Name: c.Name}
	var issuer *x509.Certificate
	for _, other := range files.certs {
		if !other.it.IsCA || bytes.Equal(other.it.Raw, x.Raw) {
			continue
		}
		if use.Roots == nil {
			use.Roots = x509.NewCertPool()
		}
		use.Roots.AddCert(other.it)
		if bytes.Equal(other.it.RawSubject, x.RawIssuer) && x.CheckSignatureFrom(other.it) == nil {
			issuer = other.it
		}
	}
	self := bytes.Equal(x.RawSubject, x.RawIssuer)
	if self && x.IsCA {
		use.Roots = nil // a root answers for itself
	}
	switch {
	case x.IsCA:
		v.Serves = append(v.Serves, t.say("client_ca, ca : autorités acceptées", "client_ca, ca: authorities accepted"))
		for _, found := range trust.Inspect(x, use) {
			if found.Code != trust.FaultRole { // that of a leaf
				add(found)
			}
		}
	default:
		c.judgeLeaf(x, use, &v, add)
	}
	switch {
	case use.Roots == nil && !self:
		note("chaîne non vérifiée : ajoutez les autorités aux fichiers donnés", "chain not verified: add the authorities to the files given")
	case use.Roots != nil && !slices.ContainsFunc(v.Findings, func(f finding) bool { return f.Code == trust.FaultAuthority }):
		note("remonte à une autorité donnée", "leads to an authority given")
	}
	c.judgeRevocation(x, issuer, files, now, note, add)
	if isSandboxCertificate(x) {
		note("certificat d'un bac à sable : refusé en production", "certificate of a sandbox: refused in production")
	}
	if x.IsCA {
		return v
	}
	for _, key := range files.keys {
		if belongs(key.it, x) {
			v.Key = key.file
		}
	}
	if v.Key == "" {
		note("clé privée absente des fichiers donnés", "private key not among the files given")
	} else if info, err := os.Stat(v.Key); err == nil && info.Mode().Perm()&0o077 != 0 {
		note("clé lisible par d'autres utilisateurs : chmod 600 "+v.Key, "key readable by other users: chmod 600 "+v.Key)
	}
	return v
}

// judgeLeaf judges the role: that of --for, or any that the certificate can play.
func (c *certCheckCmd) judgeLeaf(x *x509.Certificate, use trust.Use, v *certVerdict, add func(error)) {
	roles := trust.Roles(x)
	if slices.Contains(roles, trust.INSiAuto) || slices.Contains(roles, trust.INSiHuman) {
		// The name is that of one service: elsewhere it would say nothing of who calls.
		roles = slices.DeleteFunc(roles, func(r trust.Role) bool { return r == trust.Client || r == trust.Server })
		if _, err := insi.NewOrganisation(x, ""); err != nil {
			f := c.Lang.wrong(err)
			f.Level = c.Lang.say("avertissement", "warning")
			v.Findings = append(v.Findings, f) // insi.emitter says what the certificate does not
		}
	}
	if len(roles) > 0 {
		use.Role = roles[0]
	}
	fits := c.For == "" && len(roles) > 0
	wanted := trust.Role("")
	for _, u := range uses {
		can := slices.Contains(roles, u.role)
		if can {
			v.Serves = append(v.Serves, u.setting)
		}
		if u.name == c.For && (can || wanted == "") {
			wanted, fits = u.role, fits || can
		}
	}
	if wanted != "" {
		use.Role = wanted
	}
	for _, found := range trust.Inspect(x, use) {
		fits = fits || found.Code == trust.FaultRole || found.Code == trust.FaultName && found.Where == "subject"
		add(found)
	}
	if !fits { // told by no usage: the name is that of another service
		add(&trust.Error{Code: trust.FaultRole, Where: "subject"})
	}
}

// judgeRevocation judges by the lists given: those of its issuer.
func (c *certCheckCmd) judgeRevocation(x, issuer *x509.Certificate, files *pemFiles, now time.Time, note func(fr, en string), add func(error)) {
	points := ""
	if len(x.CRLDistributionPoints) > 0 {
		points = " (" + plain(strings.Join(x.CRLDistributionPoints, ", ")) + ")"
	}
	told := false
	for _, list := range files.lists {
		l, err := x509.ParseRevocationList(list.it)
		if err == nil && !bytes.Equal(l.RawIssuer, x.RawIssuer) {
			continue // of another authority
		}
		told = true
		switch {
		case issuer == nil:
			note("révocation non vérifiée : l'autorité qui signe la CRL manque aux fichiers donnés", "revocation not verified: the authority that signs the CRL is not among the files given")
		default:
			if err := trust.CheckList(list.it, x, issuer, now); err != nil {
				add(err)
			} else {
				note("non révoqué, selon "+list.file, "not revoked, by "+list.file)
			}
		}
	}
	if !told && !x.IsCA {
		note("révocation non vérifiée : ajoutez la CRL de l'autorité"+points, "revocation not verified: add the CRL of the authority"+points)
	}
}

func (v certVerdict) print(w io.Writer, t tongue) {
	verdict := t.say("utilisable", "usable")
	if !v.OK {
		verdict = t.say("à corriger", "to correct")
	}
	fmt.Fprintf(w, "%s : %s\n", v.File, join(", ", verdict, t.tally(v.Findings)))
	line := func(fr, en, text string) { fmt.Fprintf(w, "  %-12s %s\n", t.say(fr, en), text) }
	line("titulaire", "subject", v.Subject)
	line("émis par", "issued by", v.Issuer)
	layout := t.say("02/01/2006", "2006-01-02")
	left := fmt.Sprintf(t.say("encore %s", "%s left"), count(v.Days, t.say("jour", "day")))
	if v.Days < 0 {
		left = t.say("expiré", "expired")
	}
	line("validité", "validity", fmt.Sprintf(t.say("du %s au %s, %s", "%s to %s, %s"), v.From.Format(layout), v.Until.Format(layout), left))
	serves := strings.Join(v.Serves, ", ")
	if serves == "" {
		serves = t.say("aucun réglage", "no setting")
	}
	line("convient à", "serves", serves)
	if v.Key != "" {
		line("clé privée", "private key", t.say("la sienne, ", "its own, ")+v.Key)
	}
	for _, n := range v.Notes {
		line("", "", n)
	}
	for _, f := range v.Findings {
		f.print(w)
	}
}
