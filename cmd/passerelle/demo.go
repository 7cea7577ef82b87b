//go:build !nosandbox

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/testdata"
)

// demo plays a hospital: it sends messages to the gateway's MLLP port as any
// vendor would, follows each by its timeline, and reads the verdict from
// outside — the DMP by ITI-67/68, the hospital by the list of what it received.
type demo struct {
	e       *env
	info    *sim.Info
	machine *http.Client // of the establishment
	person  *http.Client // of the professional's software
	bearer  string
}

// scene is one message of the demonstration and what must come of it.
type scene struct {
	title   string
	message []byte
	control string
	ack     string // expected MSA-1
	zam     string // expected ZAM, such as "Z01 Y, Z02 Y"; empty: none
	state   string // expected final state
	letters []expectedLetter
	id      string // submission, once acknowledged
}

func newDemo(e *env, info *sim.Info) (*demo, error) {
	d := &demo{e: e, info: info}
	var err error
	if d.machine, err = clientFor(info.TLS.CA, info.TLS.MachineCert, info.TLS.MachineKey); err != nil {
		return nil, err
	}
	if d.person, err = clientFor(info.TLS.CA, info.TLS.ClientCert, info.TLS.ClientKey); err != nil {
		return nil, err
	}
	d.bearer, err = dmpToken(e.ctx, d.person, info, info.Personas[0].ID)
	return d, err
}

// The documents of the demonstration. Numbers grow with the clock, so that a
// sandbox whose data was kept can be shown twice.
func (d *demo) scenes() ([]*scene, []expectation) {
	base := int(d.e.clock().Unix()) * 100
	id := func(n int) string { return testdata.DocumentID(base + n) }
	control := func(n int) string { return fmt.Sprintf("DEMO-%d-%d", base/100, n) }
	trois, closed := testdata.PatientByID(testdata.PatientTrois), testdata.PatientByID(testdata.PatientClosed)

	biology := testdata.CDAOptions{Kind: testdata.Biology, Level: 3, ID: id(1)}
	biology2 := testdata.CDAOptions{Kind: testdata.Biology, Level: 3, ID: id(2), Replaces: id(1)}
	imaging := testdata.CDAOptions{Kind: testdata.Imaging, ID: id(3)}
	letter := testdata.CDAOptions{Kind: testdata.Discharge, ID: id(4), Patient: trois}
	stranger := testdata.CDAOptions{Kind: testdata.Imaging, ID: id(5), Patient: trois}
	atClosed := testdata.CDAOptions{Kind: testdata.Imaging, ID: id(6), Patient: closed}

	scenes := []*scene{
		{title: "compte rendu de biologie (ORU, CDA niveau 3)", ack: "AA", zam: "Z01 Y", state: "done", control: control(1),
			message: testdata.ORU(testdata.MessageOptions{ControlID: control(1), Document: biology})},
		{title: "nouvelle version du compte rendu de biologie (ORU, remplacement)", ack: "AA", zam: "Z01 Y", state: "done", control: control(2),
			message: testdata.ORU(testdata.MessageOptions{ControlID: control(2), Document: biology2, Action: testdata.Replace})},
		{title: "compte rendu d'imagerie (MDM, CDA niveau 1)", ack: "AA", zam: "Z01 Y", state: "done", control: control(3),
			message: testdata.MDM(testdata.MessageOptions{ControlID: control(3), Document: imaging})},
		{title: "suppression du compte rendu d'imagerie (MDM^T04)", ack: "AA", zam: "Z01 Y", state: "done", control: control(4),
			message: testdata.MDM(testdata.MessageOptions{ControlID: control(4), Document: imaging, Action: testdata.Delete})},
		{title: "lettre de liaison d'un autre patient (MDM)", ack: "AA", zam: "Z01 Y", state: "done", control: control(5),
			message: testdata.MDM(testdata.MessageOptions{ControlID: control(5), Patient: trois, Document: letter})},
		{title: "document d'un autre patient que le message : doit être refusé", ack: "AE", state: "refused", control: control(6),
			message: testdata.MDM(testdata.MessageOptions{ControlID: control(6), Document: stranger})},
		{title: "patient dont le DMP est fermé : compte rendu négatif", ack: "AA", zam: "Z01 N", state: "failed", control: control(7),
			message: testdata.MDM(testdata.MessageOptions{ControlID: control(7), Patient: closed, Document: atClosed})},
		d.mailScene(control(8), id(8)),
	}
	me := testdata.Patients()[0]
	expected := []expectation{
		{"biologie, première version", me, id(1), "superseded", testdata.CDA(biology)},
		{"biologie, deuxième version", me, id(2), "current", testdata.CDA(biology2)},
		{"imagerie supprimée", me, id(3), "", nil},
		{"document refusé à la porte", me, id(5), "", nil},
	}
	return scenes, expected
}

