package ins

import (
	"errors"
	"slices"
	"time"
)

// Record is an identity as a register holds it, with the evidence of its
// status. The status is never set: it follows from two independent axes, the
// control against a high-trust device (Proof) and the retrieval from INSi
// (Trace), and the matricule follows from the second:
//
//	              no Proof   Proof
//	no Trace      PROV       VALI
//	Trace         RECUP      QUAL
//
// A Record is a plain value that [Rules.Apply] replaces; it is never changed in
// place.
type Record struct {
	Identity  Identity `json:"identity"`
	Corrected bool     `json:"corrected,omitempty"` // the birth date was completed or is uncertain
	Proof     *Proof   `json:"proof,omitempty"`
	Trace     *Trace   `json:"trace,omitempty"`
	Former    []Pair   `json:"former,omitempty"` // INS that the record once had, oldest first
	Said      []string `json:"said,omitempty"`   // attributes that the last Assert brought: the next one may take them back
	Merged    bool     `json:"merged,omitempty"` // absorbed by another record: nothing may happen to it
}

// Proof is the identification device that strict traits were controlled
// against.
type Proof struct {
	Device string `json:"device"`           // code of ZFD-7: PA, CN, CS, …
	Expiry string `json:"expiry,omitempty"` // of the device, YYYY-MM-DD
}

// Channels of a [Trace].
const (
	ChannelINSi = "INSI" // the teleservice
	ChannelApp  = "AV"   // Appli carte Vitale, which is proof and retrieval in one
	ChannelADT  = "ADT"  // the word of the establishment's own register; the device of its proofs too
)

// Found is the result code of INSi for one identity found; 01 is none, 02
// several.
const Found = "00"

// Trace is one answer of INSi (or of Appli carte Vitale) that a person
// accepted.
type Trace struct {
	Channel   string    `json:"channel"`
	MessageID string    `json:"message_id,omitempty"` // of the INSi answer
	Result    string    `json:"result,omitempty"`     // 00, 01, 02
	INS       Pair      `json:"ins"`
	Former    []Pair    `json:"former,omitempty"` // INS that INSi says the person once had (INSHISTO)
	Traits    Traits    `json:"traits"`           // verbatim, as returned
	At        time.Time `json:"at"`
}

// Actor is who makes an event happen.
type Actor struct {
	ID       string `json:"id"`                 // RPPS, or the name of a system
	Human    bool   `json:"human,omitempty"`    // a person, not a batch
	Entitled bool   `json:"entitled,omitempty"` // holds the right to control identities
}

// EventKind names what may happen to a record.
type EventKind string

// The events.
const (
	Create        EventKind = "create"         // see [Rules.Create]
	Control       EventKind = "control"        // strict traits controlled: Proof
	Retrieve      EventKind = "retrieve"       // an INSi answer accepted: Trace, and Proof when in the same act
	WithdrawProof EventKind = "withdraw-proof" // the control does not hold
	RemoveINS     EventKind = "remove-ins"     // the INS is another person's
	VerifyKO      EventKind = "verify-ko"      // INSi says that matricule and traits do not agree
	Edit          EventKind = "edit"           // traits typed: Traits, Corrected, and Proof if there is one
	Mark          EventKind = "mark"           // Attribute set
	Unmark        EventKind = "unmark"         // Attribute removed
	Merge         EventKind = "merge"          // absorbed by another record, a proven duplicate
	Assert        EventKind = "assert"         // the establishment's own register says so: Said, Reason names the message
)

// Event is one thing that happens to a record.
type Event struct {
	Kind      EventKind `json:"kind"`
	At        time.Time `json:"at"`
	Actor     Actor     `json:"actor"`
	Proof     *Proof    `json:"proof,omitempty"`
	Trace     *Trace    `json:"trace,omitempty"`
	Traits    *Traits   `json:"traits,omitempty"`
	Corrected bool      `json:"corrected,omitempty"`
	Attribute string    `json:"attribute,omitempty"`
	Said      *Identity `json:"said,omitempty"`
	Former    []Pair    `json:"former,omitempty"` // Assert of a merge: the INS of the records absorbed
	Reason    string    `json:"reason,omitempty"` // words of the actor; stays in the house
}

// Tell is what the systems downstream must be told (PAM.fr): A28 created, A31
// updated, A40 merged, A47 the INS changed or removed.
type Tell struct {
	Event string `json:"event"`
	Old   *Pair  `json:"old,omitempty"` // A47: the INS that goes to MRG-1
}

