//go:build !nosandbox

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// someone is a person as a sender or a register may hold them: the status and
// the attributes in the words of each door, and what else may be wrong.
type someone struct {
	held       string // for people: what is special about them
	qualified  bool
	status     ins.Status
	attributes []string
	pid32      []string
	oid        ins.OID                 // of the test NIR if empty
	change     func(*testdata.Patient) // what is missing or wrong
}

// everybody is one of every way of being qualified, or not. An attribute of RNIV
// that only warns (homonyms) does not take a qualification away.
func everybody() (all []someone) {
	add := func(s someone) { all = append(all, s) }
	add(someone{held: "QUAL", qualified: true, status: ins.Qualified, pid32: []string{"VALI"}})
	add(someone{held: "QUAL, homonym", qualified: true, status: ins.Qualified, attributes: []string{"HOMO"}, pid32: []string{"VALI", "HOMO"}})
	add(someone{held: "PROV", status: ins.Provisional, pid32: []string{"PROV"}})
	add(someone{held: "RECUP", status: ins.Retrieved, pid32: []string{"PROV"}})
	add(someone{held: "VALI", status: ins.Validated, pid32: []string{"PROV", "VALI"}})
	add(someone{held: "no status", pid32: []string{}})
	add(someone{held: "an unknown status", status: "CERTAIN", pid32: []string{"CERTAIN"}})
	for _, a := range ins.DefaultBlocking() {
		add(someone{held: "QUAL, " + a, status: ins.Qualified, attributes: []string{a}, pid32: []string{"VALI", a}})
	}
	qual := func(held string, oid ins.OID, change func(*testdata.Patient)) {
		add(someone{held: held, status: ins.Qualified, pid32: []string{"VALI"}, oid: oid, change: change})
	}
	qual("INS-C", "1.2.250.1.213.1.4.2", nil)
	qual("an OID that assigns nothing", "1.2.250.1.213.1.4.999", nil)
	qual("an OID of others", "1.2.250.1.999.77", nil)
	qual("a wrong key on the OID of the NIR", ins.OIDNIR, func(p *testdata.Patient) { p.Matricule = p.Matricule[:13] + "00" })
	qual("a wrong key on the OID of the NIA", ins.OIDNIA, func(p *testdata.Patient) { p.Matricule = p.Matricule[:13] + "00" })
	qual("without key", "", func(p *testdata.Patient) { p.Matricule = p.Matricule[:13] })
	qual("sex unknown", "", func(p *testdata.Patient) { p.Sex = "U" })
	qual("birth place missing", "", func(p *testdata.Patient) { p.BirthPlace = "" })
	qual("list of given names missing", "", func(p *testdata.Patient) { p.GivenNames = "" })
	return all
}

const inTarget = "in recordTarget"

// The doors, the destinations that can be asked for, and where a matricule may
// hide in a document whose recordTarget has none.
var (
	doors        = []string{"ORU", "MDM", "REST CDA", "REST PDF", "ITI-65", "ITI-105"}
	destinations = []string{"dmp", "professional", "patient"}
	hidings      = map[string]func(j *journey){
		inTarget: func(*journey) {},
		"in recordTarget only, the envelope has none": func(j *journey) { j.envelopeNoINS = true },
		"as a local identifier":                       hideID("1.2.250.1.999.77", "<recordTarget><patientRole>"),
		"as an INS-C":                                 hideID("1.2.250.1.213.1.4.2", "<recordTarget><patientRole>"),
		"of a recipient named in the document":        hideRecipient,
		"in the title":                                func(j *journey) { j.hidden(); j.document.Title = "Compte rendu " + j.patient.Matricule },
		"printed in the PDF": func(j *journey) {
			j.hidden()
			j.document.PDF = testdata.PDF("Compte rendu", []string{"INS : " + grouped(j.patient.Matricule)})
		},
		"in the text of the letter":                    func(j *journey) { j.hidden(); j.body = "Votre patient, INS " + grouped(j.patient.Matricule) },
		"as the number of the file":                    func(j *journey) { j.hidden(); j.fileNumber = j.patient.Matricule },
		"in the mailbox of a patient among physicians": func(j *journey) { j.hidden(); j.address = j.patient.Matricule + "@patient.mssante.fr" },
	}
)

func grouped(m string) string {
	if len(m) != 15 {
		return m
	}
	return strings.Join([]string{m[:1], m[1:3], m[3:5], m[5:7], m[7:10], m[10:13], m[13:]}, " ")
}

