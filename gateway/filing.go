package gateway

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// received is an incoming letter, read back from the journal.
type received struct {
	letter ReceivedLetter
	raw    string // digest of the mail
	rows   []DocumentRow
	marks  []DocumentMark
}

func (g *Gateway) received(ctx context.Context, submission string) (received, error) {
	var v received
	s, rows, err := g.Journal.Submission(ctx, submission)
	if err != nil {
		return v, err
	}
	if s.Envelope != nil { // a mail that a person rejected has none
		if err := json.Unmarshal(s.Envelope, &v.letter); err != nil {
			return v, fault.New(fault.Internal).Because(err)
		}
	}
	v.raw, v.rows = s.Digest, rows
	for _, row := range rows {
		v.marks = append(v.marks, DocumentMark{UniqueID: row.UniqueID, SetID: row.SetID, Version: row.Version, TypeCode: row.TypeCode})
	}
	return v, nil
}

// toApplication brings the documents of an incoming letter to the hospital
// software, one MDM each, then queues the read receipt that says what became of
// them. MSH-10 is the same on every resend, so that the hospital recognises a
// document whose acknowledgement was lost; after a refusal a new round has its
// own (Remote), so that the refusal is not just repeated.
func (d *Deliverer) toApplication(ctx context.Context, del lease) result {
	v, err := d.Gateway.received(ctx, del.Submission)
	r := result{documents: v.marks}
	if err != nil {
		r.err = err
		return r
	}
	if err := d.Gateway.Journal.MarkSent(ctx, del.ID, del.holder, ""); err != nil {
		r.err = err
		return r
	}
	r.sent, r.ack = true, ackApplication
	for _, row := range v.rows {
		if r.err = d.file(ctx, del, v, row); r.err != nil {
			break
		}
	}
	d.Gateway.step(StepFiled, del.Submission)
	r.next = d.Gateway.answer(del.Delivery, v.letter.Receipt, applicationCode(r.err))
	return r
}

func (d *Deliverer) file(ctx context.Context, del lease, v received, row DocumentRow) error {
	content, err := d.Gateway.Journal.Fetch(ctx, row.Digest)
	if err != nil {
		return err
	}
	doc, err := cda.Options{Location: d.Gateway.Settings.Zone}.Read(content)
	if err != nil {
		return err
	}
	md, _ := doc.Metadata(content)
	if row.Index < len(v.letter.Visibility) {
		md.Visibility = v.letter.Visibility[row.Index]
	}
	action := dmp.New
	if row.Index < len(v.letter.Actions) && v.letter.Actions[row.Index] != "" {
		action = v.letter.Actions[row.Index]
	}
	return d.Application.File(ctx, Filing{
		ControlID: noticeID("mdm/"+row.UniqueID+del.Remote, del.ID), Composed: del.Created, Establishment: del.Establishment, Action: action,
		Patient: v.letter.Person, Document: content, Metadata: md,
		MessageID: v.letter.MessageID, Subject: v.letter.Subject, Body: v.letter.Body, Sender: v.letter.Sender, Recipients: v.letter.To,
	})
}

// applicationCode is ERR-5 of a refusal by the hospital; 906 when it gave none,
// empty when there is no refusal.
func applicationCode(err error) string {
	if err == nil || fault.From(err).Kind == fault.Temporary {
		return ""
	}
	var a interface{ ApplicationCode() string }
	if errors.As(err, &a) && a.ApplicationCode() != "" {
		return a.ApplicationCode()
	}
	return "906"
}

// applicationTexts are the labels of the volet's application errors (VOL-B).
var applicationTexts = map[string]string{
	"900": "Version du document incorrecte", "901": "Demandeur non habilité", "902": "Patient inconnu", "903": "INS absent du document",
	"904": "INS ou traits discordants", "905": "Traits INS incomplets", "906": "Autre",
}

// toSender answers an incoming letter with the read receipt that it asked for.
func (d *Deliverer) toSender(ctx context.Context, del lease) result {
	v, err := d.Gateway.received(ctx, del.Submission)
	r := result{documents: v.marks}
	if err == nil && d.Mail == nil {
		err = fault.New(FaultNoMail)
	}
	if err != nil {
		r.err = err
		return r
	}
	raw, err := d.Gateway.Journal.Fetch(ctx, v.raw)
	if err != nil {
		r.err = err
		return r
	}
	in, err := mss.Read(raw, mss.DefaultLimits())
	if err != nil {
		r.err = err
		return r
	}
	to, err := mss.ParseAddress(del.Recipient)
	if err != nil {
		r.err = err
		return r
	}
	bare, err := d.bareReceipt(ctx, v)
	if err != nil {
		r.err = err
		return r
	}
	composed, err := d.Mail.Composer.MDN(mss.Receipt{
		ID: del.ID, Date: del.Created, To: to, Mail: in, Code: del.Remote, Text: applicationTexts[del.Remote], Bare: bare,
	})
	if err != nil {
		r.err = err
		return r
	}
	composed.From = mss.Address{} // RFC 8098 §3: nothing is ever sent back about a receipt
	d.submit(ctx, del, composed, &r)
	return r
}

// bareReceipt asks the gate whether the documents of a letter may go back with its
// receipt; bare when they may not. The person vouches for them, as held when the
// letter came.
func (d *Deliverer) bareReceipt(ctx context.Context, v received) (bare bool, err error) {
	if len(v.rows) == 0 {
		return true, nil // rejected by a person: nobody vouches for what it holds
	}
	for _, row := range v.rows {
		content, err := d.Gateway.Journal.Fetch(ctx, row.Digest)
		if err != nil {
			return true, err
		}
		doc, err := cda.Options{Location: d.Gateway.Settings.Zone}.Read(content)
		if err != nil {
			return true, err
		}
		bare = bare || ins.Gate(doc.Patient().VouchedBy(v.letter.Person), ins.ToProfessional) != nil
	}
	return bare, nil
}
