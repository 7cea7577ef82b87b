//go:build !nosandbox

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// deposited is one document deposited by REST, under a key of its own: sent again
// after a kill, it is one submission.
type deposited struct {
	sender            *sender
	doc               int
	envelope, content []byte
	id                string // as first answered
}

func (r *rehearsal) newDeposit(f *flow) *deposited {
	r.t.Helper()
	d := &deposited{doc: 9000 + len(f.deposits)}
	d.content = testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(d.doc)})
	d.sender = &sender{submitCmd: &submitCmd{Lang: "fr", DMP: true, IdempotencyKey: fmt.Sprint("KILL-", d.doc)}, base: r.w.info.Gateway.HTTPS, client: r.client}
	var err error
	if d.envelope, err = d.sender.envelope("document.xml", d.content); err != nil {
		r.t.Fatal(err)
	}
	f.deposits = append(f.deposits, d)
	return d
}

// send resends until it is answered, as whoever holds a key must.
func (d *deposited) send(ctx context.Context) error {
	d.sender.e = &env{ctx: ctx, out: io.Discard, err: io.Discard, clock: time.Now}
	for {
		var out submitted
		err := d.sender.deposit(d.envelope, d.content, &out)
		switch {
		case err != nil:
		case out.ID == "":
			return fmt.Errorf("refused: %+v", out)
		case d.id != "" && d.id != out.ID:
			return fmt.Errorf("%s, and then %s under one key", d.id, out.ID)
		default:
			d.id = out.ID
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("never answered: %w", err)
		case <-time.After(15 * time.Millisecond):
		}
	}
}

// countDeposits: one submission a key, its document in the DMP.
func (r *rehearsal) countDeposits(f *flow) {
	r.t.Helper()
	var page struct {
		Submissions []struct{ ID, Door, State string } `json:"submissions"`
	}
	r.getJSON(r.client, r.w.info.Gateway.HTTPS+"/v1/submissions?limit=200", &page)
	states := map[string]string{}
	for _, s := range page.Submissions {
		if s.Door == "rest" {
			states[s.ID] = s.State
		}
	}
	demo, err := newDemo(&env{ctx: r.t.Context(), out: &strings.Builder{}, clock: time.Now}, r.w.info)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(states) != len(f.deposits) {
		r.t.Errorf("%d submissions by REST of %d deposits", len(states), len(f.deposits))
	}
	for _, d := range f.deposits {
		if states[d.id] != "done" {
			r.t.Errorf("deposit %d: state %q", d.doc, states[d.id])
		}
		if err := demo.inDMP(expectation{d.id, f.patient, testdata.DocumentID(d.doc), "current", d.content}); err != nil {
			r.t.Errorf("deposit %d: %v", d.doc, err)
		}
	}
}

// countTold: each outcome reached the establishment's software under one id and
// in the same words, however often it was told.
func (r *rehearsal) countTold(f *flow, s *software) (events int) {
	r.t.Helper()
	_, bodies := s.told()
	words := map[string]string{}         // id → body
	ids := map[string]map[string]bool{}  // submission → ids
	lines := map[string]map[string]int{} // submission → step → how many ids
	for _, body := range bodies {
		var told struct {
			ID         string
			Submission struct{ ID string }
			Events     []struct{ Step, Outcome string }
		}
		if err := json.Unmarshal([]byte(body), &told); err != nil || told.ID == "" || len(told.Events) == 0 {
			r.t.Fatalf("%v: %s", err, body)
		}
		if before, ok := words[told.ID]; ok {
			if before != body {
				r.t.Errorf("told differently under one id:\n%s\n%s", before, body)
			}
			continue
		}
		words[told.ID] = body
		id := told.Submission.ID
		if ids[id] == nil {
			ids[id], lines[id] = map[string]bool{}, map[string]int{}
		}
		ids[id][told.ID] = true
		lines[id][told.Events[0].Step+" "+told.Events[0].Outcome]++
	}
	check := func(name, id string, want ...string) {
		for _, step := range want {
			if lines[id][step] != 1 {
				r.t.Errorf("%s: %q told under %d ids: %v", name, step, lines[id][step], lines[id])
			}
		}
		if len(ids[id]) != len(want) {
			r.t.Errorf("%s: %d events told, want %d: %v", name, len(ids[id]), len(want), lines[id])
		}
	}
	for _, m := range f.all {
		want := []string{"dmp ok"}
		if m.mailed {
			want = append(want, "dsn ok")
		}
		for _, l := range r.listed(m.control) {
			check(m.control, l.ID, want...)
		}
	}
	for _, d := range f.deposits {
		check(fmt.Sprint("deposit ", d.doc), d.id, "dmp ok")
	}
	return len(words)
}
