package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// Config says what is judged and how.
type Config struct {
	Target    Target
	Catalogue *Catalogue
	Out       string // folder, made if absent; must hold no other run
	Clock     func() time.Time
	Sleep     func(context.Context, time.Duration) error
	Version   string        // of this program
	Quiet     time.Duration // nothing new for so long: nothing more will come
	Wait      time.Duration // at most, for one round
	Progress  func(string)  // told in French; may be nil
}

// run is one judgement under way: what was played and what was seen.
type run struct {
	Config
	target Target
	wire   *wire
	script *script
	told   []told
	known  map[string]bool            // MSH-10 and answer of what the hospital was told
	boxes  map[string][]*letter       // by mailbox, this run only
	seen   map[string]map[string]bool // ids already fetched, or older than this run, by mailbox
	state  map[string][]string        // flags of the gateway's mailbox by Message-ID
	views  map[string]int             // last listing of each mailbox: exchange
	unread map[string]string          // why a mailbox could not be listed
	view   int                        // last list of what the hospital received
	subs   []submission
	psc    *redirection // where a login begins; nil when the target has none
	noDMP  string       // why the DMP is not looked at
	noLink string       // why its link is not cut
	queued bool         // a ZAM came while the link was cut
	taken  map[string]document
	before document // what will be deleted, before it is
}

// Run plays the scenes, judges every scenario and writes the folder Out:
// run.json, rapport.html, junit.xml and the bytes of every exchange.
func Run(ctx context.Context, c Config) (*Result, error) {
	if c.Clock == nil || c.Sleep == nil || c.Catalogue == nil || c.Out == "" || c.Quiet <= 0 || c.Wait <= 0 {
		return nil, &Fault{FaultRun, "configuration", errors.New("a judgement needs Clock, Sleep, Catalogue, Out, Quiet and Wait")}
	}
	// The evidence of two runs would mix.
	if list, err := os.ReadDir(c.Out); err == nil && len(list) > 0 {
		return nil, &Fault{FaultRun, c.Out, ErrFolder}
	}
	if err := os.MkdirAll(filepath.Join(c.Out, evidenceFolder), 0o700); err != nil {
		return nil, &Fault{FaultRun, c.Out, err}
	}
	client, err := c.Target.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	began := c.Clock()
	rec := &recorder{dir: c.Out, clock: c.Clock}
	j := &run{Config: c, target: c.Target, known: map[string]bool{}, boxes: map[string][]*letter{}, seen: map[string]map[string]bool{},
		state: map[string][]string{}, taken: map[string]document{}, views: map[string]int{}, unread: map[string]string{},
		wire: &wire{target: c.Target, client: client, rec: rec, last: map[string][32]byte{}, lastN: map[string]int{}}}
	j.script = newScript(c.Target, began.UnixMilli())
	if err := j.playAll(ctx); err != nil {
		return nil, err
	}
	res := j.judge()
	res.Began, res.Ended = began, c.Clock()
	if res.Exchanges, err = rec.kept(); err != nil {
		return nil, &Fault{FaultRun, c.Out, err}
	}
	return res, res.Write(c.Out)
}

func (j *run) playAll(ctx context.Context) error {
	// What the hospital was told before is not about this run.
	if err := j.lookHospital(ctx); err != nil {
		return &Fault{FaultWire, "hospital.messages", err}
	}
	j.told = nil
	if err := j.ready(ctx); err != nil {
		return err
	}
	if err := j.wire.login(ctx); err != nil {
		j.noDMP = "Le DMP ne peut pas être relu : aucun jeton obtenu."
	}
	// The patient's mailbox keeps the letters of earlier runs.
	j.listed(ctx, j.script.patientBox(), func(id string) { j.mark(j.script.patientBox(), id) })
	j.Progress("Coupure du lien avec le DMP, puis reprise")
	j.cutLink(ctx)
	j.Progress("Envoi des messages et des courriels")
	for _, key := range slices.Clone(j.script.order) {
		if c := j.script.scene[key]; !c.sent {
			j.play(ctx, c)
		}
	}
	if !slices.ContainsFunc(j.script.order, func(k string) bool { return j.script.scene[k].ack != nil }) {
		return &Fault{FaultWire, "gateway.mllp", errors.New("not one message was acknowledged")}
	}
	j.Progress("Attente des accusés, des courriels et des documents")
	if err := j.await(ctx, func() { j.receipts(ctx) }); err != nil {
		return err
	}
	j.Progress("Remplacement, suppression, doublon, refus de l'établissement")
	bio := j.script.scene["biologie"]
	again, n, _ := j.wire.mllp(ctx, "Même message une seconde fois", bio.message)
	bio.again, bio.n = again, append(bio.n, n)
	if j.noDMP == "" {
		j.before = j.wire.document(ctx, j.script.me, j.script.scene["imagerie"], false)
	}
	for _, key := range j.script.second() {
		j.play(ctx, j.script.scene[key])
	}
	if err := j.refusedByHospital(ctx); err != nil {
		return err
	}
	// What must not have come had at least this long.
	_ = j.lookHospital(ctx)
	j.lookBoxes(ctx, true)
	j.lookDMP(ctx)
	j.lookSubmissions(ctx)
	j.lookLogin(ctx)
	return ctx.Err()
}

