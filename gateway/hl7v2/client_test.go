package hl7v2_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

func z(event string) gateway.Notice {
	return gateway.Notice{
		ControlID: "G0007", Event: event, Composed: noon(), Processing: "T", Answers: "M0001", Success: true,
		To: gateway.Party{Application: "DPI-EX", Facility: "CH-EX"},
		As: gateway.Party{Application: "PFI-EX", Facility: "CH-EX"},
	}
}

func TestRenderNotice(t *testing.T) {
	head := func(e string) string {
		return `MSH|^~\&|PFI-EX|CH-EX|DPI-EX|CH-EX|20260105120000||ZAM^` + e + `^ZAM_Z01|G0007|T|2.6|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2` + "\rEVN||20260105120000\r"
	}
	refused := z("Z01")
	refused.Success, refused.Code, refused.Text = false, "DMPClosed", "DMP fermé & clos"
	bounced := z("Z02")
	bounced.Success, bounced.Code, bounced.Text = false, "550", "Boîte aux lettres non disponible"
	bounced.Recipient, bounced.RecipientID = "lea.morel@exemple.mssante.fr", "810000000001"
	read := z("Z03")
	read.Recipient = "lea.morel@exemple.mssante.fr"
	for name, c := range map[string]struct {
		n    gateway.Notice
		want string
	}{
		"ok/Z01": {z("Z01"), head("Z01") + "OBX|1|CWE|ACK_RECEPTION_DMP^Accusé de réception DMP^AckMetierZAM|M0001|Y^^expandedYes-NoIndicator||||||F\r"},
		"ok/Z01 refused": {refused, head("Z01") + "OBX|1|CWE|ACK_RECEPTION_DMP^Accusé de réception DMP^AckMetierZAM|M0001|N^^expandedYes-NoIndicator||||||F\r" +
			`ERR|||207^Application error^messageErrorCondition|E|DMPClosed^DMP fermé \T\ clos^DMP_ERROR_CODE` + "\r"},
		"ok/Z02 refused": {bounced, head("Z02") + "OBX|1|CWE|ACK_RECEPTION_MSS^Accusé de réception MSSanté^AckMetierZAM|M0001|N^^expandedYes-NoIndicator||||||F\r" +
			"OBX|2|XTN|DESTINATAIRE_MSS^Destinataire MSSanté^AckMetierZAM|810000000001|^^X.400^lea.morel@exemple.mssante.fr||||||F\r" +
			"ERR|||207^Application error^messageErrorCondition|E|550^Boîte aux lettres non disponible^SMTPERRORCODE\r"},
		"ok/Z03": {read, head("Z03") + "OBX|1|CWE|ACK_LECTURE_MSS^Accusé de lecture^AckMetierZAM|M0001|Y^^expandedYes-NoIndicator||||||F\r" +
			"OBX|2|XTN|LECTEUR_MSS^Lecteur du courriel MSSanté^AckMetierZAM||^^X.400^lea.morel@exemple.mssante.fr||||||F\r"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hl7v2.RenderNotice(c.n, nil)
			if err != nil || string(got) != c.want {
				t.Errorf("%v\ngot  %q\nwant %q", err, got, c.want)
			}
			again, _ := hl7v2.RenderNotice(c.n, nil)
			if !bytes.Equal(got, again) {
				t.Error("a resend differs")
			}
		})
	}
	if _, err := hl7v2.RenderNotice(z("Z04"), nil); err == nil {
		t.Error("Z04 does not exist")
	}
	n := z("Z01")
	local, _ := hl7v2.RenderNotice(n, time.FixedZone("", 3600))
	if !bytes.Contains(local, []byte("|20260105130000|")) {
		t.Errorf("%q", local)
	}
}

