package journal_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
)

func TestQueue(t *testing.T) {
	j := open(t, journal.Config{})
	queue := func() []gateway.Queued {
		t.Helper()
		q, err := j.Queue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(q, func(one gateway.Queued) bool { return one.Count == 0 && one.Oldest.IsZero() })
	}
	if q := queue(); len(q) != 0 {
		t.Errorf("an empty journal: %+v", q)
	}
	journaltest.Record(t, j, "a", "1.1")
	journaltest.Record(t, j, "b", "1.2")
	letter := journaltest.RecordLetter(t, j, "c", gateway.DestinationPro, "a@b.fr", "1.3")
	if _, err := j.Claim(t.Context(), gateway.DestinationPro, "h", journaltest.T0, journaltest.T0.Add(time.Minute), 1); err != nil {
		t.Fatal(err)
	}
	digest, err := j.Keep(t.Context(), []byte("letter"))
	if err == nil {
		err = j.MarkLetter(t.Context(), letter.ID, "h", digest, "id@b.fr")
	}
	if err == nil {
		err = j.Settle(t.Context(), gateway.Settlement{Delivery: letter.ID, Holder: "h", State: gateway.Waiting, Due: journaltest.T0.Add(time.Hour)})
	}
	if err != nil {
		t.Fatal(err)
	}
	want := []gateway.Queued{
		{Destination: gateway.DestinationDMP, State: gateway.Due, Count: 2, Oldest: journaltest.T0},
		{Destination: gateway.DestinationPro, State: gateway.Waiting, Count: 1, Oldest: journaltest.T0},
	}
	if q := queue(); !reflect.DeepEqual(q, want) {
		t.Errorf("%+v, want %+v", q, want)
	}

	for i := range 2 {
		err := j.Record(t.Context(), gateway.Entry{Submission: gateway.Submission{
			ID: fmt.Sprint("q", i), Received: journaltest.T0, Door: gateway.DoorMail, Establishment: journaltest.Site, State: gateway.Quarantined,
			Digest: digest, Key: fmt.Sprint("q", i),
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for finess, want := range map[string]int64{journaltest.Site.FINESSGeo: 2, "999999999": 0} {
		if n, err := j.InQuarantine(t.Context(), finess); err != nil || n != want {
			t.Errorf("%s: %d %v", finess, n, err)
		}
	}
}