// ready refuses a sandbox where a fault is still set, by a person or by another
// run: the system that is judged would be blamed for it.
func (j *run) ready(ctx context.Context) error {
	if j.target.Control == "" {
		return nil
	}
	var view struct {
		Knobs []struct {
			Path  string          `json:"path"`
			State json.RawMessage `json:"state"`
		} `json:"knobs"`
	}
	if _, err := j.wire.json(ctx, "Réglages du bac à sable", j.target.Control, &view); err != nil {
		return nil // another control than ours: the knobs that do not answer say so in the report
	}
	for _, k := range view.Knobs {
		if state := strings.TrimSpace(string(k.State)); strings.HasSuffix(k.Path, "/faults") && state != "[]" && state != "null" && state != "" {
			return &Fault{FaultBusy, k.Path, nil}
		}
	}
	return nil
}

// cutLink sends a document while the DMP does not answer, then repairs it.
func (j *run) cutLink(ctx context.Context) {
	c := j.script.hl7("file d'attente", testdata.MessageOptions{Flags: toDMP, Document: testdata.CDAOptions{Kind: testdata.Imaging}}, "Z01 Y")
	switch {
	case j.target.Control == "":
		j.noLink = "Le fichier du bac à sable ne donne pas de réglage des pannes : le lien avec le DMP n'a pas été coupé."
	case j.wire.control(ctx, "PUT", "/dmp/faults", map[string]any{"mode": "down", "path": "/fhir"}) != nil:
		j.noLink = "Le réglage des pannes n'a pas répondu : le lien avec le DMP n'a pas été coupé."
	}
	if j.noLink != "" {
		c.sent = true
		c.zams = nil
		return
	}
	j.play(ctx, c)
	_ = j.Sleep(ctx, 300*time.Millisecond)
	_ = j.lookHospital(ctx)
	j.queued = len(j.zams(c)) == 0
	if err := j.wire.control(context.WithoutCancel(ctx), "DELETE", "/dmp/faults", nil); err != nil {
		j.noLink = "Le lien avec le DMP n'a pas pu être rétabli."
	}
}

// refusedByHospital makes the hospital refuse one document that came by mail,
// and waits for the end of all.
func (j *run) refusedByHospital(ctx context.Context) error {
	if j.target.Control == "" || j.wire.control(ctx, "PUT", "/hospital/faults", map[string]any{"mode": "refuse", "code": "AE", "path": "MDM", "count": 1}) != nil {
		return j.await(ctx, nil)
	}
	j.script.incoming("recu refuse", testdata.LetterOptions{Document: testdata.CDAOptions{Kind: testdata.Imaging}, WantMDN: true}, true, true)
	j.play(ctx, j.script.scene["recu refuse"])
	err := j.await(ctx, nil)
	_ = j.wire.control(context.WithoutCancel(ctx), "DELETE", "/hospital/faults", nil) // the sandbox is left as it was found
	return err
}

// await looks at the outside world until all that is waited for has come, or
// nothing new comes any more.
func (j *run) await(ctx context.Context, each func()) error {
	began := j.Clock()
	last, left := began, -1
	for {
		_ = j.lookHospital(ctx)
		j.lookBoxes(ctx, false)
		if each != nil {
			each()
		}
		n := j.missing()
		now := j.Clock()
		if n != left {
			left, last = n, now
		}
		if n == 0 || now.Sub(last) > j.Quiet || now.Sub(began) > j.Wait {
			// What has not come is not waited for a second time; it is still seen if it comes.
			for _, key := range j.script.order {
				j.script.scene[key].waited = true
			}
			return ctx.Err()
		}
		if err := j.Sleep(ctx, 80*time.Millisecond); err != nil {
			return err
		}
	}
}

