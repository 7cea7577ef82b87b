//go:build !nosandbox

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/xdm"
	"github.com/passerelle-sante/passerelle/testdata"
)

// killStep is one place of the route at which the gateway is killed.
type killStep struct {
	name string
	trap gateway.Step // in the child, or empty when it is seen from outside
	// outside prepares the world and returns a function that waits until the
	// step is reached; used when trap is empty.
	outside func(r *rehearsal, message []byte) (reached func(context.Context) error, undo func())
	times   int
	mail    bool // the message also asks for a letter to a professional
	receive bool // a correspondent's letter comes instead of a message
}

var killSteps = []killStep{
	{name: "frame half read", times: 4, outside: halfFrame},
	{name: "bytes fsynced", trap: gateway.StepStored, times: 4},
	{name: "committed, ACK unsent", trap: gateway.StepCommitted, times: 4},
	{name: "ACK sent", trap: gateway.StepAcked, times: 4},
	{name: "lease taken", trap: gateway.StepLeased, times: 4},
	{name: "DMP request sent, not processed", times: 3, outside: holdDMP(sim.Before)},
	{name: "DMP request processed, no answer", times: 3, outside: holdDMP(sim.After)},
	{name: "answer received, outcome unwritten", trap: gateway.StepAnswered, times: 4},
	{name: "Z01 sent, unacknowledged", times: 4, outside: silentHospital},
	{name: "letter kept, not submitted", trap: gateway.StepSubmitted, mail: true, times: 3},
	{name: "letter submitted, final dot lost before", times: 3, mail: true, outside: loseFinalDot(sim.Before)},
	{name: "letter submitted, final dot lost after", times: 3, mail: true, outside: loseFinalDot(sim.After)},
	{name: "operator replied, outcome unwritten", trap: gateway.StepPosted, mail: true, times: 3},
	{name: "received document filed, outcome unwritten", trap: gateway.StepFiled, receive: true, times: 3},
	{name: "mail received, anywhere", receive: true, times: 3},
	{name: "anywhere", mail: true, times: 20},
}

// halfFrame sends the first half of the message on a connection that stays open.
func halfFrame(r *rehearsal, message []byte) (func(context.Context) error, func()) {
	conn, err := net.Dial("tcp", r.w.config.HL7[0].Listen)
	if err != nil {
		r.t.Fatal(err)
	}
	return func(ctx context.Context) error {
		if _, err := conn.Write(frame(message)[:len(message)/2]); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // let it be read
		return ctx.Err()
	}, func() { _ = conn.Close() }
}

// holdDMP makes the DMP receive the deposit, process it or not, and say nothing.
func holdDMP(when string) func(*rehearsal, []byte) (func(context.Context) error, func()) {
	return func(r *rehearsal, _ []byte) (func(context.Context) error, func()) {
		r.control(http.MethodPut, "/dmp/faults", sim.Trouble{Mode: sim.Hold, When: when, Path: "/fhir"})
		return func(ctx context.Context) error {
				return r.until(ctx, func() bool { return r.w.sim.DMPCounters().Held > 0 })
			}, func() {
				r.control(http.MethodDelete, "/dmp/faults", nil)
			}
	}
}

// loseFinalDot makes the operator drop the connection after the final dot of
// DATA, the letter stored or not; the gateway is killed while it does not know.
func loseFinalDot(when string) func(*rehearsal, []byte) (func(context.Context) error, func()) {
	return func(r *rehearsal, _ []byte) (func(context.Context) error, func()) {
		before := r.w.sim.SMTPCounters().Received
		r.control(http.MethodPut, "/operator/smtp/faults", sim.Trouble{Mode: sim.Cut, Method: "DOT", When: when})
		return func(ctx context.Context) error {
				return r.until(ctx, func() bool { return r.w.sim.SMTPCounters().Received > before })
			}, func() {
				r.control(http.MethodDelete, "/operator/smtp/faults", nil)
			}
	}
}

// silentHospital makes the hospital keep the ZAM and not acknowledge it.
func silentHospital(r *rehearsal, message []byte) (func(context.Context) error, func()) {
	control := field(message, "MSH", 10)
	r.control(http.MethodPut, "/hospital/faults", sim.Trouble{Mode: sim.Silent})
	return func(ctx context.Context) error {
			return r.until(ctx, func() bool { return len(r.hospitalZAMs()[control]) > 0 })
		}, func() {
			r.control(http.MethodDelete, "/hospital/faults", nil)
		}
}

