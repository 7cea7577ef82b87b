package journaltest

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
)

func decided(submission, step string) []gateway.Event {
	return []gateway.Event{{Submission: submission, Time: T0, Step: step, Outcome: "ok", By: "810000000001", Why: "panne connue du destinataire"}}
}

func stop(id string) gateway.Ruling {
	return gateway.Ruling{Submission: id, Delivery: "dmp-" + id, Was: gateway.Due, Now: T0, State: gateway.Stopped, Code: "STOP", Events: decided(id, "stopped")}
}

func again(id string, was gateway.State, round int) gateway.Ruling {
	return gateway.Ruling{Submission: id, Delivery: "dmp-" + id, Was: was, Round: round, Now: T0.Add(time.Hour), State: gateway.Due, Sent: true, Remote: "r", Events: decided(id, "replayed")}
}

// waiting records a mail that waits for a person.
func waiting(t *testing.T, j gateway.Journal, id string) {
	t.Helper()
	e := Entry(t, j, id)
	e.Submission.Door, e.Submission.State, e.Submission.Code = gateway.DoorMail, gateway.Quarantined, "WHY"
	e.Submission.Envelope, e.Submission.Action, e.Submission.INSStatus, e.Deliveries = nil, "", "", nil
	if err := j.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func filing(t *testing.T, j gateway.Journal, id string) gateway.Ruling {
	t.Helper()
	digest, err := j.Keep(t.Context(), []byte("filed "+id))
	if err != nil {
		t.Fatal(err)
	}
	return gateway.Ruling{
		Submission: id, Was: gateway.Quarantined, Now: T0, State: gateway.Pending, Events: decided(id, "filed"),
		Filed: &gateway.Filed{Action: dmp.New, INSStatus: "QUAL", Envelope: json.RawMessage(`{"message_id":"m"}`),
			Documents: []gateway.DocumentRow{{UniqueID: "1.9", Version: 1, TypeCode: "11490-0", Digest: digest, Size: 5}}},
		Next: []gateway.Delivery{{ID: "mdm-" + id, Submission: id, Establishment: Site, Destination: gateway.DestinationMDM, State: gateway.Due, Created: T0, Due: T0}},
	}
}

func testDecide(t *testing.T, open Open) {
	const to = gateway.DestinationDMP
	decide := func(t *testing.T, j gateway.Journal, r gateway.Ruling) {
		t.Helper()
		if err := j.Decide(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("ok/stop", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		r := stop("a")
		r.Next = []gateway.Delivery{Notice("a")}
		decide(t, j, r)
		d := delivery(t, j, "a", "dmp-a")
		want(t, "delivery", []any{d.State, d.Code, d.Round}, []any{gateway.Stopped, "STOP", 0})
		s := submission(t, j, "a")
		want(t, "submission", []any{s.State, s.Code}, []any{gateway.Failed, "STOP"})
		want(t, "told", delivery(t, j, "a", "zam-a"), Notice("a"))
		want(t, "due", claim(t, j, to, "h", T0.Add(time.Hour), 9), []string(nil))
		all, err := j.Events(t.Context(), "a", 0)
		if err != nil || len(all) != 2 || all[1].By != "810000000001" || all[1].Why != "panne connue du destinataire" {
			t.Fatalf("%+v, %v", all, err)
		}
	})
	t.Run("ok/stop-lets-the-next-pass", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		Record(t, j, "b", "1.2<1.1")
		claim(t, j, to, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Due, Due: T0.Add(time.Hour), Code: "DOWN"})
		want(t, "held back", claim(t, j, to, "h", T0, 1), []string(nil))
		decide(t, j, stop("a"))
		want(t, "free", claim(t, j, to, "h", T0, 1), []string{"dmp-b"})
	})
	t.Run("ok/again", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		claim(t, j, to, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Failed, Code: "NO"})
		decide(t, j, again("a", gateway.Failed, 0))
		d := delivery(t, j, "a", "dmp-a")
		want(t, "delivery", []any{d.State, d.Code, d.Round, d.Attempts, d.Sent, d.Remote, d.Since, d.Due, d.Created},
			[]any{gateway.Due, "", 1, 0, true, "r", T0.Add(time.Hour), T0.Add(time.Hour), T0})
		want(t, "state", submission(t, j, "a").State, gateway.Pending)
		want(t, "leased", claim(t, j, to, "h", T0.Add(time.Hour), 9), []string{"dmp-a"})
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done})
		want(t, "state", submission(t, j, "a").State, gateway.Done)
		if err := j.Decide(t.Context(), again("a", gateway.Failed, 1)); !errors.Is(err, gateway.ErrDecided) {
			t.Fatalf("what is done begins again: %v", err)
		}
	})
	t.Run("ok/stop-and-again-of-an-expired-lease", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		claim(t, j, to, "dead", T0, 1)
		r := stop("a")
		r.Now = T0.Add(time.Minute)
		decide(t, j, r)
		if err := j.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-a", Holder: "dead", State: gateway.Done}); !errors.Is(err, gateway.ErrLeaseLost) {
			t.Fatalf("who lost the lease settles: %v", err)
		}
		decide(t, j, again("a", gateway.Stopped, 0))
	})
	t.Run("fail/leased", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		claim(t, j, to, "h", T0, 1)
		if err := j.Decide(t.Context(), stop("a")); !errors.Is(err, gateway.ErrLeased) {
			t.Fatal(err)
		}
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done})
		if err := j.Decide(t.Context(), stop("a")); !errors.Is(err, gateway.ErrDecided) {
			t.Fatal(err)
		}
		want(t, "steps", steps(t, j, "a", 0), []string{"accepted"})
	})
	t.Run("fail/superseded", func(t *testing.T) {
		for _, fate := range []string{"superseded", "deleted"} {
			j := open(t, NewClock())
			Record(t, j, "a", "1.1")
			claim(t, j, to, "h", T0, 1)
			settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Failed, Code: "NO"})
			Record(t, j, "b", "1.2<1.1")
			claim(t, j, to, "h", T0, 1)
			settle(t, j, gateway.Settlement{Delivery: "dmp-b", State: gateway.Done, Documents: []gateway.DocumentFate{{UniqueID: "1.1", Fate: fate}}})
			if err := j.Decide(t.Context(), again("a", gateway.Failed, 0)); !errors.Is(err, gateway.ErrSuperseded) {
				t.Fatalf("%s: %v", fate, err)
			}
			want(t, "state", delivery(t, j, "a", "dmp-a").State, gateway.Failed)
		}
	})
	// Two people, or one who clicks twice: one decision.
	for name, prepare := range map[string]func(t *testing.T, j gateway.Journal) gateway.Ruling{
		"ok/once/stop": func(t *testing.T, j gateway.Journal) gateway.Ruling { Record(t, j, "a", "1.1"); return stop("a") },
		"ok/once/again": func(t *testing.T, j gateway.Journal) gateway.Ruling {
			Record(t, j, "a", "1.1")
			decide(t, j, stop("a"))
			return again("a", gateway.Stopped, 0)
		},
		"ok/once/file": func(t *testing.T, j gateway.Journal) gateway.Ruling { waiting(t, j, "a"); return filing(t, j, "a") },
		"ok/once/reject": func(t *testing.T, j gateway.Journal) gateway.Ruling {
			waiting(t, j, "a")
			return gateway.Ruling{Submission: "a", Was: gateway.Quarantined, Now: T0, State: gateway.RefusedState, Code: "NO", Events: decided("a", "rejected")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, NewClock())
			r := prepare(t, j)
			before := len(steps(t, j, "a", 0))
			errs := make([]error, 8)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { errs[i] = j.Decide(t.Context(), r) })
			}
			wg.Wait()
			done := 0
			for _, err := range errs {
				switch {
				case err == nil:
					done++
				case !errors.Is(err, gateway.ErrDecided):
					t.Errorf("%v", err)
				}
			}
			if n := len(steps(t, j, "a", 0)) - before; done != 1 || n != 1 {
				t.Errorf("%d decisions, %d lines", done, n)
			}
		})
	}
	t.Run("ok/file", func(t *testing.T) {
		j := open(t, NewClock())
		waiting(t, j, "a")
		decide(t, j, filing(t, j, "a"))
		s, docs, err := j.Submission(t.Context(), "a")
		if err != nil || len(docs) != 1 || docs[0].UniqueID != "1.9" {
			t.Fatalf("%+v %v", docs, err)
		}
		want(t, "mail", []any{s.State, s.Code, s.Action, s.INSStatus, string(s.Envelope)}, []any{gateway.Pending, "", dmp.New, "QUAL", `{"message_id":"m"}`})
		want(t, "due", claim(t, j, gateway.DestinationMDM, "h", T0, 9), []string{"mdm-a"})
		settle(t, j, gateway.Settlement{Delivery: "mdm-a", State: gateway.Done})
		want(t, "state", submission(t, j, "a").State, gateway.Done)
	})
	t.Run("ok/keep-then-reject", func(t *testing.T) {
		j := open(t, NewClock())
		waiting(t, j, "a")
		keep := gateway.Ruling{Submission: "a", Was: gateway.Quarantined, Now: T0, State: gateway.Quarantined, Events: decided("a", "kept")}
		decide(t, j, keep)
		decide(t, j, keep)
		want(t, "kept", []any{submission(t, j, "a").State, submission(t, j, "a").Code}, []any{gateway.Quarantined, "WHY"})
		decide(t, j, gateway.Ruling{Submission: "a", Was: gateway.Quarantined, Now: T0, State: gateway.RefusedState, Code: "NO", Events: decided("a", "rejected"),
			Next: []gateway.Delivery{{ID: "mdn-a", Submission: "a", Establishment: Site, Destination: gateway.DestinationMDN, State: gateway.Due, Created: T0, Due: T0, Recipient: "x@y.fr"}}})
		claim(t, j, gateway.DestinationMDN, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "mdn-a", State: gateway.Done})
		want(t, "rejected", []any{submission(t, j, "a").State, submission(t, j, "a").Code}, []any{gateway.RefusedState, "NO"})
		if err := j.Decide(t.Context(), keep); !errors.Is(err, gateway.ErrDecided) {
			t.Fatalf("%v", err)
		}
		if raw, err := j.Fetch(t.Context(), submission(t, j, "a").Digest); err != nil || len(raw) == 0 {
			t.Fatalf("the mail is gone: %v", err)
		}
	})
	for name, c := range map[string]struct {
		change func(*gateway.Ruling)
		err    error // nil: a refusal with a code
	}{
		"nobody":                {func(r *gateway.Ruling) { r.Events[0].By = "" }, nil},
		"no-reason":             {func(r *gateway.Ruling) { r.Events[0].Why = "" }, nil},
		"no-event":              {func(r *gateway.Ruling) { r.Events = nil }, nil},
		"no-time":               {func(r *gateway.Ruling) { r.Now = time.Time{} }, nil},
		"not-a-person's-affair": {func(r *gateway.Ruling) { r.State = gateway.Done }, nil},
		"done-by-hand":          {func(r *gateway.Ruling) { r.Was, r.State = gateway.Stopped, gateway.Stopped }, nil},
		"filed-and-stopped":     {func(r *gateway.Ruling) { r.Filed = &gateway.Filed{} }, nil},
		"event-of-another":      {func(r *gateway.Ruling) { r.Events[0].Submission = "b" }, nil},
		"next-of-another":       {func(r *gateway.Ruling) { r.Next = []gateway.Delivery{Notice("b")} }, nil},
		"unknown":               {func(r *gateway.Ruling) { r.Delivery = "none" }, gateway.ErrNotFound},
		"of-another-submission": {func(r *gateway.Ruling) { r.Delivery = "dmp-b" }, gateway.ErrNotFound},
		"unknown-submission": {func(r *gateway.Ruling) {
			r.Submission, r.Delivery, r.Was, r.State = "none", "", gateway.Quarantined, gateway.Quarantined
		}, gateway.ErrNotFound},
		"not-in-quarantine": {func(r *gateway.Ruling) { r.Delivery, r.Was, r.State = "", gateway.Quarantined, gateway.RefusedState }, gateway.ErrDecided},
		"another-round":     {func(r *gateway.Ruling) { r.Round = 1 }, gateway.ErrDecided},
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			j := open(t, NewClock())
			Record(t, j, "a", "1.1")
			Record(t, j, "b", "1.2")
			r := stop("a")
			c.change(&r)
			err := j.Decide(t.Context(), r)
			if err == nil || c.err != nil && !errors.Is(err, c.err) || c.err == nil && Code(err) == "" {
				t.Fatalf("got %v", err)
			}
			for _, id := range []string{"a", "b"} {
				want(t, "state", delivery(t, j, id, "dmp-"+id).State, gateway.Due)
				want(t, "steps", steps(t, j, id, 0), []string{"accepted"})
			}
		})
	}
	t.Run("fail/bytes-that-were-not-kept", func(t *testing.T) {
		j := open(t, NewClock())
		waiting(t, j, "a")
		r := filing(t, j, "a")
		r.Filed.Documents[0].Digest = "00ff"
		if err := j.Decide(t.Context(), r); err == nil {
			t.Fatal("filed without a document")
		}
		want(t, "state", submission(t, j, "a").State, gateway.Quarantined)
	})
}
