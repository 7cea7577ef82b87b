package cda

import (
	"bytes"
	"encoding/xml"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// writer writes XML elements in the order of the schema, one a line.
type writer struct{ bytes.Buffer }

func (w *writer) raw(s string) { w.WriteString(s) }

// start writes a start tag; attributes come as names and values, those without
// a value are left out.
func (w *writer) start(name string, attrs ...string) {
	w.raw("<" + name)
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] == "" {
			continue
		}
		w.raw(" " + attrs[i] + `="`)
		w.escape(attrs[i+1])
		w.raw(`"`)
	}
	w.raw(">")
}

func (w *writer) escape(s string) {
	_ = xml.EscapeText(w, []byte(s)) // a bytes.Buffer does not fail
}

func (w *writer) open(name string, attrs ...string) {
	w.start(name, attrs...)
	w.raw("\n")
}

func (w *writer) close(name string) { w.raw("</" + name + ">\n") }

// empty writes an element without content.
func (w *writer) empty(name string, attrs ...string) {
	w.start(name, attrs...)
	w.Truncate(w.Len() - 1)
	w.raw("/>\n")
}

// text writes an element of text, if there is text.
func (w *writer) text(name, text string, attrs ...string) {
	if text == "" {
		return
	}
	w.start(name, attrs...)
	w.escape(text)
	w.close(name)
}

// wrap writes nested elements without attributes around what inside writes.
func (w *writer) wrap(path string, inside func()) {
	names := strings.Split(path, "/")
	for _, n := range names {
		w.open(n)
	}
	inside()
	for i := len(names) - 1; i >= 0; i-- {
		w.close(names[i])
	}
}

func (w *writer) id(name string, id dmp.ID) {
	if id.Zero() {
		return
	}
	w.empty(name, "root", id.Root, "extension", id.Extension)
}

// rooted completes an identifier that came without its authority.
func rooted(id dmp.ID, root string) dmp.ID {
	if id.Root == "" && id.Extension != "" {
		id.Root = root
	}
	return id
}

func (w *writer) code(name string, c dmp.Code) {
	if c.Code == "" {
		return
	}
	w.empty(name, "code", c.Code, "displayName", c.Display, "codeSystem", c.System)
}

// hl7Time writes a time with its zone, as XDS and the DMP want it.
func hl7Time(t time.Time) string { return t.Format("20060102150405-0700") }

func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.empty(name, "value", hl7Time(t))
	}
}

func (w *writer) interval(start, stop time.Time) {
	w.wrap("effectiveTime", func() {
		w.time("low", start)
		w.time("high", stop)
	})
}

// address writes an address; one that nobody gave is said to be so, because the
// element is mandatory.
func (w *writer) address(a BuildAddress) {
	if len(a.Lines) == 0 && a.PostCode == "" && a.City == "" {
		w.empty("addr", "nullFlavor", "NASK")
		return
	}
	w.wrap("addr", func() {
		// An address is either of lines or of parts, never of both.
		for _, l := range a.Lines {
			w.text("streetAddressLine", l)
		}
		if len(a.Lines) > 0 {
			w.text("streetAddressLine", strings.TrimSpace(a.PostCode+" "+a.City))
			return
		}
		w.text("postalCode", a.PostCode)
		w.text("city", a.City)
	})
}

func (w *writer) telecoms(values []string) {
	if len(values) == 0 {
		w.empty("telecom", "nullFlavor", "NASK")
	}
	for _, v := range values {
		w.empty("telecom", "value", v)
	}
}

func (w *writer) name(p dmp.Person) {
	w.wrap("name", func() {
		w.text("prefix", p.Prefix)
		w.text("given", p.Given)
		w.text("family", p.Family)
		w.text("suffix", p.Suffix)
	})
}

// organisation writes a structure. That of a custodian has one telecom.
func (w *writer) organisation(name string, o BuildOrganisation, practice *dmp.Code) {
	w.wrap(name, func() {
		w.id("id", rooted(o.ID, dmp.OIDOrganisation))
		w.text("name", o.Name)
		telecoms := o.Telecoms
		if strings.HasPrefix(name, "representedCustodian") && len(telecoms) > 1 {
			telecoms = telecoms[:1]
		}
		w.telecoms(telecoms)
		w.address(o.Address)
		if practice != nil {
			w.code("standardIndustryClassCode", *practice)
		}
	})
}

// professional writes a person acting for a structure.
func (w *writer) professional(role, person string, p *Professional, practice *dmp.Code) {
	w.wrap(role, func() {
		w.id("id", rooted(p.ID, dmp.OIDPerson))
		w.code("code", coded(p.Specialty, dmp.SetJ01))
		w.address(p.Address)
		w.telecoms(p.Telecoms)
		w.wrap(person, func() { w.name(p.Person) })
		if practice != nil || !p.Organisation.ID.Zero() || p.Organisation.Name != "" {
			w.organisation("representedOrganization", p.Organisation, practice)
		}
	})
}