// Entry is the history of one event that was accepted. Whoever stores the
// record stores the entry with it, in one transaction.
type Entry struct {
	Event Event  `json:"event"`
	From  Status `json:"from,omitempty"`
	To    Status `json:"to"`
	Lost  *Pair  `json:"lost,omitempty"` // the INS that the record lost
	Tell  []Tell `json:"tell,omitempty"`
}

// Rules are what a site may settle of the automaton. The zero value is the default.
type Rules struct {
	// Devices replaces [DefaultDevices] when it is not nil.
	Devices []string
	// Assertions lets Assert happen: the site trusts the register of its
	// establishment (ADT of PAM.fr) for what it controlled and retrieved itself.
	Assertions bool
}

// DefaultDevices are the high-trust devices, as ZFD-7 codes: identity card,
// passport, residence permit, Appli carte Vitale, trusted third party under
// contract. Devices that need a second one (livret de famille and birth extract
// of minors) are for the site to add.
func DefaultDevices() []string { return []string{"CN", "PA", "CS", "AV", "TC"} }

// codes0445 are the attributes that a record may be marked with. DESA comes by
// Merge only.
var codes0445 = []string{
	"VIDE", "DOUB", "DPOT", "DOUA", "COLP", "COLV", "FILI", "CACH", "ANOM", "IDVER", "RECD", "IDRA", "USUR", "INVA",
	AttrHomonym, AttrHomonymSuspected, AttrDoubtful, AttrFictive,
}

// Create makes a record, always PROV. The search for an antecedent
// ([Query.Matches]) comes before, and is the caller's.
func (rules Rules) Create(t Traits, corrected bool, by Actor, at time.Time) (Record, Entry, error) {
	e := Event{Kind: Create, At: at, Actor: by, Traits: &t, Corrected: corrected}
	if err := admissible(e); err != nil {
		return Record{}, Entry{}, err
	}
	if err := judgeTraits(t); err != nil {
		return Record{}, Entry{}, err
	}
	r := Record{Identity: Identity{Traits: t, Status: Provisional}, Corrected: corrected}
	return r, Entry{Event: e, To: Provisional, Tell: []Tell{{Event: "A28"}}}, nil
}

// Apply is the automaton. It gives the record after an event and the entry of
// its history, or refuses with the rule; r itself is left as it was. It is a
// pure function: the same record and event give the same result.
func (rules Rules) Apply(r Record, e Event) (Record, Entry, error) {
	if err := admissible(e); err != nil {
		return r, Entry{}, err
	}
	if err := r.Check(); err != nil {
		return r, Entry{}, err
	}
	if r.Merged {
		return r, Entry{}, transition(e.Kind)
	}
	next := r
	next.Identity.Attributes = slices.Clone(r.Identity.Attributes)
	next.Former = slices.Clone(r.Former)
	var err error
	switch e.Kind {
	case Control:
		err = rules.control(&next, e)
	case Retrieve:
		err = rules.retrieve(&next, e)
	case WithdrawProof:
		if next.Proof == nil {
			err = transition(e.Kind)
		}
		next.Proof = nil
	case RemoveINS, VerifyKO:
		if next.Trace == nil {
			err = transition(e.Kind)
		}
		next.Trace = nil
	case Edit:
		err = rules.edit(&next, e)
	case Mark:
		err = mark(&next, e.Attribute)
	case Unmark:
		i := slices.Index(next.Identity.Attributes, e.Attribute)
		if i < 0 {
			return r, Entry{}, transition(e.Kind)
		}
		next.Identity.Attributes = slices.Delete(next.Identity.Attributes, i, i+1)
	case Assert:
		err = rules.assert(&next, e)
	case Merge:
		for _, a := range [...]string{"DOUA", "DESA"} {
			if !slices.Contains(next.Identity.Attributes, a) {
				next.Identity.Attributes = append(next.Identity.Attributes, a)
			}
		}
		// The matricule is the survivor's now; two records must not hold it.
		next.Trace, next.Merged = nil, true
	default:
		err = transition(e.Kind)
	}
	if err != nil {
		return r, Entry{}, err
	}
	next.settle()
	entry := Entry{Event: e, From: r.Identity.Status, To: next.Identity.Status}
	if old := r.pair(); old != next.pair() && old != (Pair{}) {
		entry.Lost = &old
		next.remember(old)
	}
	// An INS in use is no former one, even when it comes back.
	next.Former = slices.DeleteFunc(next.Former, func(p Pair) bool { return p == next.pair() })
	entry.Tell = tell(r, next, entry)
	return next, entry, nil
}

