package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/xdm"
)

// Receiver reads the gateway's mailbox: receipts to the letters that they are
// about, documents to the hospital, everything else to quarantine. A mail is
// marked as treated only after what was decided of it is committed; a crash in
// between reads it again, and its key shows that it was treated.
type Receiver struct {
	Gateway       *Gateway
	Mailbox       Mailbox
	Identities    Identities
	Own           mss.Address   // the mailbox: nothing is answered to it
	Establishment Establishment // whose mailbox it is
	Poll          time.Duration
	OnError       func(error)
}

// Run reads the mailbox until the context ends.
func (r *Receiver) Run(ctx context.Context) {
	t := time.NewTicker(r.Poll)
	defer t.Stop()
	for {
		err := r.Mailbox.Each(ctx, func(raw []byte) error { return r.Receive(ctx, raw) },
			func(name string, reason error) error {
				// The mail stays in the mailbox; what is kept of it is its name there.
				return r.quarantine(ctx, []byte("mail "+name), nil, reason)
			})
		if err != nil && ctx.Err() == nil {
			r.OnError(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Receive decides of one mail and commits what it decided. An error means that
// nothing was committed: the mail stays as it is and is read again.
func (r *Receiver) Receive(ctx context.Context, raw []byte) error {
	in, err := mss.Read(raw, mss.DefaultLimits())
	if err != nil {
		return r.quarantine(ctx, raw, in, err)
	}
	switch in.Kind {
	case mss.KindDSN:
		return r.report(ctx, raw, in, r.dsn)
	case mss.KindMDN:
		return r.report(ctx, raw, in, r.mdn)
	}
	return r.letter(ctx, raw, in)
}

// report applies a receipt. One that is about no letter of ours, or about
// another recipient of it, goes to quarantine.
func (r *Receiver) report(ctx context.Context, raw []byte, in *mss.Incoming, read func(context.Context, *mss.Incoming) ([]Report, error)) error {
	reports, err := read(ctx, in)
	if errors.Is(err, ErrNotFound) {
		return r.quarantine(ctx, raw, in, fault.New(FaultReceiptUnknown))
	}
	if err != nil {
		return err
	}
	for _, rep := range reports {
		err := r.Gateway.Journal.Apply(ctx, rep)
		if errors.Is(err, ErrDecided) && ctx.Err() == nil {
			return r.report(ctx, raw, in, read) // a person began the letter again meanwhile: what it says is another thing
		}
		if err != nil && !errors.Is(err, ErrDuplicate) {
			return err
		}
		if err == nil && len(rep.Events) > 0 {
			r.Gateway.Meters.add(MeterReceipts, rep.Events[0].Step, rep.Events[0].Outcome)
		}
	}
	r.Gateway.wake()
	return nil
}

// forged tells a receipt that does not come from whom it speaks for: a read
// receipt from another domain than its recipient's, a delivery report that is
// not from a mail system (null return path) and does not know our ENVID.
func forged(in *mss.Incoming, recipient string) bool {
	if in.DSN != nil {
		return !in.NullReturn && in.DSN.EnvelopeID == ""
	}
	from := in.ReturnPath
	if from == "" {
		from = in.From
	}
	return !strings.EqualFold(domainOf(from), domainOf(recipient)) || in.From != "" && !strings.EqualFold(domainOf(in.From), domainOf(recipient))
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}

// dsn is what a delivery report says, by the ENVID that we gave and the
// recipient that it names.
func (r *Receiver) dsn(ctx context.Context, in *mss.Incoming) (all []Report, err error) {
	stranger := false
	for _, line := range in.DSN.Recipients {
		if !line.Settled() {
			continue // delayed: another report will come
		}
		id, round := sentAs(in.DSN.EnvelopeID)
		del, w, err := r.about(ctx, id, in.DSN.OriginalMessageID, line.Address())
		if errors.Is(err, ErrNotFound) {
			stranger = true // those of whom it is about another line are told all the same
			continue
		}
		if err != nil {
			return nil, err
		}
		if forged(in, del.Recipient) || round > del.Round {
			return nil, ErrNotFound
		}
		failed := line.Err()
		if id == "" {
			round = del.Round // known by its Message-ID alone, which all rounds share
		}
		told := del
		told.Round = round
		rep := Report{Key: "dsn/" + told.inRound(del.ID) + "/" + line.Action, Delivery: del.ID, Round: del.Round, State: Done}
		answer, outcome := "Y", OutcomeOK
		if failed != nil {
			rep.State, rep.Code, answer, outcome = Failed, fault.From(failed).Code, "N", OutcomeFailed
		}
		rep.Ended = r.events(del, w, EventMail, OutcomeOK, "", "") // the report was faster than the attempt
		rep.Events = r.events(del, w, EventDSN, outcome, rep.Code, line.Status)
		if line.Relayed() { // no Z02 tells more than was seen
			rep.Events = r.events(del, w, EventDSN, OutcomeWarning, FaultNoReport, line.Status)
		}
		if failed != nil && round < del.Round {
			// Of a round that was over already, and told: it changes nothing.
			rep.State, rep.Code = "", ""
			all = append(all, rep)
			continue
		}
		if w.in.Flags.WantReception && !line.Relayed() {
			n := w.letterNotice("Z02", answer, told)
			if failed != nil {
				row, _ := fault.Lookup(rep.Code)
				n.Code, n.Text = strconv.Itoa(line.SMTPErrorCode()), row.FR
			}
			rep.Next = r.tell(del, n, failed == nil)
		}
		rep.Next = append(rep.Next, r.Gateway.hook(del, r.Gateway.Clock())...)
		all = append(all, rep)
	}
	if stranger && len(all) == 0 {
		return nil, ErrNotFound
	}
	return all, nil
}

// sentAs reads an ENVID that we gave: the id of a delivery, and its round.
func sentAs(envelope string) (id string, round int) {
	id, suffix, found := strings.Cut(envelope, ".")
	n, err := strconv.Atoi(suffix)
	if !found || err != nil || n < 1 {
		return envelope, 0
	}
	return id, n
}

// mdn is what a read receipt says, by the Message-ID that we gave.
func (r *Receiver) mdn(ctx context.Context, in *mss.Incoming) ([]Report, error) {
	m := in.MDN
	named := m.Recipient()
	if named == "" {
		named = in.From // who names nobody speaks for himself
	}
	del, w, err := r.about(ctx, "", m.OriginalMessageID, named)
	if err != nil {
		return nil, err
	}
	if forged(in, del.Recipient) {
		return nil, ErrNotFound
	}
	rep := Report{Key: "mdn/" + del.ID + "/" + m.Disposition + "/" + yes(m.Failed), Delivery: del.ID, Round: del.Round}
	outcome, answer := OutcomeOK, "Y"
	if err := m.Err(); err != nil {
		rep.Code, outcome, answer = fault.From(err).Code, OutcomeFailed, "N"
	}
	rep.Events = r.events(del, w, EventMDN, outcome, rep.Code, m.Disposition)
	if w.in.Flags.WantReading {
		n := w.letterNotice("Z03", answer, del)
		if m.Failed {
			n.Code, n.Text = m.Code, m.Text
			label, known := applicationTexts[n.Code]
			if !known { // none, or one that the table of ERR-5 does not have
				n.Code, label = "906", applicationTexts["906"]
			}
			if m.Unread {
				row, _ := fault.Lookup(rep.Code)
				label = row.FR
			}
			n.Text = cmp.Or(n.Text, label)
		}
		rep.Next = r.tell(del, n, !m.Failed)
	}
	rep.Next = append(rep.Next, r.Gateway.hook(del, r.Gateway.Clock())...)
	return []Report{rep}, nil
}

// xtext is how an address travels as ORCPT (RFC 3461 §4). Some servers report it
// as it came.
var xtext = strings.NewReplacer("+", "+2B", "=", "+3D")

// about finds the letter that a receipt is about. The recipient must be the one
// that the letter went to.
func (r *Receiver) about(ctx context.Context, id, messageID, recipient string) (Delivery, request, error) {
	del, err := r.Gateway.Journal.Letter(ctx, id, messageID)
	if err != nil {
		return del, request{}, err
	}
	if del.Recipient != "" && recipient != "" && !strings.EqualFold(del.Recipient, recipient) && !strings.EqualFold(xtext.Replace(del.Recipient), recipient) {
		return del, request{}, ErrNotFound
	}
	w, err := r.Gateway.envelope(ctx, del.Submission)
	return del, w, err
}

func (r *Receiver) events(del Delivery, w request, step, outcome, code, ack string) (all []Event) {
	marks := w.marks
	if len(marks) == 0 {
		marks = []DocumentMark{{}} // a receipt about the answer to a mail that was rejected
	}
	for _, m := range marks {
		all = append(all, Event{
			Submission: del.Submission, Time: r.Gateway.Clock(), Step: step, Outcome: outcome, Code: code, AckCode: ack,
			Destination: del.Destination, Recipient: del.Recipient, Attempt: del.Attempts, Document: m,
		})
	}
	return all
}

func (r *Receiver) tell(del Delivery, n *Notice, success bool) []Delivery {
	now := r.Gateway.Clock()
	n.Composed, n.Success = now, success
	return []Delivery{r.Gateway.follow(del, DestinationZAM, now, n)}
}

// ReceivedLetter is the envelope of an incoming letter, as the journal keeps it.
type ReceivedLetter struct {
	MessageID string       `json:"message_id"`
	Subject   string       `json:"subject"`
	Sender    string       `json:"sender"`
	To        []string     `json:"to,omitempty"`
	Body      string       `json:"body,omitempty"`
	Receipt   string       `json:"receipt,omitempty"` // where an MDN goes; empty: nowhere
	Actions   []dmp.Action `json:"actions,omitempty"` // of each document
	Person    ins.Identity `json:"person"`            // as the hospital holds it
	// Visibility is what the archive says of each document: it stands in the
	// metadata and not in the CDA.
	Visibility [][]dmp.Visibility `json:"visibility,omitempty"`
}

// letter takes the document out of an incoming letter and queues it for the
// hospital, if its patient is exactly one person held as qualified. Anything
// else waits for a person: never a guess.
func (r *Receiver) letter(ctx context.Context, raw []byte, in *mss.Incoming) error {
	if in.MessageID != "" {
		if _, err := r.Gateway.Journal.Letter(ctx, "", in.MessageID); err == nil {
			return r.quarantine(ctx, raw, in, fault.New(FaultMailLoop)) // our own letter came back
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	docs, err := r.open(in)
	if err != nil {
		return r.quarantine(ctx, raw, in, err)
	}
	person, err := r.person(ctx, docs)
	if err != nil {
		if f := fault.From(err); f.Kind == fault.Temporary {
			return err
		}
		return r.quarantine(ctx, raw, in, err)
	}
	return r.keep(ctx, raw, in, docs, person)
}

// opened is one document of a letter, read.
type opened struct {
	content  []byte
	metadata dmp.Metadata
	action   dmp.Action
}

// open reads the archive and every CDA in it. The metadata of the archive are
// what the sender claims; the CDA has the last word and must agree.
func (r *Receiver) open(in *mss.Incoming) ([]opened, error) {
	if sender(in) == "" { // the hospital software cannot be told where it comes from
		return nil, &mss.Error{Code: mss.FaultMIME, Where: "from"}
	}
	data, err := in.Archive()
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fault.New(FaultNoArchive)
	}
	archive, err := xdm.Unpack(data, xdm.DefaultLimits())
	if err != nil {
		return nil, err
	}
	var docs []opened
	for _, d := range archive.Documents {
		md, err := ReadReceived(d, r.Gateway.Settings.Zone)
		if err != nil {
			return nil, err
		}
		docs = append(docs, opened{content: d.Content, metadata: md, action: d.Action})
	}
	if len(docs) == 0 {
		return nil, fault.New(FaultNoArchive)
	}
	return docs, nil
}

// ReadReceived reads the CDA of one document of an archive that was received.
// The metadata are those of the CDA, with the visibility that only the archive
// can say; a contradiction between the two is refused.
func ReadReceived(d xdm.Document, zone *time.Location) (dmp.Metadata, error) {
	doc, err := cda.Options{Location: zone}.Read(d.Content)
	if err != nil {
		return dmp.Metadata{}, err
	}
	if blocking := doc.Blocking(); len(blocking) > 0 {
		return dmp.Metadata{}, blocking[0]
	}
	md, _ := doc.Metadata(d.Content)
	if err := ins.Contradiction(ins.CompareOutbound(d.Metadata.Patient, md.Patient)); err != nil {
		return dmp.Metadata{}, err
	}
	if d.Metadata.UniqueID.String() != md.UniqueID.String() {
		return dmp.Metadata{}, fault.New(FaultIDMismatch)
	}
	md.Visibility = d.Metadata.Visibility
	return md, nil
}

// person finds the one person whom all documents concern.
func (r *Receiver) person(ctx context.Context, docs []opened) (ins.Identity, error) {
	first := docs[0].metadata.Patient.ByContract()
	for _, d := range docs[1:] {
		if err := ins.Contradiction(ins.CompareOutbound(first, d.metadata.Patient)); err != nil {
			return ins.Identity{}, err
		}
	}
	held, err := r.Identities.Candidates(ctx, r.Establishment.FINESSEJ, first)
	if err != nil {
		return ins.Identity{}, err
	}
	filing := ins.Policy{}.File(first, held)
	i, ok := filing.Filed()
	if !ok {
		return ins.Identity{}, fault.New(filing.Code)
	}
	// What the gate would hold back on the way to the hospital waits here, where a
	// person sees why, and not as a delivery that fails.
	for _, d := range docs {
		if err := ins.Gate(d.metadata.Patient.VouchedBy(held[i].Identity), ins.ToHL7); err != nil {
			return ins.Identity{}, err
		}
	}
	return held[i].Identity, nil
}

// keep commits an incoming letter with one delivery to the hospital a document.
func (r *Receiver) keep(ctx context.Context, raw []byte, in *mss.Incoming, docs []opened, person ins.Identity) error {
	g := r.Gateway
	s := r.submission(raw, in)
	if _, err := g.Journal.Keep(ctx, raw); err != nil {
		return err
	}
	f, err := r.filed(ctx, in, docs, person)
	if err != nil {
		return err
	}
	s.State, s.Action, s.INSStatus, s.Envelope = Pending, f.Action, f.INSStatus, f.Envelope
	err = g.Journal.Record(ctx, Entry{
		Submission: s, Documents: f.Documents,
		Events:     []Event{{Submission: s.ID, Time: s.Received, Step: EventAccepted, Outcome: OutcomeOK}},
		Deliveries: []Delivery{g.follow(Delivery{Submission: s.ID, Establishment: s.Establishment}, DestinationMDM, s.Received, nil)},
	})
	if err != nil && !errors.Is(err, ErrDuplicate) {
		return err
	}
	if err == nil {
		g.Meters.add(MeterSubmissions, s.Door, string(Accepted))
	}
	g.wake()
	return nil
}

// filed is what a letter becomes once it is known whom it concerns. The bytes of
// its documents are kept.
func (r *Receiver) filed(ctx context.Context, in *mss.Incoming, docs []opened, person ins.Identity) (*Filed, error) {
	letter := ReceivedLetter{
		MessageID: in.MessageID, Subject: in.Subject, Sender: sender(in), To: in.To, Body: in.Text, Person: person, Receipt: r.receiptTo(in),
	}
	for _, d := range docs {
		letter.Visibility = append(letter.Visibility, d.metadata.Visibility)
		letter.Actions = append(letter.Actions, d.action)
	}
	envelope, err := json.Marshal(letter)
	if err != nil {
		return nil, fault.New(fault.Internal).Because(err)
	}
	f := &Filed{Action: docs[0].action, INSStatus: string(person.Status), Envelope: envelope}
	for i, d := range docs {
		digest, err := r.Gateway.Journal.Keep(ctx, d.content)
		if err != nil {
			return nil, err
		}
		row := DocumentRow{
			Index: i, UniqueID: d.metadata.UniqueID.String(), SetID: d.metadata.SetID.String(), Version: d.metadata.Version,
			TypeCode: d.metadata.Type.Code, Digest: digest, Size: int64(len(d.content)),
		}
		if d.metadata.Replaces != nil {
			row.Replaces = d.metadata.Replaces.String()
		}
		f.Documents = append(f.Documents, row)
	}
	return f, nil
}

// sender is who wrote a letter; the envelope says it when the header does not.
func sender(in *mss.Incoming) string { return cmp.Or(in.From, in.ReturnPath) }

// receiptTo is where a read receipt of a letter may go; empty: nowhere.
func (r *Receiver) receiptTo(in *mss.Incoming) string {
	ours := func(string) bool { return false } // a letter of ours was recognised before
	if to, err := in.ReceiptAddress(ours); err == nil && to.Key() != r.Own.Key() {
		return to.String()
	}
	return ""
}

// quarantine keeps a mail for a person, with the reason.
func (r *Receiver) quarantine(ctx context.Context, raw []byte, in *mss.Incoming, reason error) error {
	if _, err := r.Gateway.Journal.Keep(ctx, raw); err != nil {
		return err
	}
	f := fault.From(reason)
	s := r.submission(raw, in)
	s.State, s.Code = Quarantined, f.Code
	err := r.Gateway.Journal.Record(ctx, Entry{
		Submission: s,
		Events:     []Event{{Submission: s.ID, Time: s.Received, Step: EventQuarantined, Outcome: OutcomeFailed, Code: f.Code, Where: f.Where}},
	})
	if errors.Is(err, ErrDuplicate) {
		return nil
	}
	if err == nil {
		r.Gateway.Meters.add(MeterSubmissions, s.Door, string(Quarantined))
		r.Gateway.Log.Warn("a mail waits in quarantine", "submission", s.ID, "code", f.Code, "text", f.FR)
	}
	return err
}

// submission is the row of an incoming mail. Its key is the mail itself, without
// what the operators add on the way: one that is physically received twice is
// shown once.
func (r *Receiver) submission(raw []byte, in *mss.Incoming) Submission {
	sum := sha256.Sum256(raw)
	s := Submission{
		ID: r.Gateway.NewID(), Received: r.Gateway.Clock(), Door: DoorMail, Establishment: r.Establishment,
		Digest: hex.EncodeToString(sum[:]), Rules: r.Gateway.fingerprint(),
		Message: Message{Type: "mail"},
	}
	id := s.Digest
	if in != nil && in.MessageID != "" {
		s.Message.ControlID = in.MessageID
		h := sha256.New()
		for _, a := range in.Attachments {
			h.Write(a.Content)
		}
		if len(in.Attachments) == 0 { // all that it says; elsewhere operators add lines to it
			h.Write([]byte(in.Text))
		}
		id = strings.ToLower(in.From) + "\x00" + in.MessageID + "\x00" + hex.EncodeToString(h.Sum(nil))
	}
	key := sha256.Sum256([]byte("mail\x00" + id))
	s.Key = hex.EncodeToString(key[:])
	return s
}

// DoorMail is the door of what came to the gateway's mailbox.
const DoorMail = "mail"