func (r *rehearsal) until(ctx context.Context, reached func() bool) error {
	for !reached() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Millisecond):
		}
	}
	return nil
}

// flow makes the messages of the kill test: of every five, three are new
// documents, one replaces the first of them and one deletes the second.
type flow struct {
	next     int
	all      []sent
	patient  testdata.Patient
	received []string // Message-ID of the letters of correspondents
	deposits []*deposited
}

type sent struct {
	control string
	message []byte
	doc     int // number of the document it brings or deletes
	content []byte
	want    string // what the DMP must hold of doc in the end
	mailed  bool   // a letter to the physician was asked for
}

func (f *flow) message(mail bool) sent {
	n := f.next
	f.next++
	o := testdata.MessageOptions{ControlID: "KILL-" + strconv.Itoa(n), Patient: f.patient, Document: testdata.CDAOptions{ID: testdata.DocumentID(1000 + n)}}
	s := sent{control: o.ControlID, doc: 1000 + n, want: "current", mailed: mail}
	if mail {
		to := testdata.Personas()[0]
		o.Recipients = []testdata.Recipient{{Address: to.Mailbox, Persona: to}}
		o.Flags = testdata.Flags{"DESTMSSANTEPS": "Y"}
	}
	switch n % 5 {
	case 3: // replaces the document of three messages ago
		o.Action, o.Document.Replaces = testdata.Replace, testdata.DocumentID(1000+n-3)
		f.all[n-3].want = "superseded"
	case 4: // deletes the document of three messages ago
		o.Action, o.Document.ID = testdata.Delete, testdata.DocumentID(1000+n-3)
		s.doc = 1000 + n - 3
		f.all[n-3].want, s.want = "", ""
	}
	if n%2 == 0 {
		o.Document.Level = 3
	}
	s.content = testdata.CDA(o.Document)
	if n%2 == 0 && n%5 != 4 {
		s.message = testdata.ORU(o)
	} else {
		s.message = testdata.MDM(o)
	}
	f.all = append(f.all, s)
	return s
}

// The gateway is killed by SIGKILL at every step of the route, over a flow of
// documents. Nothing accepted is lost and nothing is shown twice: documents are
// counted in the DMP, ZAM control ids at the hospital, submissions by /v1.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the kill test starts and kills some fifty processes")
	}
	r := newRehearsal(t)
	told, conf := newSoftware(t)
	hooked := r.w.config
	hooked.Establishments[0].Webhook = conf
	if err := writeConfig(r.config, hooked); err != nil {
		t.Fatal(err)
	}
	f := &flow{patient: testdata.Patients()[0]}
	random := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	kills, table := 0, &bytes.Buffer{}
	w := tabwriter.NewWriter(table, 2, 4, 2, ' ', 0)
	fmt.Fprintln(w, "step\tkills")
	for _, step := range killSteps {
		for range step.times {
			if step.receive {
				r.killReceiving(step, f, random)
			} else {
				r.killOnce(step, f, random)
			}
			kills++
		}
		fmt.Fprintf(w, "%s\t%d\n", step.name, step.times)
	}

	last := startChild(t, r.config, "")
	defer last.kill()
	r.drain(f)
	r.count(f)
	letters, copies := r.countLetters(f)
	r.countReceived(f)
	r.countDeposits(f)
	events := r.countTold(f, told)
	_ = w.Flush()
	t.Logf("%d kills by SIGKILL: %d messages, %d letters sent, %d letters received, %d deposits, %d events told by webhook; none lost, none shown twice; %d physical resends\n%s",
		kills, len(f.all), letters, len(f.received), len(f.deposits), events, copies-letters, table)
	if kills < 50 {
		t.Errorf("only %d kills", kills)
	}
}

