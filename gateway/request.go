package gateway

import (
	"context"
	"encoding/json"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// request is what a delivery needs of its submission, read back from the journal.
type request struct {
	in     Inbound
	docs   []judgedDocument
	bytes  [][]byte
	rows   []DocumentRow
	marks  []DocumentMark
	caller dmp.Caller
}

// envelope reads back what the door understood, without the documents.
func (g *Gateway) envelope(ctx context.Context, submission string) (request, error) {
	var w request
	s, rows, err := g.Journal.Submission(ctx, submission)
	if err != nil {
		return w, err
	}
	if s.Envelope != nil { // a mail that a person rejected has none
		if err := json.Unmarshal(s.Envelope, &w.in); err != nil {
			return w, fault.New(fault.Internal).Because(err)
		}
	}
	w.rows = rows
	flags := visibilityFlags(w.in.Flags)
	for _, row := range rows {
		w.marks = append(w.marks, DocumentMark{
			UniqueID: row.UniqueID, SetID: row.SetID, Version: row.Version, TypeCode: row.TypeCode, Flags: flags,
		})
	}
	return w, nil
}

// load reads a submission back and applies the rules again.
func (d *Deliverer) load(ctx context.Context, del lease) (request, error) {
	g := d.Gateway
	w, err := g.envelope(ctx, del.Submission)
	if err != nil {
		return w, err
	}
	w.caller = dmp.Caller{Establishment: w.in.Establishment, SecretConnection: w.in.Flags.SecretConnection}
	if w.in.Requester != nil {
		w.caller.Requester = *w.in.Requester
	}
	for i, row := range w.rows {
		content, err := g.Journal.Fetch(ctx, row.Digest)
		if err != nil {
			return w, err
		}
		w.in.Documents[i].Content = content
		w.bytes = append(w.bytes, content)
	}
	// The same stages as at the door, but for what is known of the target: the
	// DMP has the last word on it, and it is about to be asked.
	v := verdict{}
	replaced := func(_ context.Context, in Inbound, v *verdict) { g.judgeReplaced(in, v) }
	for _, stage := range []func(context.Context, Inbound, *verdict){g.judgeStructure, g.judgeFlags, g.judgeIdentity, replaced} {
		stage(ctx, w.in, &v)
		if len(v.faults) > 0 {
			return w, v.faults[0]
		}
	}
	w.docs = v.documents
	return w, nil
}

// notice begins the ZAM that tells the end of a delivery. Its MSH-10 is drawn
// from what it tells, so that the same outcome is never told under two ids.
func (w request) notice(event, about string, del Delivery) *Notice {
	return &Notice{
		ControlID: noticeID(del.inRound(about), del.ID), Event: event, To: w.in.From, As: w.in.Message.To, Processing: w.in.Message.Processing,
		Answers: w.in.Message.ControlID, Establishment: w.in.Establishment,
	}
}