// hidden takes the matricule out of recordTarget: the envelope still names it.
func (j *journey) hidden() { j.document.NoINS = true }

func hideID(root, after string) func(*journey) {
	return func(j *journey) {
		j.hidden()
		j.edit = func(doc string) string {
			return strings.Replace(doc, after, after+`<id root="`+root+`" extension="`+j.patient.Matricule+`"/>`, 1)
		}
	}
}

func hideRecipient(j *journey) {
	j.hidden()
	j.edit = func(doc string) string {
		return strings.Replace(doc, "<legalAuthenticator", `<informationRecipient><intendedRecipient><id root="`+j.patient.OID+`" extension="`+
			j.patient.Matricule+`"/></intendedRecipient></informationRecipient><legalAuthenticator`, 1)
	}
}

// hidingNames are those of the hidings, in order.
func hidingNames() []string { return slices.Sorted(maps.Keys(hidings)) }

// qualifiedProtocols are those on which a matricule may leave.
var qualifiedProtocols = []string{
	"fhir out (DMP)", "smtp to a professional", "smtp to the patient", "smtp, receipt to a sender", "hl7 out, MDM", "hl7 out, ZAM",
}

// journey is one document on its way: who, by which door, where to.
type journey struct {
	who    someone
	door   string
	to     []string
	hiding string
	level  int
	action string

	patient       testdata.Patient
	document      testdata.CDAOptions
	control       string
	envelopeNoINS bool
	edit          func(string) string
	body          string
	fileNumber    string
	address       string // of the professional
}

func (j journey) String() string {
	return fmt.Sprintf("%s by %s to %s, matricule %s, level %d, %s", j.who.held, j.door, strings.Join(j.to, " and "), j.hiding, j.level, j.action)
}

// crowd is a running gateway among taps, and everybody whose matricule must or
// must not be heard.
type crowd struct {
	*route
	wire *wire

	next   int
	own    map[string]string  // the 13 characters of each matricule → whole
	who    map[string]journey // by matricule
	held   []journey          // what the hospital holds, for the letters received
	heard  map[string]map[string]bool
	volume int
}

// newCrowd starts a gateway all of whose ports are tapped.
func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{route: &route{rehearsal: newRehearsal(t), log: &logText{}}, own: map[string]string{}, who: map[string]journey{}, heard: map[string]map[string]bool{}}
	c.wire = newWire(t, c.rehearsal)
	cfg := &c.w.config
	c.wire.tapped(cfg)
	cfg.MSS.Poll = 30 * time.Millisecond
	c.hold(cfg)
	if p := cfg.problems(time.Now()); len(p) > 0 {
		t.Fatal(p)
	}
	c.m = &Main{Config: *cfg, Clock: time.Now, Random: rand.Reader, Log: c.log.talkative(t, "the gateway")}
	if err := c.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			log := c.log.String()
			t.Logf("the end of the log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	c.client = c.wire.listening("rest answers", c.client)
	return c
}

