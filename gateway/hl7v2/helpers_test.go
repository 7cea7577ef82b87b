package hl7v2_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

// A synthetic patient on the test OID; the key of the matricule is right.
const (
	matricule = "285079900100130"
	testOID   = "1.2.250.1.213.1.4.10"
	document  = `<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><title>É</title></ClinicalDocument>`
)

// message is a list of segments that a test edits by name.
type message []string

func mdm() message {
	return message{
		`MSH|^~\&|DPI-EX|CH-EX|PFI-EX|CH-EX|20260105093000||MDM^T02^MDM_T02|M0001|T|2.6|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2`,
		`EVN||20260105093000`,
		`PID|1||900001^^^CH-EX&990000001&N^PI~` + matricule + `^^^ASIP-SANTE-INS-NIR&` + testOID + `&ISO^INS||TESTEUR^ZOÉ^ZOÉ MARIE^^^^L||19850714|F|||1 rue X^^VILLE~^^^^^^BDL^^63220|||||||DOS77^^^CH-EX&990000001&N^AN||||||||||||||VALI`,
		`PV1|1|I|||||||||||||||||VEN77^^^CH-EX&990000001&N^VN|||||||||||||||||||||||||20260105080000`,
		`ORC|NW`,
		`OBR|1|||11502-2^CR d'examens biologiques^LN`,
		`TXA|1|11502-2|TEXT|||||||||1.2.250.1.999.1.42|||||AU`,
		`OBX|1|ED|11502-2^CR d'examens biologiques^LN||^text^XML^Base64^` + b64(document) + `||||||F`,
		`PRT||UC||SB^Send by^participation|810000000002^NOEL^PAUL^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS|||CH EXEMPLE^^^^^&1.2.250.1.71.4.2.2&ISO^FINEG^^^990000001`,
		`PRT||UC||RCT^Result Copies To^participation|810000000001^MOREL^LEA^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS||||||||||^^X.400^lea.morel@exemple.mssante.fr`,
		`PRT||UC||RCT^Result Copies To^participation|` + matricule + `^TESTEUR^ZOÉ^^^^^^&` + testOID + `&ISO^L^^^INS||||||||||^^X.400^` + matricule + `@patient.mssante.fr`,
		`PRT||UC||REPLY^Reply To^participation|||||||||||^^X.400^secretariat@exemple.mssante.fr`,
		flagOBX("2", "CWE", "MASQUE_PS", "N"),
		flagOBX("3", "CWE", "INVISIBLE_PATIENT", "N"),
		flagOBX("4", "CWE", "INVISIBLE_REP_LEGAUX", "N"),
		flagOBX("5", "CWE", "CONNEXION_SECRETE", "N"),
		flagOBX("6", "CWE", "MODIF_CONF_CODE", "N"),
		flagOBX("7", "CWE", "DESTDMP", "Y"),
		flagOBX("8", "CWE", "DESTMSSANTEPS", "Y"),
		flagOBX("9", "CWE", "DESTMSSANTEPAT", "Y"),
		`NTE|1|||FIN`,
		flagOBX("10", "CWE", "ACK_RECEPTION", "Y"),
		flagOBX("11", "CWE", "ACK_LECTURE_MSS", "N"),
		`OBX|12|ED|CORPSMAIL_PS^Corps du mail pour un PS^MetaDMPMSS||^text^^Base64^` + b64("Cher confrère") + `||||||F`,
	}
}

func oru() message {
	m := mdm()
	m[0] = `MSH|^~\&|DPI-EX|CH-EX|PFI-EX|CH-EX|202601050930||ORU^R01^ORU_R01|M0001|T|2.5|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2`
	return m.drop("EVN").drop("TXA").sub("CWE", "CE")
}

func adt() message {
	m := mdm()
	return append(message{
		`MSH|^~\&|GAM|CH-EX|PFI-EX|CH-EX|20260105093000||ADT^A01^ADT_A01|M0002|T|2.5^FRA^2.11|||||FRA|UNICODE UTF-8|FR||2.11^IHE_FRANCE-2.11-PAM`,
		m[1], m[2], m[3]}, `ZBE|001^CH-EX^990000001|20260105093000||INSERT|N`, `ZFA|ACTIF|20260105|||||||INO|20260105|IC|20260105`)
}

