package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/operator"
)

// shelf is a mailbox whose mails are their names, or cannot be read.
type shelf struct {
	mails  []string
	broken map[string]error
	locked error // of every mark
	seen   []string
}

func (s *shelf) Unseen(context.Context, int) (refs []operator.Ref, err error) {
	for i := range s.mails {
		refs = append(refs, operator.Ref{Validity: 1, UID: uint32(i)})
	}
	return refs, nil
}

func (s *shelf) Fetch(_ context.Context, r operator.Ref) ([]byte, error) {
	name := s.mails[r.UID]
	return []byte(name), s.broken[name]
}

func (s *shelf) MarkSeen(_ context.Context, r operator.Ref) error {
	s.seen = append(s.seen, s.mails[r.UID])
	return s.locked
}

// Found by the audit of issue 3, 2026-11-22: one mail that the server would not give
// hid all those behind it for ever, delivery reports included.
func TestEachMailOfAMailbox(t *testing.T) {
	for name, c := range map[string]struct {
		broken     error // of the second of three
		locked     error
		seen       []string
		unreadable int
		err        string
	}{
		"ok/all of them":             {nil, nil, []string{"a", "b", "c"}, 0, ""},
		"ok/one is gone":             {&operator.Error{Code: operator.FaultMailGone}, nil, []string{"a", "c"}, 0, ""},
		"ok/one is too big":          {&mss.Error{Code: mss.FaultInboundSize}, nil, []string{"a", "b", "c"}, 1, ""},
		"fail/one that is not given": {&operator.Error{Code: operator.FaultMailboxRefused}, nil, []string{"a", "c"}, 0, operator.FaultMailboxRefused},
		"fail/the server is gone":    {&operator.Error{Code: operator.FaultMailboxDown}, nil, []string{"a"}, 0, operator.FaultMailboxDown},
		"fail/no mark is taken":      {nil, &operator.Error{Code: operator.FaultMailboxRefused}, []string{"a", "b", "c"}, 0, operator.FaultMailboxRefused},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shelf{mails: []string{"a", "b", "c"}, broken: map[string]error{"b": c.broken}, locked: c.locked}
			unreadable := 0
			err := each(t.Context(), s, func([]byte) error { return nil }, func(string, error) error { unreadable++; return nil })
			var refused *operator.Error
			if errors.As(err, &refused) != (c.err != "") || refused != nil && refused.Code != c.err || err != nil && refused == nil {
				t.Errorf("%v", err)
			}
			if !slices.Equal(s.seen, c.seen) || unreadable != c.unreadable {
				t.Errorf("seen %v, %d unreadable", s.seen, unreadable)
			}
		})
	}
}
