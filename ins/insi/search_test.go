package insi_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
)

var sent = regexp.MustCompile(`<r:NomNaissance>(.*?)</r:NomNaissance><r:Prenom>(.*?)</r:Prenom><r:Sexe>(.*?)</r:Sexe><r:DateNaissance>(.*?)</r:DateNaissance>(?:<r:LieuNaissance>(.*?)</r:LieuNaissance>)?`)

// asked is what a request asked: name/given/place.
func asked(t testing.TB, request string) string {
	t.Helper()
	m := sent.FindStringSubmatch(strings.ReplaceAll(request, "&#39;", "'"))
	if m == nil {
		t.Fatalf("no criteria in %s", request)
	}
	return m[1] + "/" + m[2] + "/" + m[5]
}

func TestSearchOrder(t *testing.T) {
	pierre := ins.Traits{BirthName: "HOUILLES", FirstGiven: "PIERRE", GivenNames: "PIERRE PAUL JACQUES", Sex: "M", BirthDate: "1993-01-27"}
	placed, compound := pierre, pierre
	placed.BirthPlace = "63220"
	compound.BirthName, compound.FirstGiven, compound.GivenNames = "D'ARC-MARTIN", "JEAN CHRISTOPHE", "JEAN CHRISTOPHE PIERRE"
	unknown := pierre
	unknown.BirthPlace = ins.UnknownPlace
	for _, c := range []struct {
		name    string
		traits  ins.Traits
		results map[string]string // what is asked → result; 01 otherwise
		limit   int
		want    []string
		result  insi.Result
		end     bool // exhausted
	}{
		{"ok/scenario-of-CNDA", pierre, nil, 0, []string{"HOUILLES/PIERRE/", "HOUILLES/PAUL/", "HOUILLES/JACQUES/", "HOUILLES/PIERRE PAUL JACQUES/"}, insi.None, false},
		{"ok/place-unknown-is-not-sent", unknown, nil, 0, []string{"HOUILLES/PIERRE/", "HOUILLES/PAUL/", "HOUILLES/JACQUES/", "HOUILLES/PIERRE PAUL JACQUES/"}, insi.None, false},
		{"ok/first", pierre, map[string]string{"HOUILLES/PIERRE/": "00"}, 0, []string{"HOUILLES/PIERRE/"}, insi.Found, false},
		{"ok/second", pierre, map[string]string{"HOUILLES/PAUL/": "00"}, 0, []string{"HOUILLES/PIERRE/", "HOUILLES/PAUL/"}, insi.Found, false},
		{"ok/without-the-place", placed, map[string]string{"HOUILLES/PIERRE/": "00"}, 0,
			[]string{"HOUILLES/PIERRE/63220", "HOUILLES/PAUL/63220", "HOUILLES/JACQUES/63220", "HOUILLES/PIERRE PAUL JACQUES/63220", "HOUILLES/PIERRE/"}, insi.Found, false},
		{"ok/several-then-other-given-names", pierre, map[string]string{"HOUILLES/PIERRE/": "02", "HOUILLES/PIERRE PAUL/": "00"}, 0,
			[]string{"HOUILLES/PIERRE/", "HOUILLES/PIERRE PAUL/"}, insi.Found, false},
		{"ok/several-then-too-narrow-stays-several", pierre, map[string]string{"HOUILLES/PIERRE/": "02"}, 0,
			[]string{"HOUILLES/PIERRE/", "HOUILLES/PIERRE PAUL/", "HOUILLES/PIERRE PAUL JACQUES/"}, insi.Several, false},
		{"ok/several-after-none-never-widens", pierre, map[string]string{"HOUILLES/PAUL/": "02"}, 0,
			[]string{"HOUILLES/PIERRE/", "HOUILLES/PAUL/", "HOUILLES/PAUL PIERRE/", "HOUILLES/PAUL PIERRE JACQUES/"}, insi.Several, false},
		{"ok/several-without-place-then-with-it", placed, map[string]string{"HOUILLES/PIERRE PAUL JACQUES/": "02"}, 0,
			[]string{"HOUILLES/PIERRE/63220", "HOUILLES/PAUL/63220", "HOUILLES/JACQUES/63220", "HOUILLES/PIERRE PAUL JACQUES/63220", "HOUILLES/PIERRE/", "HOUILLES/PIERRE PAUL JACQUES/"}, insi.Several, false},
		{"ok/other-writings", compound, nil, 20, []string{"D'ARC-MARTIN/JEAN CHRISTOPHE/", "D'ARC-MARTIN/PIERRE/", "D'ARC-MARTIN/JEAN CHRISTOPHE PIERRE/",
			"D'ARC MARTIN/JEAN CHRISTOPHE/", "D ARC-MARTIN/JEAN CHRISTOPHE/", "DARC-MARTIN/JEAN CHRISTOPHE/", "D'ARC-MARTIN/JEAN-CHRISTOPHE/"}, insi.None, false},
		// Found by the audit of issue 6, 2026-11-22: the first given name was sent twice.
		{"ok/several-under-another-writing", compound, map[string]string{"D'ARC-MARTIN/JEAN-CHRISTOPHE/": "02"}, 20, []string{"D'ARC-MARTIN/JEAN CHRISTOPHE/", "D'ARC-MARTIN/PIERRE/", "D'ARC-MARTIN/JEAN CHRISTOPHE PIERRE/",
			"D'ARC MARTIN/JEAN CHRISTOPHE/", "D ARC-MARTIN/JEAN CHRISTOPHE/", "DARC-MARTIN/JEAN CHRISTOPHE/", "D'ARC-MARTIN/JEAN-CHRISTOPHE/", "D'ARC-MARTIN/JEAN-CHRISTOPHE PIERRE/"}, insi.Several, false},
		{"ok/limit", placed, nil, 3, []string{"HOUILLES/PIERRE/63220", "HOUILLES/PAUL/63220", "HOUILLES/JACQUES/63220"}, insi.None, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(_ int, request string) reply {
				code := c.results[asked(t, request)]
				if code == "00" {
					return reply{200, result("00", person)}
				}
				if code == "" {
					code = "01"
				}
				return reply{200, result(code, "")}
			})
			w := newWorld(t, s)
			w.config.Attempts = c.limit
			out, err := w.client(t).Search(context.Background(), who(), insi.Query{Identity: ins.Identity{Traits: c.traits}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range s.seen() {
				got = append(got, asked(t, r))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if out.Result != c.result || out.Exhausted != c.end || len(out.Calls) != len(c.want) || len(w.traces.list) != len(c.want) {
				t.Errorf("result %s, exhausted %v, %d calls, %d traces", out.Result, out.Exhausted, len(out.Calls), len(w.traces.list))
			}
			for i, trace := range w.traces.list {
				if trace.Attempt != i+1 {
					t.Errorf("trace %d is attempt %d", i, trace.Attempt)
				}
			}
		})
	}
}

func TestSearchStopsAtAFault(t *testing.T) {
	s := serve(t, func(n int, _ string) reply {
		if n == 1 {
			return reply{500, fault("S:Receiver", "siram_40", "insi_102")}
		}
		return reply{200, result("01", "")}
	})
	w := newWorld(t, s)
	out, err := w.client(t).Search(context.Background(), who(), query())
	if code(err) != insi.FaultUnavailable || len(out.Calls) != 1 || len(s.seen()) != 2 {
		t.Fatalf("%v, %d calls known, %d made", err, len(out.Calls), len(s.seen()))
	}
	if l := w.traces.list; len(l) != 2 || l[0].Result != "01" || l[1].Fault != insi.FaultUnavailable || l[1].Remote != "insi_102" || l[1].Result != "" {
		t.Errorf("traces %+v", l)
	}
}

// Whatever INSi answers, a search is bounded, never asks the same twice, and
// once several people were found it only ever adds criteria.
func TestSearchProperties(t *testing.T) {
	word := rapid.StringMatching(`[A-Z]{1,6}`)
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.SliceOfN(word, 1, 5).Draw(t, "given")
		traits := ins.Traits{BirthName: rapid.StringMatching(`[A-Z]{1,6}([-' ][A-Z]{1,6}){0,2}`).Draw(t, "name"), FirstGiven: given[0],
			GivenNames: strings.Join(given, " "), Sex: "F", BirthDate: "1979-03-28",
			BirthPlace: rapid.SampledFrom([]string{"", "51215", "99999"}).Draw(t, "place")}
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		codes := rapid.SliceOfN(rapid.SampledFrom([]string{"01", "02", "00"}), 13, 13).Draw(t, "answers")
		tr := &scripted{codes: codes}
		w := newWorld(bare{}, nil)
		w.config.HTTP, w.config.Attempts = &http.Client{Transport: tr}, limit
		c, err := insi.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Search(context.Background(), who(), insi.Query{Identity: ins.Identity{Traits: traits}})
		if err != nil {
			t.Fatal(err)
		}
		if len(tr.asked) > limit || len(tr.asked) == 0 || len(out.Calls) != len(tr.asked) {
			t.Fatalf("%d calls, limit %d", len(tr.asked), limit)
		}
		several := -1
		for i, a := range tr.asked {
			for _, b := range tr.asked[:i] {
				if a == b {
					t.Fatalf("asked twice: %s", a)
				}
			}
			if several >= 0 {
				first, now := strings.Split(tr.asked[several], "/"), strings.Split(a, "/")
				if now[0] != first[0] || !strings.HasPrefix(now[1]+" ", first[1]+" ") || first[2] != "" && now[2] != first[2] {
					t.Fatalf("%s widens %s", a, tr.asked[several])
				}
			}
			if codes[i] == "00" && i != len(tr.asked)-1 {
				t.Fatal("went on after an identity was found")
			}
			if codes[i] == "02" && several < 0 {
				several = i
			}
		}
		last := insi.Result(codes[len(tr.asked)-1])
		switch {
		case last == insi.Found:
		case several >= 0:
			last = insi.Several
		}
		if out.Result != last {
			t.Fatalf("result %s, want %s", out.Result, last)
		}
	})
}

