package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
)

//go:embed pages/*.html pages/style.css
var files embed.FS

// sheet is the one style sheet: ours, then that of the document viewer.
var sheet = func() []byte {
	ours, err := files.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // embedded: found when the program is built
	}
	return append(ours, cda.Stylesheet...)
}()

// stylePath changes with the sheet, so that it may be kept for ever.
var stylePath = func() string {
	sum := sha256.Sum256(sheet)
	return "/console/style-" + hex.EncodeToString(sum[:6]) + ".css"
}()

func (c *Console) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(sheet) // the browser went away: nobody is left to tell
}

// pages are the templates, parsed once a language.
var pages = map[string]*template.Template{"fr": parse("fr"), "en": parse("en")}

func parse(lang string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"t":     func(fr, en string) string { return in(lang, fr, en) },
		"local": func(path string, more ...string) string { return local(path, lang, more...) },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "pages/*.html"))
}

// page is what the layout needs.
type page struct {
	Lang, Other, Style, Title, Section string
	Environment, Zone                  string
	Who                                string // empty: nobody is known to be logged in
	Content                            template.HTML
}

// render writes a page whole or not at all: the template runs before the status
// leaves.
func (c *Console) render(v *visit, status int, name string, title words, body any) {
	set := pages[v.lang]
	var content, whole bytes.Buffer
	err := set.ExecuteTemplate(&content, name, view{console: c, Body: body})
	if err == nil {
		p := page{
			Lang: v.lang, Other: otherLanguage(v.r, v.lang), Style: stylePath, Title: title.in(v.lang), Section: name,
			Environment: c.environment(v.lang), Zone: c.cfg.Zone.String(), Content: template.HTML(content.String()), //nolint:gosec // written by html/template just above
		}
		if v.who.NationalID != "" {
			p.Who = v.who.Given + " " + v.who.Family
		}
		err = set.ExecuteTemplate(&whole, "layout", p)
	}
	if err != nil {
		c.cfg.Log.Error("console: a page cannot be written", "page", name, "error", err)
		http.Error(v.w, "Page indisponible.", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang)
	h.Set("Content-Length", strconv.Itoa(whole.Len()))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(whole.Bytes()) // the browser went away: nobody is left to tell
}

// view is what a template sees: its body, and times in the zone of the house.
type view struct {
	console *Console
	Body    any
}

// Moment is a time as people read it.
func (v view) Moment(t time.Time) string { return v.console.moment(t) }

func (c *Console) environment(lang string) string {
	switch c.cfg.Notice {
	case "":
		return ""
	case "sandbox":
		return in(lang, "Bac à sable : personnes fictives, rien ne sort de cette machine.", "Sandbox: fictitious people, nothing leaves this machine.")
	}
	return in(lang, "Environnement d'essai : ", "Test environment: ") + c.cfg.Notice
}

var _ Journal = gateway.Journal(nil)