// TestGoldenNotices compares with the samples of the volet 2.1, field by field.
// What differs by decision and what belongs to one message (times) is
// put aside.
func TestGoldenNotices(t *testing.T) {
	dir := dataDir(t)
	table, err := os.ReadFile(filepath.Join(dir, "verdicts.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	base := gateway.Notice{Composed: noon(), Processing: "P", Answers: "015", Success: true,
		To: gateway.Party{Application: "SIL-Y", Facility: "labo"},
		As: gateway.Party{Application: "PFI-X", Facility: "Organisation-X"}}
	notices := map[string]gateway.Notice{}
	for name, set := range map[string]func(*gateway.Notice){
		"Message metier reception DMP": func(n *gateway.Notice) {
			n.Event, n.ControlID, n.Success, n.Code, n.Text = "Z01", "017", false, "DMPClosed", "DMP fermé"
		},
		"Message metier reception MSS": func(n *gateway.Notice) {
			n.Event, n.ControlID = "Z02", "018"
			n.Recipient, n.RecipientID = "adam.hoda@test-ci-sis.mssante.fr", "801234567897"
		},
		"Message metier lecture MSS": func(n *gateway.Notice) {
			n.Event, n.ControlID = "Z03", "019"
			n.Recipient, n.RecipientID = "adam.hoda@test-ci-sis.mssante.fr", "801234567897"
		},
	} {
		n := base
		set(&n)
		notices[name] = n
	}
	ran := 0
	for line := range strings.Lines(string(table)) {
		f := strings.Split(line, "\t")
		if len(f) < 2 || f[1] != "golden" || !strings.Contains(f[0], "V2.1/") {
			continue
		}
		ran++
		t.Run(filepath.Base(f[0]), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(dir, f[0]))
			if err != nil {
				t.Fatal(err)
			}
			got, err := hl7v2.RenderNotice(notices[filepath.Base(f[0])], nil)
			if err != nil {
				t.Fatal(err)
			}
			if g, w := shapeOf(string(got)), shapeOf(string(want)); g != w {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
		})
	}
	if ran != 3 {
		t.Errorf("%d golden messages, want 3", ran)
	}
}

func shapeOf(message string) string {
	message = strings.NewReplacer("Application internal error", "Application error", "DMPERRORCODE", "DMP_ERROR_CODE", "\r\n", "\n", "\r", "\n").Replace(message)
	var out []string
	for line := range strings.Lines(strings.TrimSpace(message) + "\n") {
		f := strings.Split(strings.TrimRight(line, "|\n"), "|")
		switch f[0] {
		case "MSH":
			f[6] = "time"
		case "EVN":
			f[2] = "time"
		}
		out = append(out, strings.Join(f, "|"))
	}
	return strings.Join(out, "\n")
}

// receiver listens once and answers what reply says; an empty reply is silence.
func receiver(t *testing.T, reply func(message string) string) hl7v2.Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f, err := hl7v2.NewReader(c, 0, nil).Next()
				if err != nil {
					return
				}
				answer := reply(string(f.Bytes))
				if answer == "" {
					_, _ = c.Read(make([]byte, 1)) // until the client gives up
					return
				}
				_, _ = c.Write([]byte(answer))
			}()
		}
	}()
	return hl7v2.Target{Address: ln.Addr().String()}
}

func ack(code, id string) string {
	return "\x0b" + `MSH|^~\&|DPI-EX|CH-EX|PFI-EX|CH-EX|20260105120000||ACK^Z01^ACK|1|T|2.6|||||FRA|UNICODE UTF-8` + "\rMSA|" + code + "|" + id + "\r\x1c\r"
}

func client(target hl7v2.Target) *hl7v2.Client {
	return &hl7v2.Client{Timeout: 5 * time.Second, Route: func(gateway.Establishment, gateway.Party) (hl7v2.Target, bool) {
		return target, target.Address != ""
	}}
}