func TestSearchRefusals(t *testing.T) {
	s := serve(t, always(200, result("01", "")))
	for _, c := range []struct {
		name   string
		change func(*insi.Query, *insi.Actor)
		want   string
	}{
		{"fail/doubtful", func(q *insi.Query, _ *insi.Actor) { q.Identity.Attributes = []string{"DOUT"} }, ins.FaultCallForbidden},
		{"fail/fictive", func(q *insi.Query, _ *insi.Actor) { q.Identity.Attributes = []string{"FICT"} }, ins.FaultCallForbidden},
		{"fail/nobody-asks", func(_ *insi.Query, a *insi.Actor) { a.ID = "" }, insi.FaultActor},
		{"fail/no-house", func(_ *insi.Query, a *insi.Actor) { a.FINESSGeo = "" }, insi.FaultActor},
		{"fail/no-name", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.BirthName = "" }, insi.FaultQuestion},
		{"fail/no-given", func(q *insi.Query, _ *insi.Actor) {
			q.Identity.Traits.FirstGiven, q.Identity.Traits.GivenNames = "", ""
		}, insi.FaultQuestion},
		{"fail/no-sex", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.Sex = "U" }, insi.FaultQuestion},
		{"fail/no-date", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.BirthDate = "" }, insi.FaultQuestion},
		{"fail/date-form", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.BirthDate = "28/03/1979" }, insi.FaultQuestion},
		{"fail/place-form", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.BirthPlace = "PARIS" }, insi.FaultQuestion},
		{"fail/name-alphabet", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.BirthName = "PAT 3" }, ins.FaultName},
		{"fail/given-alphabet", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.FirstGiven = "DOMINIQUE." }, ins.FaultName},
		{"fail/list-alphabet", func(q *insi.Query, _ *insi.Actor) { q.Identity.Traits.GivenNames = "DOMINIQUE_MARIE" }, ins.FaultName},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, s)
			q, a := query(), who()
			c.change(&q, &a)
			_, err := w.client(t).Search(context.Background(), a, q)
			if code(err) != c.want {
				t.Errorf("got %v", err)
			}
			quiet(t, err.Error())
			if len(s.seen()) != 0 || len(w.traces.list) != 0 {
				t.Error("something left before the refusal")
			}
		})
	}
	t.Run("ok/lunar-date", func(t *testing.T) {
		w := newWorld(t, s)
		q := query()
		q.Identity.Traits.BirthDate = "1950-00-00"
		if _, err := w.client(t).Search(context.Background(), who(), q); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.seen()[0], "<r:DateNaissance>1950-00-00</r:DateNaissance>") {
			t.Error("the date was changed")
		}
	})
}