// Check refuses a record whose status or matricule does not follow from its
// evidence, or that has an INS beside a corrected birth date: it was not made
// by [Rules.Apply].
func (r Record) Check() error {
	want := r
	want.settle()
	if want.Identity.Status != r.Identity.Status || want.pair() != r.pair() {
		return &Refusal{Code: FaultStatus, Where: TraitStatus}
	}
	if r.Corrected && r.Trace != nil {
		return &Refusal{Code: FaultCorrected, Where: TraitBirthDate}
	}
	if !compatible(r.Identity.Attributes) || forcesPROV(r.Identity.Attributes) && r.Identity.Status != Provisional {
		return &Refusal{Code: FaultAttributes, Where: TraitAttributes}
	}
	return nil
}

// settle derives status and INS from the evidence.
func (r *Record) settle() {
	r.Identity.Matricule, r.Identity.OID = "", ""
	switch {
	case r.Trace == nil && r.Proof == nil:
		r.Identity.Status = Provisional
	case r.Trace == nil:
		r.Identity.Status = Validated
	case r.Proof == nil:
		r.Identity.Status = Retrieved
	default:
		r.Identity.Status = Qualified
	}
	if r.Trace != nil {
		r.Identity.Matricule, r.Identity.OID = r.Trace.INS.Matricule, r.Trace.INS.OID
	}
}

// maxFormer bounds the former INS of a record: about ten changes exist upstream.
const maxFormer = 20

// remember keeps a former INS, once. What an answer adds beyond the bound is left
// out; what the record itself had is kept.
func (r *Record) remember(p Pair) {
	if !slices.Contains(r.Former, p) {
		r.Former = append(r.Former, p)
	}
}

// hadBefore keeps what an answer or a merge says that the person once had.
func (r *Record) hadBefore(former []Pair) {
	for _, p := range former {
		if p.Matricule != "" && p.OID.Known() && len(r.Former) < maxFormer {
			r.remember(p)
		}
	}
}

func (r Record) pair() Pair { return Pair{r.Identity.Matricule, r.Identity.OID} }

// admissible asks of every event who and when.
func admissible(e Event) error {
	if e.Actor.ID == "" {
		return &Refusal{Code: FaultActor, Where: "actor"}
	}
	if e.At.IsZero() {
		return &Refusal{Code: FaultEvidence, Where: "at"}
	}
	return nil
}

// judgeTraits refuses traits that no identity may hold, and empty names.
func judgeTraits(t Traits) error {
	if MatchKey(t.BirthName) == "" {
		return &Refusal{Code: FaultIncomplete, Where: TraitBirthName}
	}
	if MatchKey(t.FirstGiven) == "" {
		return &Refusal{Code: FaultIncomplete, Where: TraitFirstGiven}
	}
	if t.BirthDate == "" {
		return &Refusal{Code: FaultIncomplete, Where: TraitBirthDate}
	}
	return Refuse(Judge(Identity{Traits: t, Status: Provisional}))
}

// control accepts a proof: a person with the right, a device of high trust, an
// identity that is neither doubtful nor fictive.
func (rules Rules) control(r *Record, e Event) error {
	devices := rules.Devices
	if devices == nil {
		devices = DefaultDevices()
	}
	switch {
	case !e.Actor.Human || !e.Actor.Entitled:
		return &Refusal{Code: FaultActor, Where: "actor"}
	case e.Proof == nil || !slices.Contains(devices, e.Proof.Device):
		return &Refusal{Code: FaultEvidence, Where: "proof"}
	case forcesPROV(r.Identity.Attributes):
		return &Refusal{Code: FaultTransition, Where: TraitAttributes}
	}
	p := *e.Proof
	r.Proof = &p
	return nil
}

