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
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway"
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
	{name: "anywhere", times: 20},
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
	next    int
	all     []sent
	patient testdata.Patient
}

type sent struct {
	control string
	message []byte
	doc     int // number of the document it brings or deletes
	content []byte
	want    string // what the DMP must hold of doc in the end
}

func (f *flow) message() sent {
	n := f.next
	f.next++
	o := testdata.MessageOptions{ControlID: "KILL-" + strconv.Itoa(n), Patient: f.patient, Document: testdata.CDAOptions{ID: testdata.DocumentID(1000 + n)}}
	s := sent{control: o.ControlID, doc: 1000 + n, want: "current"}
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
	f := &flow{patient: testdata.Patients()[0]}
	random := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	kills, table := 0, &bytes.Buffer{}
	w := tabwriter.NewWriter(table, 2, 4, 2, ' ', 0)
	fmt.Fprintln(w, "step\tkills\tmessages")
	for _, step := range killSteps {
		before := f.next
		for range step.times {
			r.killOnce(step, f, random)
			kills++
		}
		fmt.Fprintf(w, "%s\t%d\t%d\n", step.name, step.times, f.next-before)
	}

	last := startChild(t, r.config, "")
	defer last.kill()
	r.drain(f)
	r.count(f)
	_ = w.Flush()
	t.Logf("%d kills by SIGKILL, %d messages, none lost, none twice\n%s", kills, len(f.all), table)
	if kills < 50 {
		t.Errorf("only %d kills", kills)
	}
}

// killOnce starts the gateway, lets a message flow, kills at the step, and
// sends the message to the end in a second life.
func (r *rehearsal) killOnce(step killStep, f *flow, random *rand.Rand) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	first := startChild(r.t, r.config, step.trap)
	if step.outside != nil {
		r.drain(f) // so that what the world holds back is this message
	}
	m := f.message()

	sending, stopSending := context.WithCancel(ctx)
	answered := make(chan error, 1)
	undo := func() {}
	var reached func(context.Context) error
	if step.outside != nil {
		reached, undo = step.outside(r, m.message)
	}
	if step.name != "frame half read" { // there, nobody sends the whole before the kill
		go func() { _, err := r.sendUntilAcknowledged(sending, m.message); answered <- err }()
	} else {
		answered <- context.Canceled
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
	<-answered
	undo()
	if err != nil {
		r.t.Fatalf("%s was not reached: %v\n%s", step.name, err, first.stderr)
	}

	// A second life: the sender, who may have seen no answer, sends it again.
	second := startChild(r.t, r.config, "")
	defer second.kill()
	ack, err := r.sendUntilAcknowledged(ctx, m.message)
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", step.name, err, second.stderr)
	}
	if code := field(ack, "MSA", 1); code != "AA" || field(ack, "MSA", 2) != m.control {
		r.t.Fatalf("%s: acknowledged %s for %s\n%s", step.name, code, m.control, ack)
	}
}

// submission is what /v1 lists.
type listed struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Message struct {
		ControlID string `json:"control_id"`
	} `json:"message"`
	Deliveries []struct {
		State string `json:"state"`
	} `json:"deliveries"`
}

// drain waits until every submission has ended, its ZAM included.
func (r *rehearsal) drain(f *flow) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 90*time.Second)
	defer cancel()
	for _, s := range f.all {
		err := r.until(ctx, func() bool {
			for _, l := range r.listed(s.control) {
				var one listed
				r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions/"+l.ID, &one)
				for _, d := range one.Deliveries {
					if d.State == "due" {
						return false
					}
				}
			}
			return true
		})
		if err != nil {
			r.t.Fatalf("%s does not end: %v", s.control, err)
		}
	}
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
		if n := len(zams[s.control]); n != 1 {
			r.t.Errorf("%s: %d distinct ZAM control ids: %v", s.control, n, zams[s.control])
		}
		if err := d.inDMP(expectation{s.control, f.patient, testdata.DocumentID(s.doc), s.want, s.content}); err != nil {
			r.t.Errorf("%s: document %d: %v", s.control, s.doc, err)
		}
	}
}