// coded is an error of the table, such as a full disk.
type coded struct{ error }

func (coded) FaultCode() string { return "GW-DISK-FULL" }

// What keeps the trace says itself what is wrong with it (found by review, issue 4).
func TestTraceWithoutRoom(t *testing.T) {
	s := serve(t, always(200, result("00", person)))
	w := newWorld(t, s)
	w.traces.fail = coded{errors.New("no space")}
	out, err := w.client(t).Search(context.Background(), who(), query())
	var own interface{ FaultCode() string }
	if !errors.As(err, &own) || own.FaultCode() != "GW-DISK-FULL" || out.INS != (ins.Pair{}) {
		t.Fatalf("%+v %v", out, err)
	}
}

// While INSi hangs, only so many wait for it; the others are told at once, and
// nothing of theirs leaves (found by review, issue 4).
func TestSearchesAtOnce(t *testing.T) {
	free, under := make(chan struct{}), make(chan struct{}, 100)
	s := serve(t, func(int, string) reply {
		under <- struct{}{}
		<-free
		return reply{200, result("00", person)}
	})
	c := newWorld(t, s).client(t)
	var wg sync.WaitGroup
	for range insi.AtOnce {
		wg.Go(func() {
			if _, err := c.Search(context.Background(), who(), query()); err != nil {
				t.Error(err)
			}
		})
	}
	for range insi.AtOnce {
		<-under
	}
	_, err := c.Search(context.Background(), who(), query())
	close(free)
	wg.Wait()
	if code(err) != insi.FaultBusy || len(s.seen()) != insi.AtOnce {
		t.Fatalf("%v after %d calls", err, len(s.seen()))
	}
	if _, err := c.Search(context.Background(), who(), query()); err != nil {
		t.Fatal(err)
	}
}

// A trace that cannot be kept withholds its answer.
func TestTraceIsKeptFirst(t *testing.T) {
	s := serve(t, always(200, result("00", person)))
	w := newWorld(t, s)
	w.traces.fail = errors.New("disk full")
	out, err := w.client(t).Search(context.Background(), who(), query())
	if code(err) != insi.FaultTrace || !errors.Is(err, w.traces.fail) || out.INS != (ins.Pair{}) || len(out.Calls) != 0 {
		t.Fatalf("%+v %v", out, err)
	}
}
