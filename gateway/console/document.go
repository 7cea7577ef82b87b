package console

import (
	"bytes"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
)

// maxMail bounds what is shown of the text of a mail.
const maxMail = 256 << 10

type documentPage struct {
	Back     string
	Document template.HTML
}

type mailPage struct {
	Back        string
	Reason      *tell
	Facts       []fact
	Text        string
	Cut         bool
	Unreadable  *tell // the mail could not be read: Text is how it begins
	Attachments []attachment
}

type attachment struct {
	Name, Type string
	KiB        int
}

// hold waits for a place among those who read documents. It is given back before
// the page leaves: a browser that reads slowly must not keep others out.
func (c *Console) hold(v *visit) (release func(), err error) {
	select {
	case c.heavy <- struct{}{}:
		return sync.OnceFunc(func() { <-c.heavy }), nil
	case <-v.r.Context().Done():
		return nil, v.r.Context().Err()
	}
}

// consulted logs that somebody saw traits of a patient.
func (c *Console) consulted(v *visit, what string, submission string, document int) {
	c.cfg.Log.LogAttrs(v.r.Context(), slog.LevelInfo, "console: consultation", slog.String("national_id", v.who.NationalID),
		slog.String("submission", submission), slog.String("what", what), slog.Int("document", document), slog.String("session_state", v.who.SessionState))
}

// read reads the document of the path.
func (c *Console) read(v *visit) (s gateway.Submission, index int, doc *cda.Document, err error) {
	if err = v.who.Care(); err != nil {
		return s, 0, nil, err
	}
	s, docs, err := c.load(v)
	if err != nil {
		return s, 0, nil, err
	}
	index, err = strconv.Atoi(v.r.PathValue("n"))
	for _, d := range docs {
		if err != nil || d.Index != index {
			continue
		}
		content, err := c.cfg.Journal.Fetch(v.r.Context(), d.Digest)
		if err != nil {
			return s, 0, nil, err
		}
		doc, err = cda.Options{Location: c.cfg.Zone}.Read(content)
		return s, index, doc, err
	}
	return s, 0, nil, gateway.ErrNotFound
}

// document shows a document: who, what, then its text or its PDF.
func (c *Console) document(v *visit) error {
	release, err := c.hold(v)
	if err != nil {
		return err
	}
	defer release()
	s, index, doc, err := c.read(v)
	if err != nil {
		return err
	}
	options := cda.PageOptions{}
	if carriesPDF(doc) {
		options.PDF = "/console/submissions/" + url.PathEscape(s.ID) + "/documents/" + strconv.Itoa(index) + "/copy#navpanes=0"
	}
	c.consulted(v, "document", s.ID, index)
	v.w.Header().Set("Content-Security-Policy", documentPolicy)
	page := documentPage{Back: submissionURL(v, s.ID), Document: doc.Fragment(options)}
	release()
	c.render(v, http.StatusOK, "document", titleDocument, page)
	return nil
}

// carriesPDF tells whether there is a PDF to show: the body of level 1, or the
// copy of level 3, which is made if there is none.
func carriesPDF(doc *cda.Document) bool {
	if doc.Body.Kind == cda.Level3 {
		return true
	}
	if doc.Body.File == nil {
		return false
	}
	data, err := doc.Body.File.Bytes()
	return err == nil && bytes.HasPrefix(data, []byte("%PDF-"))
}

// pdf gives the PDF of a document to the page that shows it.
func (c *Console) pdf(v *visit) error {
	data, s, index, err := c.copyOf(v)
	if err != nil {
		return err
	}
	c.consulted(v, "pdf", s.ID, index)
	h := v.w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", `inline; filename="document.pdf"`)
	h.Set("Content-Security-Policy", pdfPolicy)
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = v.w.Write(data) // the browser went away: nobody is left to tell
	return nil
}

func (c *Console) copyOf(v *visit) ([]byte, gateway.Submission, int, error) {
	release, err := c.hold(v)
	if err != nil {
		return nil, gateway.Submission{}, 0, err
	}
	defer release()
	s, index, doc, err := c.read(v)
	if err != nil {
		return nil, s, 0, err
	}
	if !carriesPDF(doc) {
		return nil, s, 0, fault.New(FaultNoPDF)
	}
	data, _, err := doc.PDFCopy()
	return data, s, index, err
}

// mail shows a received mail by its text alone: what its other parts hold is
// named and not shown.
func (c *Console) mail(v *visit) error {
	release, err := c.hold(v)
	if err != nil {
		return err
	}
	defer release()
	if err := v.who.Care(); err != nil {
		return err
	}
	s, _, err := c.load(v)
	if err != nil {
		return err
	}
	if s.Door != gateway.DoorMail {
		return gateway.ErrNotFound
	}
	raw, err := c.cfg.Journal.Fetch(v.r.Context(), s.Digest)
	if err != nil {
		return err
	}
	out := mailPage{Back: submissionURL(v, s.ID), Reason: reason(v.lang, s)}
	letter, err := mss.Read(raw, mss.DefaultLimits())
	var refused *mss.Error
	switch {
	case errors.As(err, &refused):
		why := notice(v.lang, refused.FaultCode(), "")
		out.Unreadable = &why
		out.Text, out.Cut = plain(raw, 8<<10)
	case err != nil:
		return err
	default:
		c.describe(v.lang, letter, &out)
	}
	c.consulted(v, "mail", s.ID, 0)
	release()
	c.render(v, http.StatusOK, "mail", titleMail, out)
	return nil
}

func (c *Console) describe(lang string, letter *mss.Incoming, out *mailPage) {
	line := func(name, value string) {
		if value, _ = plain([]byte(value), 2000); value != "" {
			out.Facts = append(out.Facts, fact{name, value})
		}
	}
	line(in(lang, "De", "From"), letter.From)
	for _, to := range letter.To[:min(len(letter.To), 20)] {
		line(in(lang, "À", "To"), to)
	}
	line(in(lang, "Objet", "Subject"), letter.Subject)
	if !letter.Date.IsZero() {
		line(in(lang, "Daté du", "Dated"), c.moment(letter.Date))
	}
	line("Message-ID", letter.MessageID)
	out.Text, out.Cut = plain([]byte(letter.Text), maxMail)
	for _, a := range letter.Attachments {
		name, _ := plain([]byte(a.Name), 200)
		kind, _ := plain([]byte(a.Type), 200)
		out.Attachments = append(out.Attachments, attachment{name, kind, (len(a.Content) + 1023) / 1024})
	}
}

// moment is a time as people read it.
func (c *Console) moment(t time.Time) string { return t.In(c.cfg.Zone).Format("02/01/2006 15:04:05") }
