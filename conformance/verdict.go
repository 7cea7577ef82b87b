package conformance

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what is said of a scenario, of a requirement.
type Verdict string

// The verdicts.
const (
	Conform    Verdict = "conforme"
	NotConform Verdict = "non conforme"
	NotTested  Verdict = "non testé"
	NotConcern Verdict = "sans objet" // always with a written reason
)

// severity orders verdicts: a requirement has the worst of its scenarios.
var severity = map[Verdict]int{NotConcern: 0, Conform: 1, NotTested: 2, NotConform: 3}

// Assertion is one thing that was verified.
type Assertion struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// Judged is a scenario with its verdict.
type Judged struct {
	ID         string      `json:"id"`
	Title      string      `json:"title"`
	Origin     string      `json:"origin"`
	Mode       string      `json:"mode"`
	Verdict    Verdict     `json:"verdict"`
	Reason     string      `json:"reason,omitempty"`
	Assertions []Assertion `json:"assertions,omitempty"`
	Evidence   []int       `json:"evidence,omitempty"` // exchanges
}

// JudgedRequirement is a requirement with its verdict.
type JudgedRequirement struct {
	ID         string   `json:"id"`
	DSR        string   `json:"dsr"`
	REM        string   `json:"rem"`
	Alias      string   `json:"alias,omitempty"`
	Profile    string   `json:"profile"`
	Nature     string   `json:"nature"`
	Theme      string   `json:"theme"`
	Text       string   `json:"text"`
	Confidence string   `json:"confidence"`
	Verdict    Verdict  `json:"verdict"`
	Scenarios  []Judged `json:"scenarios"`
}

// Result is one run, whole: what run.json holds.
type Result struct {
	Format       int                 `json:"format"`
	Tool         string              `json:"tool"`
	Began        time.Time           `json:"began"`
	Ended        time.Time           `json:"ended"`
	DSR          string              `json:"dsr"`
	Couloir      string              `json:"couloir"`
	System       string              `json:"system"`
	Notice       string              `json:"notice"`
	Catalogue    string              `json:"catalogue_sha256"`
	Product      Product             `json:"product"`
	Gateway      string              `json:"gateway"`
	Requirements []JudgedRequirement `json:"requirements"`
	Exchanges    []Exchange          `json:"exchanges"`
	Secrets      []string            `json:"masked"` // what readable reports hide
}

// judgement collects what one check verifies.
type judgement struct {
	assertions []Assertion
	untested   string
	cited      []int
}

// that verifies one thing.
func (v *judgement) that(ok bool, format string, args ...any) bool {
	v.assertions = append(v.assertions, Assertion{ok, fmt.Sprintf(format, args...)})
	return ok
}

// need says that nothing can be judged without one thing.
func (v *judgement) need(ok bool, format string, args ...any) bool {
	if !ok && v.untested == "" {
		v.untested = fmt.Sprintf(format, args...)
	}
	return ok
}

// cite names evidence.
func (v *judgement) cite(n ...int) {
	for _, one := range n {
		if one > 0 && !slices.Contains(v.cited, one) {
			v.cited = append(v.cited, one)
		}
	}
}

// verdict: one failed assertion is enough; what was not looked at is not said
// to be good.
func (v *judgement) verdict() (Verdict, string) {
	for _, a := range v.assertions {
		if !a.OK {
			return NotConform, "Attendu, et non constaté : " + a.Text
		}
	}
	switch {
	case v.untested != "":
		return NotTested, v.untested
	case len(v.assertions) == 0:
		return NotTested, "Rien n'a été vérifié."
	}
	return Conform, ""
}

// judge gives every requirement of the catalogue its verdict.
func (j *run) judge() *Result {
	res := &Result{Format: 1, Tool: j.Version, DSR: j.Catalogue.DSR, Couloir: j.Catalogue.Couloir, System: j.Catalogue.System,
		Notice: j.Catalogue.Notice, Catalogue: j.Catalogue.SHA256, Product: j.target.Product, Gateway: j.target.Gateway.MLLP}
	for _, p := range j.target.Patients {
		if p.Matricule != "" {
			res.Secrets = append(res.Secrets, p.Matricule)
		}
	}
	for _, r := range j.Catalogue.Requirements {
		one := JudgedRequirement{ID: r.ID, DSR: r.DSR, REM: r.REM, Alias: r.Alias, Profile: r.Profile, Nature: r.Nature, Theme: r.Theme,
			Text: r.Text, Confidence: r.Confidence, Verdict: NotConcern}
		reason, concerned := j.target.concerned(r)
		for _, s := range r.Scenarios {
			g := Judged{ID: s.ID, Title: s.Title, Origin: s.Origin, Mode: s.Mode}
			switch {
			case !concerned:
				g.Verdict, g.Reason = NotConcern, reason
			case s.Mode != Automated:
				g.Verdict, g.Reason = NotTested, "À apporter : "+s.Proof
			default:
				v := &judgement{}
				checks[s.Check](j, v)
				g.Verdict, g.Reason = v.verdict()
				g.Assertions, g.Evidence = v.assertions, v.cited
			}
			if severity[g.Verdict] > severity[one.Verdict] {
				one.Verdict = g.Verdict
			}
			one.Scenarios = append(one.Scenarios, g)
		}
		res.Requirements = append(res.Requirements, one)
	}
	return res
}

// Counts are the requirements by verdict.
func (r *Result) Counts() map[Verdict]int {
	out := map[Verdict]int{}
	for _, one := range r.Requirements {
		out[one.Verdict]++
	}
	return out
}

// Outcome is the verdict of a whole run: non conforme when a DOIT is; then non
// testé when an automated scenario is, or with everything set, any scenario. A
// PEUT never makes a product non conforme.
func (r *Result) Outcome(everything bool) Verdict {
	worst := Conform
	for _, one := range r.Requirements {
		if one.Nature != "DOIT" {
			continue
		}
		for _, s := range one.Scenarios {
			if (everything || s.Mode == Automated || s.Verdict == NotConform) && severity[s.Verdict] > severity[worst] {
				worst = s.Verdict
			}
		}
	}
	return worst
}

// Verdicts are those of the scenarios, by id.
func (r *Result) Verdicts() map[string]Verdict {
	out := map[string]Verdict{}
	for _, one := range r.Requirements {
		for _, s := range one.Scenarios {
			out[s.ID] = s.Verdict
		}
	}
	return out
}