// expectation is what the DMP must hold of one document.
type expectation struct {
	title   string
	patient testdata.Patient
	id      string
	status  string // empty: not found
	content []byte // nil: not compared
}

// play runs the demonstration; errWrong when the outside does not agree.
func (d *demo) play() error {
	started := d.e.clock()
	scenes, expected := d.scenes()
	wrong := 0
	if err := d.correspondents(); err != nil {
		return err
	}
	for i, s := range scenes {
		fmt.Fprintf(d.e.out, "\n%d. %s\n", i+1, capital(s.title))
		if err := d.send(s); err != nil {
			return err
		}
		state, err := d.follow(s)
		if err != nil {
			return err
		}
		if state != s.state {
			fmt.Fprintf(d.e.out, "   ✗ état %q, attendu %q\n", state, s.state)
			wrong++
		}
	}
	n, err := d.incoming(len(scenes) + 1)
	if err != nil {
		return err
	}
	wrong += n
	fmt.Fprintf(d.e.out, "\nVerdict lu de l'extérieur (DMP par ITI-67/68, boîtes aux lettres par IMAP, établissement par la liste de ses messages)\n")
	for _, x := range expected {
		if err := d.inDMP(x); err != nil {
			fmt.Fprintf(d.e.out, "   ✗ DMP : %s : %v\n", x.title, err)
			wrong++
		} else {
			fmt.Fprintf(d.e.out, "   ✓ DMP : %s : %s\n", x.title, map[string]string{
				"": "absent, comme attendu", "current": "présent et en vigueur, octets identiques", "superseded": "remplacé, conservé comme ancienne version",
			}[x.status])
		}
	}
	for _, s := range scenes {
		for _, l := range s.letters {
			if err := d.inMailbox(l); err != nil {
				fmt.Fprintf(d.e.out, "   ✗ Boîte : %s : %v\n", l.title, err)
				wrong++
			} else {
				fmt.Fprintf(d.e.out, "   ✓ Boîte : %s : reçu une fois, document aux octets identiques\n", l.title)
			}
		}
	}
	if n, err = d.atHospital(scenes); err != nil {
		return err
	}
	wrong += n
	if wrong > 0 {
		fmt.Fprintf(d.e.out, "\n%d écart(s) entre ce qui était attendu et ce que l'extérieur montre.\n", wrong)
		return errWrong
	}
	fmt.Fprintf(d.e.out, "\nDémonstration réussie en %s : %d messages et deux courriels reçus, tout est conforme à ce que l'extérieur montre.\n",
		d.e.clock().Sub(started).Round(10*time.Millisecond), len(scenes))
	return nil
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// send delivers one message by MLLP and reads the acknowledgement.
func (d *demo) send(s *scene) error {
	ctx, cancel := context.WithTimeout(d.e.ctx, 30*time.Second)
	defer cancel()
	d.line("→ HL7 ", "%s, %d Ko", s.control, (len(s.message)+1023)/1024)
	ack, err := sim.SendMLLP(ctx, d.info.Gateway.MLLP, s.message)
	if err != nil {
		return err
	}
	code, id := field(ack, "MSA", 1), field(ack, "MSA", 3)
	s.id = id
	switch code {
	case "AA":
		d.line("← ACK ", "AA : pris en charge durablement, soumission %s", id)
	default:
		d.line("← ACK ", "%s : %s", code, field(ack, "ERR", 8))
	}
	if code != s.ack {
		return fmt.Errorf("acquittement %s, attendu %s", code, s.ack)
	}
	if echo := field(ack, "MSA", 2); echo != s.control {
		return fmt.Errorf("MSA-2 %q ne répond pas à %q", echo, s.control)
	}
	return nil
}

// follow shows the timeline of one submission as it grows, until every delivery
// has ended.
func (d *demo) follow(s *scene) (state string, err error) {
	deadline := time.NewTimer(60 * time.Second)
	defer deadline.Stop()
	shown := int64(0)
	for {
		var v struct {
			State      string `json:"state"`
			Deliveries []struct {
				State string `json:"state"`
			} `json:"deliveries"`
			Events []struct {
				Seq     int64  `json:"seq"`
				Step    string `json:"step"`
				Outcome string `json:"outcome"`
				Code    string `json:"code"`
				Text    string `json:"text"`
			} `json:"events"`
		}
		if err := getJSON(d.e.ctx, d.machine, d.info.Gateway.HTTPS+"/v1/submissions/"+s.id, "", &v); err != nil {
			return "", err
		}
		for _, e := range v.Events {
			if e.Seq <= shown || e.Step == "accepted" && e.Outcome == "ok" || e.Step == "refused" {
				shown = max(shown, e.Seq)
				continue
			}
			shown = e.Seq
			text := e.Text
			if e.Code != "" {
				text = e.Code + " : " + text
			}
			d.line(map[string]string{
				"dmp": "→ DMP ", "zam": "→ ZAM ", "mail": "→ MSS ", "dsn": "← DSN ", "mdn": "← MDN ", "accepted": "  note",
			}[e.Step], "%s", text)
		}
		open := v.State == "pending"
		for _, del := range v.Deliveries {
			open = open || del.State == "due" || del.State == "waiting"
		}
		if !open {
			return v.State, nil
		}
		select {
		case <-d.e.ctx.Done():
			return "", d.e.ctx.Err()
		case <-deadline.C:
			return "", fmt.Errorf("%s : pas de fin après une minute", s.control)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *demo) line(what, format string, args ...any) {
	fmt.Fprintf(d.e.out, "   %s  %s  %s\n", d.e.clock().Format("15:04:05.000"), what, fmt.Sprintf(format, args...))
}

// inDMP looks one document up as the professional would: ITI-67, then ITI-68.
func (d *demo) inDMP(x expectation) error {
	form := url.Values{
		"patient.identifier": {"urn:oid:" + x.patient.OID + "|" + x.patient.Matricule},
		"identifier":         {"urn:ietf:rfc:3986|urn:oid:" + x.id},
	}
	var bundle struct {
		Total int `json:"total"`
		Entry []struct {
			Resource struct {
				Status  string `json:"status"`
				Content []struct {
					Attachment struct {
						URL         string `json:"url"`
						ContentType string `json:"contentType"`
					} `json:"attachment"`
				} `json:"content"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if err := d.search(form, &bundle); err != nil {
		return err
	}
	if x.status == "" {
		if bundle.Total != 0 {
			return errors.New("il y est, il ne devrait pas")
		}
		return nil
	}
	if bundle.Total != 1 || len(bundle.Entry) != 1 {
		return fmt.Errorf("%d document(s) trouvé(s)", bundle.Total)
	}
	r := bundle.Entry[0].Resource
	if r.Status != x.status {
		return fmt.Errorf("statut %q, attendu %q", r.Status, x.status)
	}
	if x.status != "current" {
		return nil
	}
	at := r.Content[0].Attachment
	link := at.URL
	if !strings.Contains(link, "://") {
		link = d.info.DMP.FHIR + "/" + link
	}
	got, err := d.get(link, at.ContentType)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, x.content) {
		return errors.New("les octets relus ne sont pas ceux qui ont été envoyés")
	}
	return nil
}

func (d *demo) search(form url.Values, v any) error {
	req, err := http.NewRequestWithContext(d.e.ctx, http.MethodPost, d.info.DMP.FHIR+"/DocumentReference/_search", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+d.bearer)
	return doJSON(d.person, req, v)
}

func (d *demo) get(link, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(d.e.ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Authorization", "Bearer "+d.bearer)
	return do(d.person, req)
}

// atHospital counts the acknowledgements that the hospital's own list shows:
// exactly one ZAM a message that wanted one, with the expected answer.
func (d *demo) atHospital(scenes []*scene) (wrong int, err error) {
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	if err := getJSON(d.e.ctx, http.DefaultClient, d.info.Hospital.Messages, "", &list); err != nil {
		return 0, err
	}
	got := map[string]map[string]string{} // answered MSH-10 → ZAM MSH-10 → what it says
	for _, m := range list.Messages {
		raw := []byte(m.Raw)
		answers := field(raw, "OBX", 4)
		if got[answers] == nil {
			got[answers] = map[string]string{}
		}
		event := strings.Split(field(raw, "MSH", 9)+"^^", "^")[1]
		answer, _, _ := strings.Cut(field(raw, "OBX", 5), "^")
		got[answers][field(raw, "MSH", 10)] = event + " " + answer
	}
	for _, s := range scenes {
		said := strings.Join(slices.Sorted(maps.Values(got[s.control])), ", ")
		if said != s.zam {
			fmt.Fprintf(d.e.out, "   ✗ Établissement : %s : ZAM reçus : %q, attendu %q\n", s.control, said, s.zam)
			wrong++
			continue
		}
		if said == "" {
			said = "aucun, comme attendu (refus à la porte)"
		}
		fmt.Fprintf(d.e.out, "   ✓ Établissement : %s : ZAM reçus : %s\n", s.control, said)
	}
	return wrong, nil
}

func getJSON(ctx context.Context, c *http.Client, link, bearer string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return doJSON(c, req, v)
}

func doJSON(c *http.Client, req *http.Request, v any) error {
	body, err := do(c, req)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

func do(c *http.Client, req *http.Request) ([]byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s : %s", req.Method, req.URL.Path, resp.Status)
	}
	return body, nil
}