// hold writes the file of the people whom the hospital holds: one of each kind.
func (c *crowd) hold(cfg *Config) {
	var candidates []ins.Candidate
	for _, who := range everybody() {
		j := journey{who: who, door: "mail", hiding: inTarget, level: 1, action: testdata.New}
		c.meet(&j)
		c.held = append(c.held, j)
		candidates = append(candidates, ins.Candidate{Identity: j.identity(true)})
	}
	data, err := json.Marshal(candidates)
	if err != nil {
		c.t.Fatal(err)
	}
	cfg.MSS.Identities = filepath.Join(c.t.TempDir(), "identites.json")
	if err := os.WriteFile(cfg.MSS.Identities, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// meet makes a person whom nobody else is.
func (c *crowd) meet(j *journey) {
	c.next++
	p := testdata.Patients()[0]
	body := fmt.Sprintf("280%02d63113%03d", 1+c.next/900%12, 1+c.next%900)
	key, ok := ins.Key(body)
	if !ok {
		c.t.Fatal("no matricule: ", body)
	}
	p.ID, p.Matricule, p.IPP = "", body+fmt.Sprintf("%02d", key), strconv.Itoa(700000+c.next)
	p.BirthName = "ESSAI" + strings.Map(func(d rune) rune { return 'A' + d - '0' }, strconv.Itoa(1000+c.next))
	if j.who.oid != "" {
		p.OID = string(j.who.oid)
	}
	if j.who.change != nil {
		j.who.change(&p)
	}
	j.patient, j.control = p, fmt.Sprintf("FIL-%d-%d", os.Getpid(), c.next)
	j.document = testdata.CDAOptions{ID: testdata.DocumentID(9000 + c.next), Level: j.level, NoPDFCopy: j.level == 3, Patient: p}
	if j.action == testdata.Replace {
		j.document.Replaces = testdata.DocumentID(9000)
	}
	j.address = testdata.Personas()[0].Mailbox
	c.own[p.Matricule[:13]] = p.Matricule
	hidings[j.hiding](j)
	c.who[p.Matricule] = *j
}

// identity is the person in the words of our own doors.
func (j journey) identity(local bool) ins.Identity {
	p := j.patient
	id := ins.Identity{Matricule: p.Matricule, OID: ins.OID(p.OID), Status: j.who.status, Attributes: j.who.attributes, Traits: ins.Traits{
		BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames, BirthDate: p.BirthDate, Sex: p.Sex, BirthPlace: p.BirthPlace}}
	if local {
		id.Local = []ins.LocalID{{Value: p.IPP, Authority: testdata.Establishments()[0].IPPOID}}
	}
	if j.envelopeNoINS {
		id.Matricule, id.OID = "", ""
	}
	return id
}

func (j journey) asks(destination string) bool { return slices.Contains(j.to, destination) }

// cda is the document, with what was hidden in it.
func (j journey) cda() []byte {
	doc := string(testdata.CDA(j.document))
	if j.edit != nil {
		doc = j.edit(doc)
	}
	return []byte(doc)
}

// play sends one document, waits until nothing more will come of it, and listens
// to what was said meanwhile.
func (c *crowd) play(j journey) {
	c.t.Helper()
	id := ""
	switch j.door {
	case "ORU", "MDM":
		id = c.byHL7(j)
	case "REST CDA", "REST PDF":
		id = c.byREST(j)
	case "ITI-65", "ITI-105":
		id = c.byFHIR(j)
	case "mail":
		id = c.byMail(j)
	}
	if id != "" {
		c.ended(id)
		c.getJSON(c.client, "https://"+c.m.HTTPS+"/v1/submissions/"+id+"/events", &struct{}{})
	}
	c.listen()
}

// listen searches what was said since the last time.
func (c *crowd) listen() {
	c.volume += c.wire.news(func(protocol string, data []byte) {
		if c.heard[protocol] == nil {
			c.heard[protocol] = map[string]bool{}
		}
		maps.Copy(c.heard[protocol], spoken(data, c.own))
	})
}

// leaks are the protocols on which the matricule of somebody who is not
// qualified was heard, each with the first journey that did it.
func (c *crowd) leaks() map[string][]string {
	found := map[string][]string{}
	for protocol, all := range c.heard {
		for m := range all {
			if j := c.who[m]; !j.mayBeHeard() {
				found[protocol] = append(found[protocol], j.String())
			}
		}
		slices.Sort(found[protocol])
	}
	return found
}

// mayBeHeard: the person is qualified, and the envelope says so of the person
// whom it names.
func (j journey) mayBeHeard() bool { return j.who.qualified && !j.envelopeNoINS }

// corners are journeys that no chance leaves out: everybody, and every hiding, by
// two doors of different kinds.
func corners(kinds int) (all []journey) {
	for i, who := range everybody()[:kinds] {
		for _, door := range []string{doors[i%6], doors[(i+3)%6]} {
			all = append(all, journey{who: who, door: door, to: destinations, hiding: inTarget, level: 1 + 2*(i%2), action: testdata.New})
		}
	}
	for i, hiding := range hidingNames() {
		for _, door := range []string{doors[i%2], "REST CDA"} {
			all = append(all, journey{who: everybody()[2], door: door, to: []string{"professional"}, hiding: hiding, level: 1, action: testdata.New})
		}
	}
	return all
}

// walk plays the letters received and the corners, of so many kinds of people, and
// one login, so that every port has spoken.
func (c *crowd) walk(kinds int) {
	c.t.Helper()
	for _, j := range append(slices.Clone(c.held[:kinds]), corners(kinds)...) {
		if j.door != "mail" {
			c.meet(&j)
		}
		c.play(j)
	}
	c.token(testdata.Personas()[0].ID, "gateway")
	c.listen()
}

// table says on which protocols whose matricule was heard.
func (c *crowd) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "protocol\tqualified\tnot qualified")
	leaks := c.leaks()
	for _, protocol := range slices.Sorted(maps.Keys(c.heard)) {
		fmt.Fprintf(w, "%s\t%d\t%d\n", protocol, len(c.heard[protocol])-len(leaks[protocol]), len(leaks[protocol]))
	}
	_ = w.Flush()
	return fmt.Sprintf("%d bytes left the gateway during the journeys of %d people\n%s", c.volume, c.next, &b)
}

