package conformance

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/testdata"
)

type testPatient = testdata.Patient

// scene is one message sent to the gateway, or one letter put in its mailbox,
// and what is waited for. Several scenarios read one scene.
type scene struct {
	key     string
	control string
	doc     string // uniqueId
	cda     []byte
	message []byte   // HL7; nil for a letter
	letter  []byte   // incoming
	id      string   // Message-ID of the incoming letter
	boxes   []string // mailboxes that must, or must not, receive it
	zams    []string // waited for, such as "Z02 Y"; sorted
	mail    []string // mailboxes where a letter is waited for
	mdm     bool     // an MDM is waited for at the hospital
	mdn     bool     // a receipt is waited for by the correspondent

	sent   bool
	waited bool // a round ended since
	ack    er7
	raw    []byte // the acknowledgement
	again  []byte // that of the same bytes sent a second time
	ackErr error
	n      []int // exchanges
}

// script makes the scenes of one run. Identifiers come from the clock, so that
// a sandbox that keeps its data can be judged again.
type script struct {
	stamp int64 // milliseconds
	scene map[string]*scene
	order []string
	count int

	me     testPatient
	doctor testdata.Persona
	target Target
}

func newScript(t Target, stamp int64) *script {
	s := &script{stamp: stamp, scene: map[string]*scene{}, target: t,
		me: testdata.Patients()[0], doctor: testdata.Personas()[0]}
	s.write()
	return s
}

func (s *script) next(key string) *scene {
	s.count++
	c := &scene{key: key, control: fmt.Sprintf("C%s-%d", strconv.FormatInt(s.stamp, 36), s.count), doc: testdata.DocumentID(int(s.stamp)*1000 + s.count)}
	s.scene[key] = c
	s.order = append(s.order, key)
	return c
}

// box is the mailbox of a correspondent of this run, for one scene.
func (s *script) box(key string) string {
	_, domain, _ := strings.Cut(s.doctor.Mailbox, "@")
	return fmt.Sprintf("conf.%s.%s@%s", strconv.FormatInt(s.stamp, 36), strings.ReplaceAll(key, " ", "."), domain)
}

func (s *script) patientBox() string { return s.me.Matricule + "@patient.mssante.fr" }

func (s *script) toDoctor(key string) testdata.Recipient {
	return testdata.Recipient{Address: s.box(key), Persona: s.doctor}
}

func (s *script) toPatient() testdata.Recipient {
	return testdata.Recipient{Address: s.patientBox(), Patient: s.me}
}

// hl7 adds a scene of one MDM, or ORU for a biology report.
func (s *script) hl7(key string, o testdata.MessageOptions, zams ...string) *scene {
	c := s.next(key)
	if o.Document.ID == "" {
		o.Document.ID = c.doc
	} else {
		c.doc = o.Document.ID
	}
	o.ControlID, c.zams = c.control, zams
	cda := o.Document
	if cda.Patient.ID == "" {
		cda.Patient = o.Patient
	}
	if cda.Patient.ID == "" {
		cda.Patient = s.me
	}
	c.cda = testdata.CDA(cda)
	for _, r := range o.Recipients {
		c.boxes = append(c.boxes, r.Address)
	}
	if o.Document.Kind == testdata.Biology && o.Action != testdata.Delete {
		c.message = testdata.ORU(o)
	} else {
		c.message = testdata.MDM(o)
	}
	return c
}

// arrives says that a letter is waited for in every mailbox of the scene.
func (c *scene) arrives() *scene {
	c.mail = c.boxes
	return c
}

var (
	toDMP     = testdata.Flags{}
	toPro     = testdata.Flags{"DESTDMP": "N", "DESTMSSANTEPS": "Y"}
	toCitizen = testdata.Flags{"DESTDMP": "N", "DESTMSSANTEPAT": "Y"}
)