// missing counts what is waited for and has not come.
func (j *run) missing() (n int) {
	for _, key := range j.script.order {
		c := j.script.scene[key]
		if !c.sent || c.waited {
			continue
		}
		n += max(0, len(c.zams)-len(j.zams(c)))
		for _, box := range c.mail {
			if j.letter(c, box) == nil {
				n++
			}
		}
		if c.mdm && len(j.filed(c)) == 0 {
			n++
		}
		if c.mdn && j.receipt(c) == nil {
			n++
		}
	}
	return n
}

func (j *run) lookHospital(ctx context.Context) error {
	var view struct {
		Messages []struct {
			Raw string `json:"raw"`
			Ack string `json:"ack"`
		} `json:"messages"`
	}
	// The newest are enough: what was seen before is known.
	link := j.target.Hospital.Messages
	if !strings.Contains(link, "?") {
		link += "?limit=100"
	}
	n, err := j.wire.json(ctx, "Messages reçus par l'établissement", link, &view)
	if err != nil {
		return err // looked at again; what stays missing is said
	}
	j.view = n
	for _, m := range view.Messages {
		t := told{raw: []byte(m.Raw), m: readER7([]byte(m.Raw)), ack: readER7([]byte(m.Ack)).get("MSA", 1, 0), n: n}
		if key := t.control() + "\x00" + t.ack; !j.known[key] {
			j.known[key] = true
			j.told = append(j.told, t)
		}
	}
	return nil
}

func (j *run) mailbox(address string) string {
	return j.target.Operator.Mailboxes + "/" + url.PathEscape(address)
}

// boxName is how a mailbox is named to readers: that of the patient has a
// matricule in it.
func (j *run) boxName(box string) string {
	if box == j.script.patientBox() {
		return "du patient"
	}
	return box
}

func (j *run) mark(box, id string) {
	if j.seen[box] == nil {
		j.seen[box] = map[string]bool{}
	}
	j.seen[box][id] = true
}

// listed gives the mails of a mailbox that were not seen yet.
func (j *run) listed(ctx context.Context, box string, each func(id string)) {
	j.mails(ctx, box, func(id, _, _ string, _ []string) { each(id) })
}

func (j *run) mails(ctx context.Context, box string, each func(id, raw, messageID string, flags []string)) {
	if j.target.Operator.Mailboxes == "" {
		return
	}
	var view struct {
		Messages []struct {
			ID        string   `json:"id"`
			Raw       string   `json:"raw"`
			MessageID string   `json:"message_id"`
			Flags     []string `json:"flags"`
		} `json:"messages"`
	}
	n, err := j.wire.json(ctx, "Liste de la boîte "+j.boxName(box), j.mailbox(box), &view)
	j.views[box] = n
	delete(j.unread, box)
	if err != nil {
		if !errors.Is(err, errNotFound) { // a mailbox that does not exist yet holds nothing
			j.unread[box] = "La boîte " + j.boxName(box) + " n'a pas pu être relue."
		}
		return
	}
	for _, m := range view.Messages {
		each(m.ID, m.Raw, m.MessageID, m.Flags)
	}
}

// lookBoxes reads the mailboxes where something is waited for; all of them at
// the end, those too where nothing must come.
func (j *run) lookBoxes(ctx context.Context, all bool) {
	want := map[string]bool{}
	for _, key := range j.script.order {
		c := j.script.scene[key]
		for _, box := range c.boxes {
			if all || !c.waited && (slices.Contains(c.mail, box) && j.letter(c, box) == nil || c.mdn && j.receipt(c) == nil) {
				want[box] = c.sent || want[box]
			}
		}
	}
	for box, yes := range want {
		if !yes {
			continue
		}
		j.mails(ctx, box, func(id, raw, _ string, _ []string) {
			if j.seen[box][id] {
				return
			}
			data, n, err := j.wire.http(ctx, "Courriel de la boîte "+j.boxName(box), "GET", raw, "", nil)
			if err != nil {
				return
			}
			j.mark(box, id)
			l, err := readLetter(data)
			if err != nil {
				l = &letter{raw: data} // unreadable: judged as it is
			}
			l.n = n
			j.boxes[box] = append(j.boxes[box], l)
		})
	}
	if all {
		j.mails(ctx, j.target.Operator.GatewayMailbox, func(_, _, messageID string, flags []string) { j.state[messageID] = flags })
	}
}