func TestNotify(t *testing.T) {
	for name, c := range map[string]struct {
		reply, want, ack string
		timeout          time.Duration
	}{
		"ok/AA":                 {ack("AA", "G0007"), "", "", 0},
		"ok/AA without last CR": {strings.TrimSuffix(ack("AA", "G0007"), "\r"), "", "", 0},
		"fail/AE":               {ack("AE", "G0007"), hl7v2.FaultNoticeRefused, "AE", 0},
		"fail/AR":               {ack("AR", "G0007"), hl7v2.FaultNoticeBusy, "AR", 0},
		"fail/commit accept":    {ack("CA", "G0007"), hl7v2.FaultNoticeAnswer, "", 0},
		"fail/another message":  {ack("AA", "G0008"), hl7v2.FaultNoticeAnswer, "", 0},
		"fail/no MSA-2":         {ack("AA", ""), hl7v2.FaultNoticeAnswer, "", 0},
		"fail/not an ACK":       {string(frame(oru().bytes())), hl7v2.FaultNoticeAnswer, "", 0},
		"fail/no MSA":           {"\x0b" + `MSH|^~\&|A|B|C|D|2026||ACK^Z01^ACK|1|T|2.6` + "\r\x1c\r", hl7v2.FaultNoticeAnswer, "", 0},
		"fail/garbage":          {strings.Repeat("x", 70_000), hl7v2.FaultNoticeAnswer, "", 0},
		"fail/some bytes":       {"HTTP/1.1 400\r\n", hl7v2.FaultNoticeSilent, "", 0},
		"fail/cut":              {ack("AA", "G0007")[:30], hl7v2.FaultNoticeSilent, "", 0},
		"fail/huge":             {"\x0b" + strings.Repeat("x", 2<<20) + "\x1c", hl7v2.FaultNoticeAnswer, "", 0},
		"fail/silence":          {"", hl7v2.FaultNoticeSilent, "", 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			cl := client(receiver(t, func(m string) string { got = m; return c.reply }))
			if c.timeout > 0 {
				cl.Timeout = c.timeout
			}
			sent := 0
			cl.Trace = func(gateway.Notice) { sent++ }
			check(t, cl.Notify(context.Background(), z("Z01")), c.want, c.ack)
			if sent != 1 {
				t.Errorf("traced %d times", sent)
			}
			if want, _ := hl7v2.RenderNotice(z("Z01"), nil); c.reply != "" && got != string(want) {
				t.Errorf("received %q", got)
			}
		})
	}
	t.Run("fail/no route", func(t *testing.T) {
		check(t, client(hl7v2.Target{}).Notify(context.Background(), z("Z01")), hl7v2.FaultNoticeRoute, "")
	})
	t.Run("fail/nobody listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		check(t, client(hl7v2.Target{Address: ln.Addr().String()}).Notify(context.Background(), z("Z01")), hl7v2.FaultNoticeDown, "")
	})
	t.Run("fail/unknown event", func(t *testing.T) {
		check(t, client(hl7v2.Target{Address: "127.0.0.1:1"}).Notify(context.Background(), z("Z9")), hl7v2.FaultEvent, "")
	})
}

func check(t *testing.T, err error, code, ack string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var r *hl7v2.Refusal
	if !errors.As(err, &r) || r.Code != code || r.AckCode() != ack {
		t.Fatalf("%v, want %s", err, code)
	}
	permanent := code == hl7v2.FaultNoticeRefused || code == hl7v2.FaultEvent
	if (fault.From(err).Kind == fault.Permanent) != permanent {
		t.Errorf("%s is of the wrong kind", code)
	}
}

// selfSigned is a certificate of this machine and who trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLS runs the client against our own server, both in TLS.
func TestTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	_, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) {
		s.Ports[0].TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	})
	raw, err := hl7v2.Exchange(t.Context(), hl7v2.Target{Address: addr, TLS: &tls.Config{RootCAs: pool}}, mdm().bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := hl7v2.ReadAnswer(raw); err != nil || a.Code != "AA" {
		t.Error(a, err)
	}
	_, err = hl7v2.Exchange(t.Context(), hl7v2.Target{Address: addr, TLS: &tls.Config{}}, mdm().bytes(), nil)
	check(t, err, hl7v2.FaultNoticeDown, "")
}