func (s *script) write() {
	imaging, discharge := testdata.Imaging, testdata.Discharge
	doc := func(k testdata.Kind) testdata.CDAOptions { return testdata.CDAOptions{Kind: k} }
	to := func(r ...testdata.Recipient) []testdata.Recipient { return r }

	// Feeding of the DMP.
	s.hl7("biologie", testdata.MessageOptions{Flags: toDMP, Document: testdata.CDAOptions{Level: 3}}, "Z01 Y")
	s.hl7("imagerie", testdata.MessageOptions{Flags: toDMP, Document: doc(imaging)}, "Z01 Y")
	s.hl7("latin9", testdata.MessageOptions{Flags: toDMP, Document: doc(discharge), Charset: testdata.Latin9}, "Z01 Y")
	s.hl7("identite", testdata.MessageOptions{Flags: toDMP, Document: doc(imaging)}, "Z01 Y")
	closed := testdata.PatientByID(testdata.PatientClosed)
	s.hl7("dmp ferme", testdata.MessageOptions{Flags: toDMP, Patient: closed, Document: testdata.CDAOptions{Kind: imaging, Patient: closed}}, "Z01 N")

	// What the door must refuse.
	s.hl7("autre patient", testdata.MessageOptions{Flags: toDMP, Document: testdata.CDAOptions{Kind: imaging, Patient: testdata.PatientByID(testdata.PatientTrois)}})
	s.hl7("sans TXA", testdata.MessageOptions{Flags: toDMP, Document: doc(imaging), Edit: func(all []string) (kept []string) {
		for _, one := range all {
			if !strings.HasPrefix(one, "TXA|") {
				kept = append(kept, one)
			}
		}
		return kept
	}})
	s.hl7("illisible", testdata.MessageOptions{Flags: toDMP, Document: doc(imaging), Base64: "PD94!!!!"})

	// An identity that is not qualified.
	s.hl7("non qualifiee dmp", testdata.MessageOptions{Flags: toDMP, Reliability: []string{"PROV"}, Document: doc(imaging)})
	s.hl7("non qualifiee courriel", testdata.MessageOptions{Flags: toPro, Reliability: []string{"PROV"}, Document: doc(imaging), Recipients: to(s.toDoctor("nonqualifiee"))})
	nobody := testdata.PatientByID(testdata.PatientNoINS)
	s.hl7("sans INS", testdata.MessageOptions{Flags: toPro, Patient: nobody, Document: testdata.CDAOptions{Kind: imaging, Patient: nobody, NoINS: true},
		Recipients: to(s.toDoctor("sansins"))}, "Z02 Y").arrives()
	// The matricule is in the message, not in the document.
	s.hl7("INS provisoire", testdata.MessageOptions{Flags: toPro, Reliability: []string{"PROV"}, Document: testdata.CDAOptions{Kind: imaging, NoINS: true},
		Recipients: to(s.toDoctor("provisoire"))}, "Z02 Y").arrives()
	s.hl7("patient sans INS", testdata.MessageOptions{Flags: toCitizen, Patient: s.me, NoINS: true, Reliability: []string{"PROV"},
		Document: testdata.CDAOptions{Kind: imaging, NoINS: true}, Recipients: to(s.toPatient())})

	// Letters.
	s.hl7("lettre", testdata.MessageOptions{Document: doc(discharge), Recipients: to(s.toDoctor("lettre"), s.toPatient()),
		Flags: testdata.Flags{"DESTMSSANTEPS": "Y", "DESTMSSANTEPAT": "Y", "ACK_LECTURE_MSS": "Y"}}, "Z01 Y", "Z02 Y", "Z02 Y", "Z03 Y").arrives()
	s.hl7("courriel simple", testdata.MessageOptions{Flags: toPro, Document: doc(imaging), Recipients: to(s.toDoctor("simple"))}, "Z02 Y").arrives()
	s.hl7("biologie courriel", testdata.MessageOptions{Flags: toPro, Document: testdata.CDAOptions{Level: 3}, Recipients: to(s.toDoctor("biologie"))}, "Z02 Y").arrives()
	s.hl7("sans reponse", testdata.MessageOptions{Flags: toCitizen, Document: doc(discharge), Recipients: to(s.toPatient()), PatientNoReply: true}, "Z02 Y").arrives()
	_, domain, _ := strings.Cut(s.doctor.Mailbox, "@")
	s.hl7("boite absente", testdata.MessageOptions{Flags: toPro, Document: doc(imaging),
		Recipients: to(testdata.Recipient{Address: "absent@" + domain, Persona: s.doctor})}, "Z02 N")

	// Flags.
	s.hl7("invisible", testdata.MessageOptions{Document: doc(discharge), Recipients: to(s.toDoctor("invisible"), s.toPatient()),
		Flags: testdata.Flags{"INVISIBLE_PATIENT": "Y", "DESTDMP": "N", "DESTMSSANTEPS": "Y", "DESTMSSANTEPAT": "Y"}})
	s.hl7("invisible courriel", testdata.MessageOptions{Document: doc(discharge), Recipients: to(s.toDoctor("invisible2")),
		Flags: testdata.Flags{"INVISIBLE_PATIENT": "Y", "DESTDMP": "N", "DESTMSSANTEPS": "Y"}}, "Z02 Y").arrives()
	s.hl7("masque", testdata.MessageOptions{Document: doc(discharge), Recipients: to(s.toDoctor("masque")),
		Flags: testdata.Flags{"MASQUE_PS": "Y", "DESTDMP": "N", "DESTMSSANTEPS": "Y"}})
	s.hl7("masque dmp", testdata.MessageOptions{Document: testdata.CDAOptions{Kind: discharge, Author: s.doctor}, Flags: testdata.Flags{"MASQUE_PS": "Y"}}, "Z01 Y")

	// Letters of correspondents.
	s.incoming("recu", testdata.LetterOptions{Document: doc(imaging), WantMDN: true}, true, true)
	trois := testdata.PatientByID(testdata.PatientTrois)
	s.incoming("recu autre patient", testdata.LetterOptions{Document: doc(imaging), Metadata: &trois, WantMDN: true}, false, false)
	s.incoming("recu sans archive", testdata.LetterOptions{Document: doc(imaging), Archive: testdata.ArchiveNone}, false, false)
}

