package sim

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
)

// The ways in which the white list can be served.
const (
	listNormal     = "normal"
	listTruncated  = "truncated"   // the root element is never closed, as in the public copy
	listEmpty      = "empty"       // well-formed, no domain
	listOld        = "old"         // generated ten days ago
	listFuture     = "future"      // generated in ten days
	listHTML       = "html"        // a login page with status 200
	listNotChanged = "not-changed" // the date of generation stands still where it was
	listDoctype    = "doctype"     // with an external entity
)

var listModes = []string{listNormal, listTruncated, listEmpty, listOld, listFuture, listHTML, listNotChanged, listDoctype}

// Whitelist is what differs from the ordinary white list.
type Whitelist struct {
	Mode   string   `json:"mode"`
	Add    []string `json:"add"`    // domains
	Remove []string `json:"remove"` // domains: no longer in the trust space
}

// trustSpace serves the white list and the revocations of the sandbox's CA.
type trustSpace struct {
	ca  *authority
	dn  string // of the operator's certificate
	now func() time.Time

	mu      sync.Mutex
	list    Whitelist
	frozen  time.Time
	revoked []string // roles
	number  int64    // of the CRL
	stale   bool     // the CRL has expired
	crlDown bool
}

// domains are those of the list, sorted.
func (t *trustSpace) domains() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Concat(hostedDomains, neighbourDomains, t.list.Add)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(d string) bool { return slices.Contains(t.list.Remove, d) })
}

// listed tells whether exactly this domain is on the list.
func (t *trustSpace) listed(domain string) bool { return slices.Contains(t.domains(), domain) }

func (t *trustSpace) set(w Whitelist) error {
	if w.Mode == "" {
		w.Mode = listNormal
	}
	if !slices.Contains(listModes, w.Mode) {
		return fmt.Errorf("mode vaut l'un de %v", listModes)
	}
	for _, list := range [][]string{w.Add, w.Remove} {
		if len(list) > 1000 {
			return errors.New("mille domaines au plus")
		}
		for i, d := range list {
			a, err := mss.ParseAddress("x@" + d)
			if err != nil {
				return errors.New("add et remove sont des listes de domaines")
			}
			list[i] = a.Domain()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = w
	t.frozen = t.now().UTC().Truncate(time.Hour)
	return nil
}

func (t *trustSpace) get() Whitelist {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Whitelist{Mode: t.list.Mode, Add: append([]string{}, t.list.Add...), Remove: append([]string{}, t.list.Remove...)}
}

// document is the file as it is served now. It changes once an hour, so that a
// conditional request finds it unchanged meanwhile.
func (t *trustSpace) document() []byte {
	domains := t.domains()
	t.mu.Lock()
	mode, frozen := t.list.Mode, t.frozen
	t.mu.Unlock()
	generated := t.now().UTC().Truncate(time.Hour)
	switch mode {
	case listHTML:
		return []byte("<!doctype html><title>Bac à sable</title><p>Veuillez vous identifier.</p>")
	case listEmpty:
		domains = nil
	case listOld:
		generated = generated.AddDate(0, 0, -10)
	case listFuture:
		generated = generated.AddDate(0, 0, 10)
	case listNotChanged:
		generated = frozen
	}
	var b bytes.Buffer
	esc := func(s string) string {
		var e strings.Builder
		_ = xml.EscapeText(&e, []byte(s)) // a builder does not fail
		return e.String()
	}
	b.WriteString(xml.Header)
	if mode == listDoctype {
		b.WriteString(`<!DOCTYPE ListeBlancheMSSante [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + "\n")
	}
	fmt.Fprintf(&b, "<ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">\n<DateDeGeneration>%s</DateDeGeneration>\n<ListeDomaines>\n", generated.Format(time.RFC3339))
	for _, d := range domains {
		dns := []string{t.dn}
		if slices.Contains(neighbourDomains, d) {
			// A neighbour with two certificates is listed twice, as in the real file.
			dns = []string{"CN=partenaire.bac-a-sable,OU=199999999999,O=OPÉRATEUR FICTIF,C=FR", "CN=partenaire-2.bac-a-sable,OU=199999999999,O=OPÉRATEUR FICTIF,C=FR"}
		}
		for _, dn := range dns {
			fmt.Fprintf(&b, "<Domaine><Nom>%s</Nom><Description>Domaine fictif du bac à sable</Description><DNCertificatOperateur>%s</DNCertificatOperateur>"+
				"<ResponsableContact>fictif</ResponsableContact><SupportContact>fictif</SupportContact><DateMAJ>2026-01-01T00:00:00Z</DateMAJ></Domaine>\n", esc(d), esc(dn))
		}
	}
	b.WriteString("</ListeDomaines>\n")
	if mode != listTruncated {
		b.WriteString("</ListeBlancheMSSante>\n")
	}
	return b.Bytes()
}

// serveList answers GET of the white list, with ETag and Last-Modified.
func (t *trustSpace) serveList(w http.ResponseWriter, r *http.Request) {
	data := t.document()
	sum := sha256.Sum256(data)
	w.Header().Set("Content-Type", "application/xml")
	if t.get().Mode == listHTML {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	}
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", t.now().UTC().Truncate(time.Hour), bytes.NewReader(data))
}

// Revocations is what the CRL says.
type Revocations struct {
	Roles []string `json:"roles"` // certificates of the sandbox that are revoked
	Stale bool     `json:"stale"` // the list itself has expired
	Down  bool     `json:"down"`  // it is not served
}

func (t *trustSpace) setRevocations(r Revocations) error {
	for _, role := range r.Roles {
		if commonNames[role] == "" && role != roleOperatorRSA {
			return fmt.Errorf("certificat inconnu %q", role)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revoked, t.stale, t.crlDown = slices.Clone(r.Roles), r.Stale, r.Down
	t.number++
	return nil
}

func (t *trustSpace) revocations() Revocations {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Revocations{Roles: append([]string{}, t.revoked...), Stale: t.stale, Down: t.crlDown}
}

// serveCRL answers GET of the revocation list, DER.
func (t *trustSpace) serveCRL(w http.ResponseWriter, _ *http.Request) {
	state := t.revocations()
	if state.Down {
		http.Error(w, "Bac à sable : liste de révocation indisponible, sur demande", http.StatusServiceUnavailable)
		return
	}
	t.mu.Lock()
	number := t.number + 1
	t.mu.Unlock()
	now := t.now().UTC().Truncate(time.Second)
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.AddDate(0, 0, 1)}
	if state.Stale {
		list.ThisUpdate, list.NextUpdate = now.AddDate(0, 0, -10), now.AddDate(0, 0, -9)
	}
	for _, role := range state.Roles {
		cert, _, err := readPair(t.ca.certPath(role), t.ca.keyPath(role))
		if err != nil {
			continue // not made yet: there is nothing to revoke
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: list.ThisUpdate, ReasonCode: 1})
	}
	der, err := x509.CreateRevocationList(t.ca.rand, list, t.ca.cert, t.ca.key)
	if err != nil {
		http.Error(w, "Bac à sable : la liste de révocation ne se signe pas", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/pkix-crl")
	_, _ = io.Copy(w, bytes.NewReader(der)) // a client that left is not our trouble
}