// killOnce starts the gateway, lets messages flow, kills at the step, and sends
// them to the end in a second life. At a named step one message flows; anywhere,
// three at once.
func (r *rehearsal) killOnce(step killStep, f *flow, random *rand.Rand) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	first := startChild(r.t, r.config, step.trap)
	if step.outside != nil {
		r.drain(f) // so that what the world holds back is this message
	}
	flowing := []sent{f.message(step.mail)}
	var dep *deposited
	if step.trap == "" && step.outside == nil {
		flowing = append(flowing, f.message(step.mail), f.message(false))
		dep = r.newDeposit(f)
	}

	sending, stopSending := context.WithCancel(ctx)
	var answered sync.WaitGroup
	undo := func() {}
	var reached func(context.Context) error
	if step.outside != nil {
		reached, undo = step.outside(r, flowing[0].message)
	}
	if step.name != "frame half read" { // there, nobody sends the whole before the kill
		for _, m := range flowing {
			answered.Go(func() { _, _ = r.sendUntilAcknowledged(sending, m.message) })
		}
	}
	if dep != nil {
		answered.Go(func() { _ = dep.send(sending) })
	}
	var err error
	switch {
	case step.trap != "":
		select {
		case <-first.caught:
		case <-ctx.Done():
			err = ctx.Err()
		}
	case reached != nil:
		err = reached(ctx)
	default:
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
	}
	first.kill()
	stopSending()
	answered.Wait()
	undo()
	if err != nil {
		r.t.Fatalf("%s was not reached: %v\n%s", step.name, err, first.stderr)
	}

	// A second life: the sender, who may have seen no answer, sends it again.
	second := startChild(r.t, r.config, "")
	defer second.kill()
	for _, m := range flowing {
		ack, err := r.sendUntilAcknowledged(ctx, m.message)
		if err != nil {
			r.t.Fatalf("%s: %v\n%s", step.name, err, second.stderr)
		}
		if code := field(ack, "MSA", 1); code != "AA" || field(ack, "MSA", 2) != m.control {
			r.t.Fatalf("%s: acknowledged %s for %s\n%s", step.name, code, m.control, ack)
		}
	}
	if dep != nil {
		if err := dep.send(ctx); err != nil {
			r.t.Fatalf("%s: deposit: %v\n%s", step.name, err, second.stderr)
		}
	}
}

// submission is what /v1 lists.
type listed struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Code    string `json:"code"`
	Door    string `json:"door"`
	Message struct {
		ControlID string `json:"control_id"`
	} `json:"message"`
	Deliveries []delivery `json:"deliveries"`
}

type delivery struct {
	State string `json:"state"`
}

// open tells whether something is still to be brought somewhere.
func (l listed) open() bool {
	return slices.ContainsFunc(l.Deliveries, func(d delivery) bool { return d.State == "due" || d.State == "waiting" })
}

// drain waits until every submission has ended, its ZAM included.
func (r *rehearsal) drain(f *flow) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	for _, s := range f.all {
		err := r.until(ctx, func() bool {
			for _, l := range r.listed(s.control) {
				var one listed
				r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions/"+l.ID, &one)
				if one.open() {
					return false
				}
			}
			return true
		})
		if err != nil {
			r.t.Fatalf("%s does not end: %v", s.control, err)
		}
	}
	for _, d := range f.deposits {
		err := r.until(ctx, func() bool {
			var one listed
			r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions/"+d.id, &one)
			return !one.open()
		})
		if err != nil {
			r.t.Fatalf("deposit %s does not end: %v", d.id, err)
		}
	}
	err := r.until(ctx, func() bool { return r.receivedDone() >= len(f.received) })
	if err != nil {
		r.t.Fatalf("%d letters received of %d are done: %v", r.receivedDone(), len(f.received), err)
	}
}

// receivedDone counts the incoming letters that are entirely done.
func (r *rehearsal) receivedDone() (n int) {
	r.t.Helper()
	var page struct {
		Submissions []struct {
			ID, Door, State string
		} `json:"submissions"`
	}
	r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions?state=done&limit=200", &page)
	for _, s := range page.Submissions {
		if s.Door != gateway.DoorMail {
			continue
		}
		var one listed
		r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions/"+s.ID, &one)
		if !slices.ContainsFunc(one.Deliveries, func(d delivery) bool { return d.State == "due" }) {
			n++
		}
	}
	return n
}

func (r *rehearsal) listed(control string) []listed {
	r.t.Helper()
	var page struct {
		Submissions []listed `json:"submissions"`
	}
	r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions?control_id="+url.QueryEscape(control), &page)
	return page.Submissions
}

// count reads the outside: nothing lost, nothing twice.
func (r *rehearsal) count(f *flow) {
	r.t.Helper()
	d, err := newDemo(&env{ctx: r.t.Context(), out: &strings.Builder{}, clock: time.Now}, r.w.info)
	if err != nil {
		r.t.Fatal(err)
	}
	zams := r.hospitalZAMs()
	for _, s := range f.all {
		subs := r.listed(s.control)
		if len(subs) != 1 {
			r.t.Errorf("%s: %d submissions", s.control, len(subs))
		} else if subs[0].State != "done" {
			r.t.Errorf("%s: state %s", s.control, subs[0].State)
		}
		want := 1 // Z01
		if s.mailed {
			want++ // Z02
		}
		if n := len(zams[s.control]); n != want {
			r.t.Errorf("%s: %d distinct ZAM control ids, want %d: %v", s.control, n, want, zams[s.control])
		}
		if err := d.inDMP(expectation{s.control, f.patient, testdata.DocumentID(s.doc), s.want, s.content}); err != nil {
			r.t.Errorf("%s: document %d: %v", s.control, s.doc, err)
		}
	}
}

