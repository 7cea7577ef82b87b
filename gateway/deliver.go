package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
)

// Backoff is how long a delivery waits after a temporary error.
type Backoff struct {
	First  time.Duration // after the first attempt
	Max    time.Duration // never longer
	GiveUp time.Duration // after this age the delivery fails with GW-EXPIRED; zero: never
}

// after is the wait before the next attempt: doubled each time, with up to a
// fifth of jitter so that many deliveries do not come back together.
func (b Backoff) after(attempts int, jitter float64) time.Duration {
	d := b.First
	for i := 1; i < attempts && d < b.Max; i++ {
		d *= 2
	}
	d = min(d, b.Max)
	return d - time.Duration(float64(d)*0.2*jitter)
}

// Deliverer works on due deliveries in place: leased, attempted, settled. It is
// safe to run several on one journal. What a crash interrupts is found again as
// due, and the other side is asked before anything is sent a second time.
type Deliverer struct {
	Gateway     *Gateway // the rules, applied again before sending
	Archive     Archive
	Hospital    Hospital
	Application Application // brings received documents to the hospital; nil with Mail
	Downstream  Downstream  // tells the hospital of lowered identities; nil without Register
	Mail        *Mail       // nil: no operator is configured
	Webhook     Webhook     // required where [Gateway.Hooked] names a site
	Holder      string      // distinct for every running instance; each lease adds its number
	Lease       time.Duration
	Poll        time.Duration // at most this long without looking, for work that other instances queued
	Workers     int           // deliveries at once, per destination; to software of the hospital, per site too
	Backoff     Backoff
	Jitter      func() float64 // in [0,1)
	Log         *slog.Logger

	wake   map[string]chan struct{}
	once   sync.Once
	leases atomic.Int64
}

var destinations = []string{DestinationDMP, DestinationZAM, DestinationPro, DestinationPat, DestinationMDM, DestinationMDN, DestinationWebhook, DestinationA47}

// Destinations are all there are.
func Destinations() []string { return slices.Clone(destinations) }

func (d *Deliverer) init() {
	d.once.Do(func() {
		d.wake = map[string]chan struct{}{}
		for _, dest := range destinations {
			d.wake[dest] = make(chan struct{}, 1)
		}
	})
}

