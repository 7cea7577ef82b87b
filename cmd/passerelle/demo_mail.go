//go:build !nosandbox

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"crypto/tls"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/operator"
	"github.com/passerelle-sante/passerelle/mss/xdm"
	"github.com/passerelle-sante/passerelle/testdata"
)

// expectedLetter is a letter that one mailbox must hold, once.
type expectedLetter struct {
	title   string
	mailbox string
	content []byte // the CDA in its archive
}

// mailScene is a document for the DMP, a professional and the patient, with
// every acknowledgement wanted.
func (d *demo) mailScene(control, id string) *scene {
	me, to := testdata.Patients()[0], testdata.Personas()[0]
	patientBox := me.Matricule + "@patient.mssante.fr"
	o := testdata.CDAOptions{Kind: testdata.Discharge, ID: id}
	content := testdata.CDA(o)
	return &scene{
		title: "lettre de liaison au DMP, à un médecin et au patient (MDM, messagerie)", ack: "AA", state: "done", control: control,
		zam: "Z01 Y, Z02 Y, Z02 Y, Z03 Y",
		message: testdata.MDM(testdata.MessageOptions{
			ControlID: control, Document: o,
			Recipients: []testdata.Recipient{{Address: to.Mailbox, Persona: to}, {Address: patientBox, Patient: me}},
			Flags:      testdata.Flags{"DESTMSSANTEPS": "Y", "DESTMSSANTEPAT": "Y", "ACK_LECTURE_MSS": "Y"},
		}),
		letters: []expectedLetter{
			{"courriel au médecin", to.Mailbox, content},
			{"courriel au patient", patientBox, content},
		},
	}
}

// correspondents makes the physician's software answer with a read receipt, as
// it would outside.
func (d *demo) correspondents() error {
	body := fmt.Sprintf(`{"dialect":%q,"mailboxes":[%q]}`, testdata.MDNProcessed, testdata.Personas()[0].Mailbox)
	req, err := http.NewRequestWithContext(d.e.ctx, http.MethodPut, d.info.Control+"/operator/auto_mdn", strings.NewReader(body))
	if err != nil {
		return err
	}
	_, err = do(http.DefaultClient, req)
	return err
}

// mailbox opens one mailbox by IMAP, as the mail software of its owner would.
func (d *demo) mailbox(address string) (*operator.Session, error) {
	kp, err := tls.LoadX509KeyPair(d.info.TLS.ClientCert, d.info.TLS.ClientKey)
	if err != nil {
		return nil, err
	}
	roots, err := pool(d.info.TLS.CA)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(d.info.Operator.IMAP)
	if err != nil {
		return nil, err
	}
	imap, err := operator.NewIMAP(operator.Server{
		Address: d.info.Operator.IMAP, Name: host, Roots: roots, Client: kp, Username: address, Timeout: 10 * time.Second,
	}, "INBOX", 30<<20)
	if err != nil {
		return nil, err
	}
	return imap.Open(d.e.ctx)
}

// eachMail gives every unseen mail of a mailbox.
func (d *demo) eachMail(address string, see func(*mss.Incoming)) error {
	s, err := d.mailbox(address)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(d.e.ctx) }()
	refs, err := s.Unseen(d.e.ctx, 500)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		raw, err := s.Fetch(d.e.ctx, ref)
		if err != nil {
			return err
		}
		in, err := mss.Read(raw, mss.DefaultLimits())
		if err != nil {
			return err
		}
		see(in)
	}
	return nil
}

// inMailbox looks for one letter by the document in its archive.
func (d *demo) inMailbox(x expectedLetter) error {
	ids := map[string]bool{}
	err := d.eachMail(x.mailbox, func(in *mss.Incoming) {
		data, err := in.Archive()
		if err != nil || data == nil {
			return
		}
		a, err := xdm.Unpack(data, xdm.DefaultLimits())
		if err != nil {
			return
		}
		for _, doc := range a.Documents {
			if bytes.Equal(doc.Content, x.content) {
				ids[in.MessageID] = true
			}
		}
	})
	if err != nil {
		return err
	}
	if len(ids) != 1 {
		return fmt.Errorf("%d courriel(s) distinct(s)", len(ids))
	}
	return nil
}