// retrieve accepts an INSi answer.
func (rules Rules) retrieve(r *Record, e Event) error {
	if err := MayCallINSi(r.Identity); err != nil {
		return err
	}
	if e.Trace == nil || !e.Trace.evidence(e.Proof) {
		return &Refusal{Code: FaultEvidence, Where: "trace"}
	}
	t := *e.Trace
	// A wrong key that INSi itself returned is kept verbatim; the gate holds it back.
	if err := CheckMatricule(t.INS.Matricule, t.INS.OID); err != nil && !errors.Is(err, errKey) {
		return err
	}
	traits := t.Traits
	// INSi gives the list; the first given name is ours as long as it is coherent.
	if traits.FirstGiven = r.Identity.Traits.FirstGiven; !CoherentFirstGiven(traits.FirstGiven, traits.GivenNames) {
		traits.FirstGiven = FirstOf(traits.GivenNames)
	}
	if d, err := ParseBirthDate(traits.BirthDate); err == nil && !d.Real() {
		return &Refusal{Code: FaultCorrected, Where: TraitBirthDate}
	}
	if missing := traits.Missing(); len(missing) > 0 {
		return &Refusal{Code: FaultIncomplete, Where: missing[0]}
	}
	changed := strict(traits) != strict(r.Identity.Traits)
	if old := r.pair(); old != (Pair{}) && old != t.INS {
		if old.OID == OIDNIR && t.INS.OID == OIDNIA {
			return transition(e.Kind) // a NIA never replaces a NIR
		}
		// A batch may follow a NIA that became a NIR; anything else is for a person.
		changed = changed || !nirForNIA(old, t.INS)
	}
	if (r.Trace == nil || changed) && !e.Actor.Human {
		return &Refusal{Code: FaultActor, Where: "actor"}
	}
	if r.Proof != nil && r.Trace == nil && !sameTraits(r.Identity.Traits, traits) {
		// A validated identity that INSi does not confirm is first edited.
		return &Refusal{Code: FaultMismatch, Where: "trace"}
	}
	if r.Trace != nil && strict(traits) != strict(r.Identity.Traits) {
		r.Proof = nil // the proof was of other traits
	}
	r.Identity.Traits, r.Trace, r.Corrected = traits, &t, false
	// A document may still come under an INS that INSi has replaced (EXI REC 08).
	r.hadBefore(t.Former)
	if e.Proof != nil {
		return rules.control(r, e)
	}
	return nil
}

// evidence judges a trace by itself. Appli carte Vitale is its own proof, which
// comes in the same event.
func (t *Trace) evidence(p *Proof) bool {
	switch t.Channel {
	case ChannelINSi:
		return t.Result == Found && t.MessageID != ""
	case ChannelApp:
		return p != nil && p.Device == ChannelApp
	}
	return false
}

func nirForNIA(old, now Pair) bool { return old.OID == OIDNIA && now.OID == OIDNIR }

// strict are the traits that cannot change without the status: all but the
// first given name, which stays editable while it is coherent.
func strict(t Traits) Traits { t.FirstGiven = ""; return t }

// sameTraits tells whether INSi confirms traits that were typed: names by their
// [MatchKey], date and sex exactly; a birth place may have been missing.
func sameTraits(held, insi Traits) bool {
	return MatchKey(held.BirthName) == MatchKey(insi.BirthName) &&
		CoherentFirstGiven(held.FirstGiven, insi.GivenNames) &&
		held.BirthDate == insi.BirthDate && held.Sex == insi.Sex &&
		(held.BirthPlace == "" || held.BirthPlace == UnknownPlace || held.BirthPlace == insi.BirthPlace)
}

// edit accepts typed traits. A strict trait that changes takes the INS and the
// proof away; with a new proof the identity is VALI, else PROV.
func (rules Rules) edit(r *Record, e Event) error {
	if e.Traits == nil {
		return &Refusal{Code: FaultEvidence, Where: "traits"}
	}
	t := *e.Traits
	if err := judgeTraits(t); err != nil {
		return err
	}
	if strict(t) == strict(r.Identity.Traits) && e.Corrected == r.Corrected {
		if r.Identity.Status != Provisional && t.GivenNames != "" && !CoherentFirstGiven(t.FirstGiven, t.GivenNames) {
			return &Refusal{Code: FaultFirstGiven, Where: TraitFirstGiven}
		}
	} else {
		r.Trace, r.Proof = nil, nil
	}
	r.Identity.Traits, r.Corrected = t, e.Corrected
	if e.Proof != nil {
		return rules.control(r, e)
	}
	return nil
}