// receipts makes the first correspondent read his letter, once: the suite is
// the mail software of the correspondents.
func (j *run) receipts(ctx context.Context) {
	c := j.script.scene["lettre"]
	box := c.boxes[0]
	l := j.letter(c, box)
	if l == nil || c.id != "" {
		return
	}
	c.id = l.messageID()
	mdn := testdata.MDN(testdata.MDNOptions{
		Return:    testdata.Return{MessageID: "lu." + strings.ToLower(c.control) + "@" + strings.SplitN(box, "@", 2)[1], From: box, To: j.target.Operator.GatewayMailbox, Original: l.raw},
		Recipient: box, OriginalMessageID: c.id, Subject: l.head("Subject"),
	})
	_, n, err := j.wire.http(ctx, "Accusé de lecture du correspondant", "POST", j.mailbox(j.target.Operator.GatewayMailbox)+"?from="+url.QueryEscape(box), "message/rfc822", mdn)
	c.n = append(c.n, n)
	if err != nil {
		c.ackErr = err
	}
}

// lookDMP reads what the DMP holds of the documents of the first patient.
func (j *run) lookDMP(ctx context.Context) {
	if j.noDMP != "" {
		return
	}
	for _, key := range j.script.order {
		c := j.script.scene[key]
		if !c.sent || c.letter != nil || slices.Contains([]string{"dmp ferme", "sans INS"}, key) {
			continue
		}
		j.taken[key] = j.wire.document(ctx, j.script.me, c, slices.Contains([]string{"imagerie", "remplacement", "latin9"}, key))
	}
}

// submission is what the operator says of one letter that was submitted.
type submission struct {
	Certificate string   `json:"certificate"`
	TLS         string   `json:"tls"`
	Suite       string   `json:"suite"`
	Offered     []string `json:"offered"` // suites of the client, in hexadecimal
	Login       string   `json:"login"`
	From        string   `json:"from"`
	MessageID   string   `json:"message_id"`
	Recipients  []struct {
		Address string `json:"address"`
		Notify  string `json:"notify"`
	} `json:"recipients"`
	n int
}

// lookSubmissions reads the list that stands beside the mailboxes, where the
// sandbox has one.
func (j *run) lookSubmissions(ctx context.Context) {
	base, ok := strings.CutSuffix(j.target.Operator.Mailboxes, "/mailboxes")
	if !ok {
		return
	}
	var view struct {
		Submissions []submission `json:"submissions"`
	}
	n, err := j.wire.json(ctx, "Soumissions vues par l'opérateur", base+"/submissions", &view)
	if err != nil {
		return
	}
	for i := range view.Submissions {
		view.Submissions[i].n = n
	}
	j.subs = view.Submissions
}

// zams are the business acknowledgements of one message.
func (j *run) zams(c *scene) (list []told) {
	for _, t := range j.told {
		if strings.HasPrefix(t.m.get("MSH", 9, 0), "ZAM") && t.answers() == c.control {
			list = append(list, t)
		}
	}
	return list
}

// told tells whether an MDM names the document or the letter of the scene.
func (c *scene) told(t told) bool {
	return t.m.get("TXA", 12, 1) == c.doc || c.id != "" && strings.Contains(string(t.raw), c.id)
}

// filed are the MDM by which the hospital got the document of a letter.
func (j *run) filed(c *scene) (list []told) {
	for _, t := range j.told {
		if t.m.get("MSH", 9, 1) == "MDM" && c.told(t) {
			list = append(list, t)
		}
	}
	return list
}

// explained tells whether an MDM comes from a letter of this run that has an
// archive; that of another patient is judged apart.
func (j *run) explained(t told) bool {
	return slices.ContainsFunc(j.script.order, func(key string) bool {
		c := j.script.scene[key]
		return c.letter != nil && key != "recu sans archive" && (c.told(t) || bytes.Equal(embedded(t), c.cda))
	})
}

// letter is that of one scene in one mailbox.
func (j *run) letter(c *scene, box string) *letter {
	for _, l := range j.boxes[box] {
		if l.carries(c.doc) && !l.isReport() {
			return l
		}
	}
	return nil
}

func (l *letter) isReport() bool {
	return len(l.parts) > 0 && l.parts[0].kind == "multipart/report"
}

// receipt is the MDN that a correspondent got for his letter.
func (j *run) receipt(c *scene) *letter {
	for _, box := range c.boxes {
		for _, l := range j.boxes[box] {
			if l.isReport() && strings.Contains(l.disposition("Original-Message-ID"), c.id) {
				return l
			}
		}
	}
	return nil
}

// refuses tells whether a receipt says an error.
func (l *letter) refuses() bool {
	return l.disposition("Error") != "" || strings.Contains(strings.ToLower(l.disposition("Disposition")), "error")
}

// disposition is one field of message/disposition-notification.
func (l *letter) disposition(name string) string {
	for _, p := range l.parts {
		if p.kind != "message/disposition-notification" {
			continue
		}
		for line := range strings.Lines(string(p.content)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(k), name) {
				return strings.TrimSpace(v)
			}
		}
	}
	return ""
}