// Wake says that something may be due.
func (d *Deliverer) Wake() {
	d.init()
	for _, c := range d.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Run delivers until the context ends, then waits for the attempts in hand.
// The destinations never hold each other up.
func (d *Deliverer) Run(ctx context.Context) {
	d.init()
	var wg sync.WaitGroup
	for _, dest := range destinations {
		if dest == DestinationA47 && d.Gateway.Register == nil {
			continue // a key file that is missing today must not give up what is to be told
		}
		wg.Go(func() { d.run(ctx, dest) })
	}
	wg.Go(func() { d.giveUpReports(ctx) })
	wg.Wait()
}

// giveUpReports ends the letters whose report never came: taken by the operator,
// and nothing more is known. No ZAM tells what was not seen.
func (d *Deliverer) giveUpReports(ctx context.Context) {
	t := time.NewTicker(5 * d.Poll)
	defer t.Stop()
	for ctx.Err() == nil {
		g := d.Gateway
		now := g.Clock()
		late, err := g.Journal.Overdue(ctx, now, 100)
		for _, del := range late {
			applied := g.Journal.Apply(ctx, Report{
				Key: "no-report/" + del.inRound(del.ID), Delivery: del.ID, Round: del.Round, Was: Waiting, State: Done,
				Events: []Event{{
					Submission: del.Submission, Time: now, Step: EventDSN, Outcome: OutcomeWarning, Code: FaultNoReport,
					Destination: del.Destination, Recipient: del.Recipient, Attempt: del.Attempts,
				}},
				Next: g.hook(del, now),
			})
			// Its report came after all, since it was read.
			if !errors.Is(applied, ErrDecided) && !errors.Is(applied, ErrDuplicate) {
				err = errors.Join(err, applied)
			}
		}
		if len(late) > 0 {
			d.Wake()
		}
		if err != nil && ctx.Err() == nil {
			d.Log.Error("letters without report cannot be ended", "code", fault.From(err).Code, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// ofTheHospital are the destinations where each site has software of its own.
// The others are one DMP and one operator for all.
var ofTheHospital = []string{DestinationZAM, DestinationMDM, DestinationWebhook, DestinationA47}

// run works on one destination. Where each site has software of its own, each has
// its own workers too: a site whose software is silent keeps them all waiting,
// and nobody else's.
func (d *Deliverer) run(ctx context.Context, destination string) {
	apart := slices.Contains(ofTheHospital, destination)
	team := team{most: d.Workers, busy: map[string]int{}}
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		full := team.full() // never lease what no worker is free to do
		if !apart && len(full) > 0 {
			select {
			case <-ctx.Done():
			case <-d.wake[destination]: // also when a worker is free again
			}
			continue
		}
		now := d.Gateway.Clock()
		// One holder a lease: a late attempt must not settle its successor's.
		holder := d.Holder + "/" + strconv.FormatInt(d.leases.Add(1), 10)
		claimed, err := d.Gateway.Journal.Claim(ctx, destination, holder, now, now.Add(d.Lease), 1, full...)
		if err != nil || len(claimed) == 0 {
			if err != nil && ctx.Err() == nil {
				d.Log.Error("deliveries cannot be read", "destination", destination, "code", fault.From(err).Code, "error", err)
			}
			d.wait(ctx, destination, full)
			continue
		}
		site := ""
		if apart {
			site = claimed[0].Establishment.FINESSGeo
		}
		team.add(site, 1)
		wg.Go(func() {
			d.attempt(context.WithoutCancel(ctx), lease{claimed[0], holder})
			team.add(site, -1)
			d.Wake() // its follower, or its ZAM, may now be due
		})
	}
}

// team counts who is at work, by site.
type team struct {
	most int
	mu   sync.Mutex
	busy map[string]int
}

func (t *team) add(site string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[site] += n; t.busy[site] == 0 {
		delete(t.busy, site)
	}
}

// full are the sites that have no worker free.
func (t *team) full() (sites []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for site, n := range t.busy {
		if n >= t.most {
			sites = append(sites, site)
		}
	}
	return sites
}

func (d *Deliverer) wait(ctx context.Context, destination string, except []string) {
	wait := d.Poll
	if next, err := d.Gateway.Journal.NextDue(ctx, destination, except...); err == nil && !next.IsZero() {
		// Never zero: what is due but held back by an earlier delivery would spin.
		wait = min(wait, max(next.Sub(d.Gateway.Clock()), 10*time.Millisecond))
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-d.wake[destination]:
	case <-t.C:
	}
}

// lease is a delivery and the name under which it is held.
type lease struct {
	Delivery
	holder string
}

// attempt does one delivery once and settles it, whatever comes. A shutdown
// lets it end. The work has most of the lease, settling has the rest: an attempt
// that took all its time must still be able to say so.
func (d *Deliverer) attempt(ctx context.Context, del lease) {
	g := d.Gateway
	g.step(StepLeased, del.Submission)
	s, r := d.work(ctx, del)
	ctx, cancel := context.WithTimeout(ctx, d.Lease/5)
	defer cancel()
	if err := g.Journal.Settle(ctx, s); err != nil {
		// Nothing is lost: the lease ends and the delivery is due again, or a
		// receipt that came faster has settled it.
		d.Log.Warn("an attempt could not be settled", "submission", del.Submission, "delivery", del.ID,
			"destination", del.Destination, "lost", errors.Is(err, ErrLeaseLost), "error", err)
		return
	}
	g.step(StepSettled, del.Submission)
	g.Meters.add(MeterDeliveries, del.Destination, string(s.State))
	level := slog.LevelInfo
	if s.State == Failed {
		level = slog.LevelWarn // nobody may be told of it otherwise: a ZAM refused by the hospital, A-09
	}
	d.Log.Log(ctx, level, "delivery", "submission", del.Submission, "destination", del.Destination,
		"state", s.State, "code", s.Code, "attempt", del.Attempts, "cause", cause(r.err))
}

func (d *Deliverer) work(ctx context.Context, del lease) (Settlement, result) {
	ctx, cancel := context.WithTimeout(ctx, d.Lease*4/5)
	defer cancel()
	var r result
	switch del.Destination {
	case DestinationDMP:
		r = d.toDMP(ctx, del)
	case DestinationZAM:
		r = d.toHospital(ctx, del)
	case DestinationPro, DestinationPat:
		r = d.toOperator(ctx, del)
	case DestinationMDM:
		r = d.toApplication(ctx, del)
	case DestinationMDN:
		r = d.toSender(ctx, del)
	case DestinationWebhook:
		r = d.toWebhook(ctx, del)
	case DestinationA47:
		r = d.toSoftware(ctx, del)
	default:
		r = result{err: fault.New(fault.Internal)}
	}
	return d.settlement(del, r), r
}

func cause(err error) error {
	if err == nil {
		return nil
	}
	return fault.From(err).Unwrap()
}

// result is what one attempt found.
type result struct {
	err       error  // nil: the other side did it
	ack       string // what it answered then; an error has its own
	warning   string
	waiting   time.Time     // not zero: handed over, a report is expected until then
	retry     time.Duration // not zero: the wait before the next attempt, instead of the backoff
	sent      bool          // a request may have reached the other side
	unsent    bool          // the other side said that nothing of this attempt reached it
	documents []DocumentMark
	fates     []DocumentFate
	notice    *Notice    // to tell the hospital when the delivery ends; completed by settlement
	next      []Delivery // what else follows when the delivery ends
}

// settlement turns a result into what the journal commits.
func (d *Deliverer) settlement(del lease, r result) Settlement {
	g := d.Gateway
	now := g.Clock()
	s := Settlement{Delivery: del.ID, Holder: del.holder, Sent: r.sent || del.Sent && !r.unsent, State: Done, Documents: r.fates}
	outcome := OutcomeOK
	ack := r.ack
	if r.err != nil {
		f := fault.From(r.err)
		s.Code = f.Code
		ack = ackCode(r.err)
		switch age := now.Sub(del.begun()); {
		case f.Kind == fault.Permanent:
			s.State, outcome = Failed, OutcomeFailed
		case d.Backoff.GiveUp > 0 && age > d.Backoff.GiveUp:
			s.State, outcome, s.Code = Failed, OutcomeFailed, FaultExpired
		default:
			s.State, outcome = Due, OutcomeRetry
			s.Due = now.Add(d.Backoff.after(del.Attempts, d.Jitter()))
			if r.retry > 0 {
				s.Due = now.Add(r.retry)
			}
		}
		s.Documents = nil
	}
	if r.err == nil && !r.waiting.IsZero() {
		s.State, s.Due = Waiting, r.waiting
	}
	marks := r.documents
	if len(marks) == 0 {
		marks = []DocumentMark{{}}
	}
	for _, m := range marks {
		e := Event{
			Submission: del.Submission, Time: now, Step: stepOf(del.Delivery), Outcome: outcome, Code: s.Code, AckCode: ack,
			Destination: del.Destination, Recipient: del.Recipient, Attempt: del.Attempts, Document: m,
		}
		if r.warning != "" && outcome == OutcomeOK {
			e.Outcome, e.Code = OutcomeWarning, r.warning
		}
		s.Events = append(s.Events, e)
	}
	if s.State == Done || s.State == Failed {
		if r.notice != nil {
			n := *r.notice
			n.Composed, n.Success = now, s.State == Done
			if !n.Success {
				row, _ := fault.Lookup(s.Code)
				n.Text = row.FR
				if n.Code == "" {
					n.Code = noticeCode(n.Event, row)
				}
			}
			s.Next = append(s.Next, g.follow(del.Delivery, DestinationZAM, now, &n))
		}
		for _, next := range r.next {
			if next.Destination == DestinationMDN && s.State == Failed && next.Remote == "" {
				next.Remote = "906" // given up: the document was never filed
			}
			s.Next = append(s.Next, next)
		}
		s.Next = append(s.Next, g.hook(del.Delivery, now)...)
	}
	return s
}

// begun is when the round that is under way began.
func (del Delivery) begun() time.Time {
	if del.Since.IsZero() {
		return del.Created
	}
	return del.Since
}

// inRound is a name that a delivery gave, distinct in each of its rounds: what
// is told of one round must not be taken for what was told of another.
func (del Delivery) inRound(name string) string {
	if del.Round == 0 {
		return name
	}
	return name + "." + strconv.Itoa(del.Round)
}

// noticeCode is ERR-5 of a ZAM that no answer of the other side gives: our code
// for the DMP, and for mail a code of the table SMTPERRORCODE.
func noticeCode(event string, row fault.Row) string {
	if event == "Z01" {
		return row.Code
	}
	return strconv.Itoa(mss.SMTPErrorCode(row.SMTP.Code, row.SMTP.Enhanced))
}

// follow is a delivery that comes of another one.
func (g *Gateway) follow(del Delivery, destination string, now time.Time, n *Notice) Delivery {
	return Delivery{
		ID: g.NewID(), Submission: del.Submission, Establishment: del.Establishment,
		Destination: destination, State: Due, Created: now, Due: now, Notice: n,
	}
}

// stepOf names the step of a timeline that a delivery is: its destination.
func stepOf(del Delivery) string {
	switch del.Destination {
	case DestinationPro, DestinationPat:
		return EventMail
	}
	return del.Destination
}

// What the other side answers when it did what was asked: an application has one
// MSA-1 for that, an operator one reply to the end of DATA (RFC 5321 §4.3.2).
const (
	ackApplication = "AA"
	ackOperator    = "250"
)

// ackCode is what the other side answered, when the error knows it.
func ackCode(err error) string {
	var a interface{ AckCode() string }
	if errors.As(err, &a) {
		return a.AckCode()
	}
	return ""
}

// toHospital sends one ZAM. Its bytes are the same on every resend, so the
// hospital can recognise by MSH-10 one whose acknowledgement was lost.
func (d *Deliverer) toHospital(ctx context.Context, del lease) result {
	if del.Notice == nil {
		return result{err: fault.New(fault.Internal)}
	}
	if err := d.Gateway.Journal.MarkSent(ctx, del.ID, del.holder, ""); err != nil {
		return result{err: err}
	}
	err := d.Hospital.Notify(ctx, *del.Notice)
	return result{err: err, sent: true, ack: ackApplication}
}