// killReceiving lets a correspondent's letter come and kills while it is
// treated.
func (r *rehearsal) killReceiving(step killStep, f *flow, random *rand.Rand) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	first := startChild(r.t, r.config, step.trap)
	n := len(f.received)
	id := fmt.Sprintf("recu-%d@test-ci-sis.mssante.fr", n)
	r.drop(testdata.Letter(testdata.LetterOptions{
		MessageID: id, From: testdata.Personas()[2].Mailbox, To: r.w.info.Operator.GatewayMailbox, WantMDN: true,
		Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(5000 + n)},
	}))
	f.received = append(f.received, id)
	var err error
	if step.trap != "" {
		select {
		case <-first.caught:
		case <-ctx.Done():
			err = ctx.Err()
		}
	} else {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
	}
	first.kill()
	if err != nil {
		r.t.Fatalf("%s was not reached: %v\n%s", step.name, err, first.stderr)
	}
}

// drop puts a letter into the gateway's mailbox.
func (r *rehearsal) drop(letter []byte) {
	r.t.Helper()
	link := r.w.info.Operator.Mailboxes + "/" + url.PathEscape(r.w.info.Operator.GatewayMailbox)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, link, bytes.NewReader(letter))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := do(http.DefaultClient, req); err != nil {
		r.t.Fatal(err)
	}
}

// inbox reads every mail of a mailbox, physical copies included.
func (r *rehearsal) inbox(address string) (all []*mss.Incoming) {
	r.t.Helper()
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	r.getJSON(http.DefaultClient, r.w.info.Operator.Mailboxes+"/"+url.PathEscape(address), &list)
	for _, m := range list.Messages {
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, m.Raw, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		raw, err := do(http.DefaultClient, req)
		if err != nil {
			r.t.Fatal(err)
		}
		in, err := mss.Read(raw, mss.DefaultLimits())
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, in)
	}
	return all
}

// countLetters counts the physician's mailbox: each document that asked for a
// letter is there under exactly one Message-ID. Physical copies may be more.
func (r *rehearsal) countLetters(f *flow) (letters, copies int) {
	r.t.Helper()
	found := map[string]map[string]bool{} // document → Message-ID
	for _, in := range r.inbox(testdata.Personas()[0].Mailbox) {
		data, err := in.Archive()
		if err != nil || data == nil {
			continue
		}
		copies++
		a, err := xdm.Unpack(data, xdm.DefaultLimits())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, d := range a.Documents {
			key := string(d.Content) + "/" + string(d.Action)
			if found[key] == nil {
				found[key] = map[string]bool{}
			}
			found[key][in.MessageID] = true
		}
	}
	for _, s := range f.all {
		if !s.mailed {
			continue
		}
		letters++
		n := 0
		for key, ids := range found {
			if strings.HasPrefix(key, string(s.content)+"/") {
				n += len(ids)
			}
		}
		if n != 1 {
			r.t.Errorf("%s: %d distinct letters to the physician", s.control, n)
		}
	}
	return letters, copies
}

// countReceived counts what became of the letters of correspondents: one MDM
// control id at the hospital, one read receipt.
func (r *rehearsal) countReceived(f *flow) {
	r.t.Helper()
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	r.getJSON(http.DefaultClient, r.w.info.Hospital.Messages, &list)
	receipts := map[string]map[string]bool{}
	for _, in := range r.inbox(testdata.Personas()[2].Mailbox) {
		if in.MDN == nil {
			continue
		}
		if receipts[in.MDN.OriginalMessageID] == nil {
			receipts[in.MDN.OriginalMessageID] = map[string]bool{}
		}
		receipts[in.MDN.OriginalMessageID][in.MessageID] = true
	}
	for _, id := range f.received {
		mdm := map[string]bool{}
		for _, m := range list.Messages {
			if strings.Contains(m.Raw, id+"^") {
				mdm[field([]byte(m.Raw), "MSH", 10)] = true
			}
		}
		if len(mdm) != 1 || len(receipts[id]) != 1 {
			r.t.Errorf("%s: %d MDM, %d read receipts", id, len(mdm), len(receipts[id]))
		}
	}
}
