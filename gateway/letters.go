package gateway

import (
	"context"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
)

// letters are the deliveries of mail of one accepted message: one for each
// recipient, so that each has a state of its own.
func (g *Gateway) letters(in Inbound, s Submission) (all []Delivery) {
	if !g.Settings.Mail || len(in.Documents) == 0 {
		return nil
	}
	patient := false
	taken := map[string]bool{} // the same mailbox named twice gets one letter
	for _, r := range in.Recipients {
		d := g.follow(Delivery{Submission: s.ID, Establishment: s.Establishment}, DestinationPro, s.Received, nil)
		d.Recipient = r.Address
		switch {
		case r.Kind == RecipientPatient && in.Flags.ToPatient:
			d.Destination, patient = DestinationPat, true
		case r.Kind == RecipientPatient || !in.Flags.ToProfessionals:
			continue
		}
		key := d.Destination + " " + strings.ToLower(strings.TrimSpace(r.Address))
		if taken[key] {
			continue
		}
		taken[key] = true
		all = append(all, d)
	}
	if in.Flags.ToPatient && !patient {
		// The address follows from the INS when the letter is composed.
		all = append(all, g.follow(Delivery{Submission: s.ID, Establishment: s.Establishment}, DestinationPat, s.Received, nil))
	}
	return all
}

// RecipientPatient is the kind of a recipient who is the patient.
const RecipientPatient = "patient"

// toOperator composes one letter and hands it over. The rules — addressee,
// visibility, INS gate — are applied again now. The bytes are kept before they
// first leave, and a resend sends these same bytes.
func (d *Deliverer) toOperator(ctx context.Context, del lease) result {
	w, err := d.load(ctx, del)
	r := result{documents: w.marks}
	if w.in.Flags.WantReception {
		r.notice = w.letterNotice("Z02", "N", del.Delivery)
	}
	if err == nil && d.Mail == nil {
		err = fault.New(FaultNoMail)
	}
	if err != nil {
		r.err = err
		return r
	}
	letter := w.letter(del.Delivery)
	letter.Opposed, err = d.Gateway.opposedToMail(ctx, w, del.Delivery)
	if err != nil {
		r.err = err
		return r
	}
	composed, err := d.Mail.Composer.Compose(letter)
	if err != nil {
		r.err = err
		return r
	}
	if len(composed.Warnings) > 0 {
		r.warning = composed.Warnings[0].Code
	}
	posted := d.submit(ctx, del, composed, &r)
	switch {
	case posted.Err != nil && r.notice != nil && posted.Code != 0:
		r.notice.Code = strconv.Itoa(posted.Code)
	case r.err == nil && posted.Report:
		r.waiting = d.Gateway.Clock().Add(d.Mail.ReportWait)
	case r.err == nil:
		// No report will come: the operator's yes is all that can be known, and it
		// is not a delivery. No Z02 tells more than was seen.
		r.notice, r.warning = nil, FaultNoReport
	}
	return r
}

// submit hands a letter over. Its bytes are kept before they first leave, and a
// resend sends these same bytes. A letter that a crash caught on its way is of
// unknown fate: its report gets the time to come first.
func (d *Deliverer) submit(ctx context.Context, del lease, composed *mss.Composed, r *result) (posted Posted) {
	if del.Sent && del.Code != FaultFateUnknown {
		r.err, r.retry = fault.New(FaultFateUnknown), d.Mail.UnknownWait
		return posted
	}
	raw, err := composed.Raw, error(nil)
	if del.Letter != "" {
		raw, err = d.Gateway.Journal.Fetch(ctx, del.Letter)
	}
	digest := ""
	if err == nil {
		digest, err = d.Gateway.Journal.Keep(ctx, raw)
	}
	if err == nil {
		err = d.Gateway.Journal.MarkLetter(ctx, del.ID, del.holder, digest, composed.MessageID)
	}
	if err != nil {
		r.err = err
		return posted
	}
	d.Gateway.step(StepSubmitted, del.Submission)
	posted = d.Mail.Operator.Submit(ctx, Posting{ID: del.inRound(del.ID), From: composed.From, To: composed.To, Raw: raw})
	d.Gateway.step(StepPosted, del.Submission)
	r.err, r.sent, r.ack = posted.Err, posted.Err == nil || posted.Unknown, ackOperator
	r.unsent = !r.sent
	if posted.Unknown {
		r.err, r.retry = fault.New(FaultFateUnknown).Because(posted.Err), d.Mail.UnknownWait
	}
	return posted
}

// letterNotice begins the ZAM about one recipient of a letter.
func (w request) letterNotice(event, answer string, del Delivery) *Notice {
	n := w.notice(event, event+answer, del)
	n.Recipient = del.Recipient
	for _, r := range w.in.Recipients {
		if strings.EqualFold(r.Address, del.Recipient) && r.Person != nil {
			n.RecipientID = r.Person.ID.Extension
		}
	}
	return n
}

// letter is one letter of a submission to the recipient of a delivery.
func (w request) letter(del Delivery) mss.Letter {
	f := w.in.Flags
	l := mss.Letter{
		Delivery: del.ID, Date: del.Created, Kind: mss.Professional, To: del.Recipient, ReplyTo: w.in.ReplyTo, Action: w.in.Action,
		Patient: w.in.Patient, LotID: lotID(del.ID), SourceID: w.in.Establishment.SourceOID, ContentType: contentType(w.in.Visit.Class),
		Requester: w.in.Requester, FileNumber: w.in.Visit.FileNumber, Body: w.in.BodyPro,
		HiddenFromPatient: f.HiddenFromPatient, HiddenFromProfessionals: f.HiddenFromProfessionals,
		WantReception: f.WantReception, WantReading: f.WantReading,
	}
	if del.Destination == DestinationPat {
		l.Kind, l.Body, l.PatientMayNotReply = mss.Patient, w.in.BodyPatient, f.PatientMayNotReply
	}
	for i, doc := range w.docs {
		md := doc.metadata
		md.Visibility = visibility(f)
		// A document of which no copy can be made leaves without one, with the
		// composer's warning: the archive holds it whole.
		pdf, _, _ := doc.cda.PDFCopy()
		l.Documents = append(l.Documents, mss.Document{Metadata: md, Content: w.bytes[i], PDF: pdf})
	}
	return l
}