func (c *crowd) byHL7(j journey) string {
	flag := func(destination string) string {
		return map[bool]string{true: "Y", false: "N"}[j.asks(destination)]
	}
	o := testdata.MessageOptions{
		ControlID: j.control, Patient: j.patient, NoINS: j.envelopeNoINS, Reliability: j.who.pid32, Document: j.document, Content: j.cda(), Action: j.action,
		BodyProfessional: j.body, Flags: testdata.Flags{"DESTDMP": flag("dmp"), "DESTMSSANTEPS": flag("professional"), "DESTMSSANTEPAT": flag("patient"), "ACK_LECTURE_MSS": "Y"},
		Recipients: []testdata.Recipient{
			{Address: j.address, Persona: testdata.Personas()[0]},
			{Address: j.patient.Matricule + "@patient.mssante.fr", Patient: j.patient},
		},
		Edit: func(segments []string) []string {
			for i, s := range segments {
				if f := strings.Split(s, "|"); f[0] == "PID" && j.fileNumber != "" {
					f[18] = j.fileNumber
					segments[i] = strings.Join(f, "|")
				}
			}
			return segments
		},
	}
	message := testdata.MDM(o)
	if j.door == "ORU" {
		message = testdata.ORU(o)
	}
	ack := c.send(message)
	_, _ = c.wire.begin("hl7 acknowledgements").Write(ack)
	if msa, _ := verdict(ack); msa != "AA" {
		return ""
	}
	return field(ack, "MSA", 3)
}

func (c *crowd) byREST(j journey) string {
	p := testdata.Personas()[0]
	recipients := []any{}
	if j.asks("professional") {
		recipients = append(recipients, map[string]any{"kind": "professional", "address": j.address})
	}
	if j.asks("patient") {
		recipients = append(recipients, map[string]any{"kind": "patient", "address": j.patient.Matricule + "@patient.mssante.fr"})
	}
	envelope := map[string]any{
		"action": j.action, "patient": j.identity(false), "recipients": recipients, "messages": map[string]any{"professional": j.body},
		"flags":  map[string]any{"destdmp": j.asks("dmp"), "destmssanteps": j.asks("professional"), "destmssantepat": j.asks("patient")},
		"author": map[string]any{"id": map[string]any{"extension": p.NationalID}, "family": p.Family, "given": p.Given, "prefix": p.Prefix, "suffix": p.Suffix},
		"act":    map[string]any{"file_number": j.fileNumber},
	}
	document := j.cda()
	if j.door == "REST PDF" {
		document = j.document.PDF
		if document == nil {
			document = testdata.PDF("Compte rendu d'essai", []string{"Rien à signaler."})
		}
		envelope["author"].(map[string]any)["specialty"] = map[string]any{"code": p.Specialty, "display": p.SpecialtyDisplay}
		title := j.document.Title
		if title == "" {
			title = "Compte rendu d'essai"
		}
		envelope["document"] = map[string]any{"id": map[string]any{"root": j.document.ID}, "created": "2026-01-05T09:15:00+01:00", "title": title,
			"type": map[string]any{"code": "11488-4", "display": "CR ou fiche de consultation ou de visite"}}
		envelope["act"] = map[string]any{"start": "2026-01-05T07:30:00+01:00", "class": "O", "file_number": j.fileNumber,
			"practice_setting": map[string]any{"code": "ETABLISSEMENT", "display": "Etablissement de santé"},
			"facility":         map[string]any{"code": "SA01", "display": "Etablissement public de santé"}}
	}
	data, err := json.Marshal(envelope)
	if err != nil {
		c.t.Fatal(err)
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for name, part := range map[string][]byte{"envelope": data, "document": document} {
		w, err := form.CreateFormFile(name, "f")
		if err != nil {
			c.t.Fatal(err)
		}
		_, _ = w.Write(part)
	}
	_ = form.Close()
	c.post("/v1/submissions?dry_run=1", form.FormDataContentType(), b.Bytes())
	return c.post("/v1/submissions", form.FormDataContentType(), b.Bytes())
}

// post gives the id of what was accepted.
func (c *crowd) post(path, kind string, body []byte) string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "https://"+c.m.HTTPS+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Prefer", "respond-async")
	a, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer a.Body.Close()
	said, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if a.StatusCode == http.StatusBadRequest || a.StatusCode >= 500 {
		c.t.Fatalf("%s: %d %s", path, a.StatusCode, said)
	}
	if a.StatusCode >= 300 {
		return ""
	}
	return a.Header.Get("X-Passerelle-Submission")
}