// mark sets an attribute. DOUT and FICT take everything away (EXI SI 09).
func mark(r *Record, a string) error {
	if !slices.Contains(codes0445, a) || slices.Contains(r.Identity.Attributes, a) {
		return &Refusal{Code: FaultAttributes, Where: TraitAttributes}
	}
	r.Identity.Attributes = append(r.Identity.Attributes, a)
	if !compatible(r.Identity.Attributes) {
		return &Refusal{Code: FaultAttributes, Where: TraitAttributes}
	}
	if a == AttrDoubtful || a == AttrFictive {
		r.Proof, r.Trace = nil, nil
	}
	return nil
}

// assert takes what the register of the establishment says. What it says is
// never raised: QUAL needs VALI, an INS in form and its six traits; VALI beside
// an INS that is not in form is VALI without one. It takes back what an Assert
// brought; evidence of our own goes when a strict trait changes, when another
// INS is named, or when the identity is said doubtful or fictive, not because
// the other register does not know it.
func (rules Rules) assert(r *Record, e Event) error {
	if !rules.Assertions {
		return transition(e.Kind)
	}
	if e.Said == nil || e.Reason == "" {
		return &Refusal{Code: FaultEvidence, Where: "said"}
	}
	said := *e.Said
	if err := judgeTraits(said.Traits); err != nil {
		return err
	}
	attributes := slices.DeleteFunc(slices.Clone(r.Identity.Attributes), func(a string) bool { return slices.Contains(r.Said, a) })
	r.Said = nil
	for _, a := range said.Attributes {
		if slices.Contains(codes0445, a) && !slices.Contains(attributes, a) {
			attributes, r.Said = append(attributes, a), append(r.Said, a)
		}
	}
	if !compatible(attributes) {
		return &Refusal{Code: FaultAttributes, Where: TraitAttributes}
	}
	var proof *Proof
	var trace *Trace
	if said.Status == Validated || said.Status == Qualified {
		proof = &Proof{Device: ChannelADT}
	}
	inForm := CheckMatricule(said.Matricule, said.OID) == nil && len(said.Traits.Missing()) == 0
	if said.Status == Qualified && inForm {
		trace = &Trace{Channel: ChannelADT, MessageID: e.Reason, INS: Pair{said.Matricule, said.OID}, Traits: said.Traits, At: e.At}
	}
	if strict(said.Traits) == strict(r.Identity.Traits) {
		if r.Proof != nil && (proof != nil || r.Proof.Device != ChannelADT) {
			proof = r.Proof
		}
		if r.Trace != nil && (trace == nil && r.Trace.Channel != ChannelADT || trace != nil && trace.INS == r.Trace.INS) {
			trace = r.Trace
		}
	}
	if e.Corrected {
		trace = nil
	}
	if forcesPROV(attributes) {
		trace, proof = nil, nil
	}
	r.Identity.Traits, r.Identity.Attributes, r.Corrected, r.Proof, r.Trace = said.Traits, attributes, e.Corrected, proof, trace
	r.hadBefore(e.Former)
	r.Identity.Local = slices.Clone(r.Identity.Local)
	for _, l := range said.Local {
		if !slices.Contains(r.Identity.Local, l) {
			r.Identity.Local = append(r.Identity.Local, l)
		}
	}
	return nil
}

func transition(k EventKind) error { return &Refusal{Code: FaultTransition, Where: string(k)} }

// tell says what the systems downstream must learn. Only a QUAL identity had
// its INS sent, so only leaving QUAL, or another INS under QUAL, is an A47: a
// RECUP matricule must not leave, not even to be withdrawn.
func tell(from, to Record, e Entry) []Tell {
	if e.Event.Kind == Merge {
		return []Tell{{Event: "A40"}}
	}
	var out []Tell
	was, is := from.sent(), to.sent()
	withdrawn := was != (Pair{}) && was != is && !nirForNIA(was, is)
	if withdrawn {
		out = append(out, Tell{Event: "A47", Old: &was})
	}
	updated := from.Identity.Traits != to.Identity.Traits || from.Corrected != to.Corrected ||
		!slices.Equal(from.Identity.Attributes, to.Identity.Attributes)
	// An A47 carries the new INS and status by itself.
	if updated || !withdrawn && (was != is || outward(e.From) != outward(e.To)) {
		out = append(out, Tell{Event: "A31"})
	}
	return out
}

// sent is the INS that downstream may have.
func (r Record) sent() Pair {
	if r.Identity.Status != Qualified {
		return Pair{}
	}
	return r.pair()
}

// outward is a status as downstream sees it.
func outward(s Status) string { return ToPID32(s, nil)[0] }