func flagOBX(n, kind, name, value string) string {
	return "OBX|" + n + "|" + kind + "|" + name + "^label^MetaDMPMSS||" + value + "^^expandedYes-NoIndicator||||||F"
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// drop removes the segments that begin with a prefix.
func (m message) drop(prefix string) message {
	var out message
	for _, s := range m {
		if !strings.HasPrefix(s, prefix) {
			out = append(out, s)
		}
	}
	return out
}

// sub replaces text everywhere.
func (m message) sub(old, new string) message {
	out := make(message, len(m))
	for i, s := range m {
		out[i] = strings.ReplaceAll(s, old, new)
	}
	return out
}

// flag gives a flag another value.
func (m message) flag(name, value string) message {
	out := make(message, len(m))
	for i, s := range m {
		if f := strings.Split(s, "|"); f[0] == "OBX" && strings.HasPrefix(f[3], name+"^") {
			f[5] = value + "^^expandedYes-NoIndicator"
			s = strings.Join(f, "|")
		}
		out[i] = s
	}
	return out
}

// field gives field n of the first segment of a name another value.
func (m message) field(name string, n int, value string) message {
	out := append(message(nil), m...)
	for i, s := range out {
		f := strings.Split(s, "|")
		if f[0] != name {
			continue
		}
		if name == "MSH" {
			n--
		}
		for len(f) <= n {
			f = append(f, "")
		}
		f[n] = value
		out[i] = strings.Join(f, "|")
		break
	}
	return out
}

// after inserts a segment after the first one that has a prefix.
func (m message) after(prefix, segment string) message {
	var out message
	done := false
	for _, s := range m {
		out = append(out, s)
		if !done && strings.HasPrefix(s, prefix) {
			out, done = append(out, segment), true
		}
	}
	return out
}

func (m message) bytes() []byte { return []byte(strings.Join(m, "\r") + "\r") }

func codes(errs []error) (list []string) {
	for _, err := range errs {
		list = append(list, fault.From(err).Row.Code+"@"+fault.From(err).Where)
	}
	return list
}

func notes(all []gateway.Note) (list []string) {
	for _, n := range all {
		list = append(list, n.Code)
	}
	return list
}

// door accepts what has no refusal, as Accept would.
type door struct {
	mu    sync.Mutex
	got   []gateway.Inbound
	crash string                               // control id that panics
	hold  func(gateway.Inbound)                // called before deciding
	judge func(gateway.Inbound) []*fault.Fault // further refusals
}

func (d *door) Accept(_ context.Context, in gateway.Inbound, receipt gateway.Receipt) gateway.Decision {
	if d.hold != nil {
		d.hold(in)
	}
	if d.crash != "" && in.Message.ControlID == d.crash {
		panic("patient content that must not be logged")
	}
	d.mu.Lock()
	d.got = append(d.got, in)
	d.mu.Unlock()
	out := gateway.Decision{Submission: "S-" + in.Message.ControlID, Outcome: gateway.Accepted, Warnings: in.Warnings}
	for _, err := range in.Refusals {
		out.Faults = append(out.Faults, fault.From(err))
		out.Outcome = gateway.Refused
	}
	if d.judge != nil && len(out.Faults) == 0 {
		if out.Faults = d.judge(in); len(out.Faults) > 0 {
			out.Outcome = gateway.Refused
		}
	}
	out.Receipt = receipt(out)
	return out
}

func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.got)
}

func noon() time.Time { return time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC) }

type zeros struct{ n byte }

// Read gives bytes that differ from call to call.
func (z *zeros) Read(p []byte) (int, error) {
	for i := range p {
		z.n++
		p[i] = z.n
	}
	return len(p), nil
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a server on a free port and stops it at the end of the test.
func serve(t *testing.T, d gateway.Door, set ...func(*hl7v2.Server)) (*hl7v2.Server, string, *logBuffer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	s := &hl7v2.Server{
		Ports: []hl7v2.Port{{Name: "main", Listener: ln}},
		Door:  d,
		Route: func(_ string, from gateway.Party) (gateway.Establishment, bool) {
			return gateway.Establishment{FINESSGeo: "990000001"}, from.Application != "STRANGER"
		},
		Clock: noon, Rand: &zeros{}, Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	for _, f := range set {
		f(s)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Serve:", err)
		}
	})
	return s, ln.Addr().String(), log
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func frame(b []byte) []byte {
	return append(append([]byte{0x0B}, b...), 0x1C, 0x0D)
}

func answer(t *testing.T, r *hl7v2.Reader) (hl7v2.Answer, []byte) {
	t.Helper()
	f, err := r.Next()
	if err != nil {
		t.Fatal("no answer:", err)
	}
	a, err := hl7v2.ReadAnswer(f.Bytes)
	if err != nil {
		t.Fatalf("bad answer %q: %v", f.Bytes, err)
	}
	return a, f.Bytes
}

// dataDir is the reference data of others, absent from the repository.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PASSERELLE_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "verdicts.tsv")); err != nil {
		t.Skip("reference data absent: set PASSERELLE_DATA")
	}
	return dir
}

func mustWrite(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}