func (c *crowd) byFHIR(j journey) string {
	content := j.cda()
	doc, err := cda.Read(content)
	if err != nil {
		c.t.Fatal(err)
	}
	md, _ := doc.Metadata(content)
	who := j.identity(false)
	house, p := testdata.Establishments()[0], testdata.Personas()[0]
	md.Patient = who
	raw, err := fhir.BuildITI65(dmp.Deposit{
		Caller: dmp.Caller{Establishment: gateway.Establishment{Name: house.Name, FINESSEJ: house.FINESSEJ, FINESSGeo: house.FINESSGeo, SourceOID: house.SourceOID},
			Requester: dmp.Requester{Person: &dmp.Person{ID: dmp.ID{Root: dmp.OIDPerson, Extension: p.NationalID}, Family: p.Family, Given: p.Given}}},
		LotID: dmp.ID{Root: j.document.ID + ".9"}, EntryUUID: fmt.Sprintf("urn:uuid:00000000-0000-4000-8000-%012d", c.next),
		Submitted: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Patient: who, ContentType: dmp.Code{Code: "07", System: "1.2.250.1.213.2.2"},
		Documents: []dmp.DepositDocument{{Metadata: md, Content: content}},
	})
	if err != nil {
		return "" // no bundle names such a person: nothing to send
	}
	var bundle struct {
		ResourceType string           `json:"resourceType"`
		Type         string           `json:"type"`
		Entry        []map[string]any `json:"entry"`
	}
	if err := json.Unmarshal(raw, &bundle); err != nil {
		c.t.Fatal(err)
	}
	resource := func(kind string) map[string]any {
		for _, e := range bundle.Entry {
			if r := e["resource"].(map[string]any); r["resourceType"] == kind {
				return r
			}
		}
		return nil
	}
	reference := resource("DocumentReference")
	for _, one := range reference["contained"].([]any) {
		if patient := one.(map[string]any); patient["resourceType"] == "Patient" {
			j.reliability(patient)
		}
	}
	if j.door == "ITI-105" {
		at := reference["content"].([]any)[0].(map[string]any)["attachment"].(map[string]any)
		delete(at, "url")
		at["data"] = base64.StdEncoding.EncodeToString(content)
		return c.post("/fhir/DocumentReference", fhir.MediaType, c.json(reference))
	}
	list := resource("List")
	for _, to := range []struct{ destination, kind, address string }{
		{"professional", "Practitioner", j.address}, {"patient", "Patient", j.patient.Matricule + "@patient.mssante.fr"},
	} {
		if !j.asks(to.destination) {
			continue
		}
		list["contained"] = append(list["contained"].([]any), map[string]any{"resourceType": to.kind, "id": to.destination,
			"telecom": []any{map[string]any{"system": "email", "value": "mailto:" + to.address}}})
		list["extension"] = append(list["extension"].([]any), map[string]any{"url": fhir.ExtIntendedRecipient, "valueReference": map[string]any{"reference": "#" + to.destination}})
	}
	return c.post("/fhir", fhir.MediaType, c.json(bundle))
}

// reliability says in FHIR what PID-32 says in HL7. A bundle that says nothing
// counts as qualified, by contract of its sender: a person of no status gets the
// one that has none.
func (j journey) reliability(patient map[string]any) {
	if j.who.qualified && len(j.who.attributes) == 0 {
		return
	}
	var parts []any
	status := string(j.who.status)
	if status == "" {
		status = "PROV"
	}
	for _, code := range append([]string{status}, j.who.attributes...) {
		parts = append(parts, map[string]any{"url": "identityStatus", "valueCoding": map[string]any{"code": code}})
	}
	known, _ := patient["extension"].([]any)
	patient["extension"] = append(known, map[string]any{"url": "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-identity-reliability", "extension": parts})
}

func (c *crowd) json(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// byMail lets a correspondent write about somebody whom the hospital holds.
func (c *crowd) byMail(j journey) string {
	id := j.control + "@test-ci-sis.mssante.fr"
	c.drop(testdata.Letter(testdata.LetterOptions{MessageID: id, To: c.w.info.Operator.GatewayMailbox, WantMDN: true, Document: j.document}))
	var all []listed
	waitFor(c.t, func() bool { all = c.listed(id); return len(all) > 0 })
	return all[0].ID
}