func (s *script) incoming(key string, o testdata.LetterOptions, mdm, mdn bool) {
	c := s.next(key)
	o.Document.ID = c.doc
	c.id = "conf." + strings.ToLower(c.control) + "@" + strings.SplitN(s.doctor.Mailbox, "@", 2)[1]
	c.boxes = []string{s.box("correspondant")}
	o.MessageID, o.From, o.To = c.id, c.boxes[0], s.target.Operator.GatewayMailbox
	c.cda, c.letter, c.mdm, c.mdn = testdata.CDA(o.Document), testdata.Letter(o), mdm, mdn
}

// second are the scenes that need those of the first to have ended.
func (s *script) second() []string {
	before := len(s.order)
	bio, image, letter := s.scene["biologie"], s.scene["imagerie"], s.scene["lettre"]
	s.hl7("remplacement", testdata.MessageOptions{Action: testdata.Replace, Flags: toDMP, Document: testdata.CDAOptions{Level: 3, Replaces: bio.doc}}, "Z01 Y")
	s.hl7("suppression", testdata.MessageOptions{Action: testdata.Delete, Flags: toDMP, Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: image.doc}}, "Z01 Y")
	s.hl7("lettre corrigee", testdata.MessageOptions{Action: testdata.Replace, Document: testdata.CDAOptions{Kind: testdata.Discharge, Replaces: letter.doc},
		Flags: testdata.Flags{"DESTMSSANTEPS": "Y"}, Recipients: []testdata.Recipient{s.toDoctor("corrigee")}}, "Z01 Y", "Z02 Y").arrives()
	return s.order[before:]
}

// play sends one scene.
func (j *run) play(ctx context.Context, c *scene) {
	c.sent = true
	if c.letter != nil {
		_, n, err := j.wire.http(ctx, "Courriel d'un correspondant : "+c.key, "POST", j.mailbox(j.target.Operator.GatewayMailbox), "message/rfc822", c.letter)
		c.ackErr, c.n = err, append(c.n, n)
		return
	}
	raw, n, err := j.wire.mllp(ctx, "Message : "+c.key, c.message)
	c.raw, c.ack, c.ackErr, c.n = raw, readER7(raw), err, append(c.n, n)
	if c.code() != "AA" {
		// What is refused is not waited for.
		c.zams, c.mail = nil, nil
	}
}

// code is MSA-1.
func (c *scene) code() string { return c.ack.get("MSA", 1, 0) }
