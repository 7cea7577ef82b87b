package insi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

// Outcome is what a search by traits gave: the answer of the last call, and all
// of them in order.
type Outcome struct {
	Answer
	Calls     []Answer `json:"calls"`
	Exhausted bool     `json:"exhausted,omitempty"` // the limit of attempts was met before the end of the plan
}

// Search asks INSi by traits until one identity answers, as CNDA has it tested:
// each given name in turn, then all of them; then other criteria. When several
// people answer, given names and the birth place are added, and nothing is
// taken away any more. The first Found ends the search, and so does the first
// failure, which is returned with the calls made so far.
//
// Found is no acceptance: see the package comment.
func (c *Client) Search(ctx context.Context, who Actor, q Query) (Outcome, error) {
	var out Outcome
	if err := errors.Join(admit(who), ins.MayCallINSi(q.Identity)); err != nil {
		return out, err
	}
	base, err := criteriaOf(q.Identity.Traits)
	if err != nil {
		return out, err
	}
	given, err := givenNames(q.Identity.Traits)
	if err != nil {
		return out, err
	}
	todo := plan(base, given)
	narrowing := false
	var tried []criteria
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if slices.Contains(tried, next) {
			continue
		}
		if len(out.Calls) >= c.cfg.Attempts {
			out.Exhausted = true
			break
		}
		tried = append(tried, next)
		answer, err := c.search(ctx, who, call{op: OpTraits, action: actionSans, subject: q.Subject,
			attempt: len(out.Calls) + 1, criteria: next.names(), body: next.body})
		if err != nil {
			return out, err
		}
		out.Calls = append(out.Calls, answer)
		switch answer.Result {
		case Found:
			out.Answer = answer
			return out, nil
		case Several:
			out.Answer = answer
			if !narrowing {
				narrowing, todo = true, narrow(next, base, given)
			}
		case None:
			// Too narrow is still several: the people are there.
			if !narrowing {
				out.Answer = answer
			}
		}
	}
	return out, nil
}

// givenNames are the given names of a person one by one, in the alphabet of
// INSi. The first given name comes first; it may be made of several words of the
// list, because the civil registry forgets hyphens.
func givenNames(t ins.Traits) ([]string, error) {
	if t.FirstGiven == "" && t.GivenNames == "" {
		return nil, fail(FaultQuestion, ins.TraitFirstGiven, nil)
	}
	var first string
	var list []string
	if t.FirstGiven != "" {
		n, err := ins.GivenNameForINSi(t.FirstGiven)
		if err != nil {
			return nil, err
		}
		first = n
	}
	if t.GivenNames != "" {
		n, err := ins.GivenNameForINSi(t.GivenNames)
		if err != nil {
			return nil, err
		}
		list = strings.Fields(n)
	}
	if first == "" {
		return list, nil
	}
	for i := range list {
		if ins.MatchKey(strings.Join(list[:i+1], " ")) == ins.MatchKey(first) {
			list = list[i+1:]
			break
		}
	}
	return append([]string{first}, list...), nil
}

// plan is the order of the calls while nobody is found.
func plan(base criteria, given []string) []criteria {
	with := func(name, given, place string) criteria {
		c := base
		c.name, c.given, c.place = name, given, place
		return c
	}
	all := strings.Join(given, " ")
	var out []criteria
	for _, g := range given {
		out = append(out, with(base.name, g, base.place))
	}
	out = append(out, with(base.name, all, base.place))
	if base.place != "" {
		out = append(out, with(base.name, given[0], ""), with(base.name, all, ""))
	}
	for _, name := range writings(base.name) {
		if n, err := ins.FamilyNameForINSi(name); err == nil && n == name {
			out = append(out, with(name, given[0], base.place))
		}
	}
	for _, g := range writings(given[0]) {
		if n, err := ins.GivenNameForINSi(g); err == nil && n == g {
			out = append(out, with(base.name, g, base.place))
		}
	}
	return out
}

// writings are the other ways of writing a compound name.
func writings(name string) []string {
	return []string{
		strings.NewReplacer("--", " ", "-", " ").Replace(name),
		strings.ReplaceAll(name, "'", " "),
		strings.ReplaceAll(name, " ", "-"),
		strings.ReplaceAll(name, "'", ""),
	}
}

// narrow is what is added, in order, to criteria that several people answer: the
// other given names, then the birth place.
func narrow(from, base criteria, given []string) []criteria {
	var out []criteria
	next := from
	if from.given != strings.Join(given, " ") {
		asked := from.given
		if !slices.Contains(given, asked) {
			asked = given[0] // in another writing
		}
		for _, g := range given {
			if g != asked {
				next.given += " " + g
				out = append(out, next)
			}
		}
	}
	if next.place == "" && base.place != "" {
		next.place = base.place
		out = append(out, next)
	}
	return out
}