// incoming plays a correspondent who writes to the gateway's mailbox: the
// document must reach the hospital as an MDM, and the receipt the correspondent.
func (d *demo) incoming(number int) (wrong int, err error) {
	from := testdata.Personas()[2]
	stamp := d.e.clock().Unix()
	id := fmt.Sprintf("recu-%d@test-ci-sis.mssante.fr", stamp)
	fmt.Fprintf(d.e.out, "\n%d. Courriel reçu d'un correspondant, avec un document\n", number)
	letter := testdata.Letter(testdata.LetterOptions{
		MessageID: id, From: from.Mailbox, To: d.info.Operator.GatewayMailbox, WantMDN: true, NIL: "9001",
		Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(int(stamp)*100 + 50)},
	})
	if err := d.drop(letter); err != nil {
		return 0, err
	}
	d.line("← MSS ", "courriel déposé dans la boîte de la passerelle")
	if err := d.await(func() (bool, error) { return d.filed(id) }); err != nil {
		d.line("✗     ", "le document n'est pas arrivé à l'établissement : %v", err)
		return 1, nil
	}
	d.line("→ MDM ", "document rangé par le logiciel de l'établissement (profil CISIS_CDA_HL7_LPS)")
	receipt := false
	err = d.await(func() (bool, error) {
		err := d.eachMail(from.Mailbox, func(in *mss.Incoming) {
			receipt = receipt || in.MDN != nil && in.MDN.OriginalMessageID == id && !in.MDN.Failed
		})
		return receipt, err
	})
	if err != nil {
		d.line("✗     ", "l'accusé de traitement n'est pas revenu au correspondant : %v", err)
		return 1, nil
	}
	d.line("→ MDN ", "accusé de traitement revenu au correspondant")
	return d.quarantined(number + 1)
}

// quarantined plays a letter whose archive names another patient than its
// document: it must wait for a person, and the hospital see nothing of it.
func (d *demo) quarantined(number int) (wrong int, err error) {
	fmt.Fprintf(d.e.out, "\n%d. Courriel reçu dont l'archive et le document ne nomment pas le même patient\n", number)
	stamp := d.e.clock().Unix()
	trois := testdata.PatientByID(testdata.PatientTrois)
	id := fmt.Sprintf("recu-faux-%d@test-ci-sis.mssante.fr", stamp)
	if err := d.drop(testdata.Letter(testdata.LetterOptions{
		MessageID: id, From: testdata.Personas()[2].Mailbox, To: d.info.Operator.GatewayMailbox, Metadata: &trois,
		Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(int(stamp)*100 + 51)},
	})); err != nil {
		return 0, err
	}
	var code, submission string
	err = d.await(func() (bool, error) {
		var page struct {
			Submissions []struct {
				ID, Code string
				Message  struct {
					ControlID string `json:"control_id"`
				} `json:"message"`
			} `json:"submissions"`
		}
		err := getJSON(d.e.ctx, d.machine, d.info.Gateway.HTTPS+"/v1/submissions?state=quarantined", "", &page)
		for _, s := range page.Submissions {
			if s.Message.ControlID == id {
				code, submission = s.Code, s.ID
			}
		}
		return submission != "", err
	})
	if err != nil {
		d.line("✗     ", "le courriel n'est pas en quarantaine : %v", err)
		return 1, nil
	}
	row, _ := fault.Lookup(code)
	d.line("  MSS ", "en quarantaine (%s) : %s Soumission %s", code, row.FR, submission)
	if there, err := d.filed(id); err != nil || there {
		d.line("✗     ", "l'établissement en a vu quelque chose")
		return 1, err
	}
	return 0, nil
}

// drop puts a letter into the gateway's mailbox, as a correspondent's operator
// would.
func (d *demo) drop(letter []byte) error {
	link := d.info.Operator.Mailboxes + "/" + url.PathEscape(d.info.Operator.GatewayMailbox)
	req, err := http.NewRequestWithContext(d.e.ctx, http.MethodPost, link, bytes.NewReader(letter))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "message/rfc822")
	_, err = do(http.DefaultClient, req)
	return err
}

// filed tells whether the hospital received the document of one letter.
func (d *demo) filed(messageID string) (bool, error) {
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	if err := getJSON(d.e.ctx, http.DefaultClient, d.info.Hospital.Messages, "", &list); err != nil {
		return false, err
	}
	for _, m := range list.Messages {
		if strings.Contains(field([]byte(m.Raw), "MSH", 21), "CISIS_CDA_HL7_LPS") && strings.Contains(m.Raw, messageID) {
			return true, nil
		}
	}
	return false, nil
}

func (d *demo) await(done func() (bool, error)) error {
	deadline := d.e.clock().Add(30 * time.Second)
	for {
		ok, err := done()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if ok {
			return nil
		}
		if d.e.clock().After(deadline) {
			return errors.New("rien après 30 s")
		}
		select {
		case <-d.e.ctx.Done():
			return d.e.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
