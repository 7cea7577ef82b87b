package cda

import (
	"bytes"
	"errors"
	"slices"

	"github.com/passerelle-sante/passerelle/ins"
)

// rules is the rule table. The order is that of the findings.
var rules = slices.Concat(doorRules, headerRules, actorRules, actRules, typeRules, formRules, insRules, bodyRules, schemaRules())

var ruleIndex = func() map[string]int {
	m := make(map[string]int, len(rules))
	for i, r := range rules {
		m[r.ID] = i
	}
	return m
}()

// doorRules refuse a document at the door, whatever the settings.
var doorRules = []Rule{
	{
		ID: "B01", Code: FaultNoID, Severity: Blocking, XPath: "/ClinicalDocument/id",
		FR:      "Le document n'a pas d'identifiant utilisable : l'élément id manque, est vide ou porte un nullFlavor.",
		Fix:     "Renseignez id/@root avec un OID propre à ce document.",
		Source:  SourceSchema,
		Mutants: []string{"remove id", "set id/@root ", "unset id/@root", "replace id <id nullFlavor=\"UNK\"/>"},
		check: func(d *checkup, hit func(*node)) {
			if d.Header.ID.Root == "" {
				hit(first(d.Header.ID.n, d.root))
			}
		},
	},
	{
		ID: "B02", Code: FaultNoType, Severity: Blocking, XPath: "/ClinicalDocument/code",
		FR:      "Le document n'a pas de type : l'élément code manque ou n'a pas d'attribut code.",
		Fix:     "Renseignez code avec une valeur du jeu JDV_J07.",
		Source:  SourceSchema,
		Mutants: []string{"remove code", "unset code/@code", "set code/@code "},
		check: func(d *checkup, hit func(*node)) {
			if d.Header.Code.Code == "" {
				hit(first(d.Header.Code.n, d.root))
			}
		},
	},
	{
		ID: "B03", Code: FaultNoPatient, Severity: Blocking, XPath: "/ClinicalDocument/recordTarget/patientRole/patient/name",
		FR:      "Le document ne dit pas qui est le patient : recordTarget, patientRole, patient ou name manque.",
		Fix:     "Renseignez recordTarget avec l'identité complète du patient.",
		Source:  SourceSchema,
		Mutants: []string{"remove recordTarget", "remove recordTarget/patientRole", "remove recordTarget/patientRole/patient", "remove recordTarget/patientRole/patient/name"},
		check: func(d *checkup, hit func(*node)) {
			if d.root.one("recordTarget/patientRole/patient/name") == nil {
				hit(first(d.root.one("recordTarget"), d.root))
			}
		},
	},
	{
		ID: "B04", Code: FaultTwoPatients, Severity: Blocking, XPath: "/ClinicalDocument/recordTarget",
		FR:      "Le document désigne plusieurs patients : recordTarget figure plus d'une fois.",
		Fix:     "Produisez un document par patient.",
		Source:  SourcePasserelle,
		Mutants: []string{"twice recordTarget"},
		check: func(d *checkup, hit func(*node)) {
			if all := d.root.all("recordTarget"); len(all) > 1 {
				hit(all[1])
			}
		},
	},
	{
		ID: "B05", Code: FaultTwoINS, Severity: Blocking, XPath: "/ClinicalDocument/recordTarget/patientRole/id",
		FR:     "Le patient porte plusieurs INS différents.",
		Fix:    "Gardez un seul identifiant INS, celui de l'identité qualifiée.",
		Source: SourcePasserelle,
		Mutants: []string{
			`after recordTarget/patientRole/id[1] <id root="1.2.250.1.213.1.4.10" extension="187055935012341"/>`,
			`after recordTarget/patientRole/id[1] <id root="1.2.250.1.213.1.4.11" extension="160017501234519"/>`,
		},
		check: func(d *checkup, hit func(*node)) {
			for _, p := range d.Header.Patients {
				var seen II
				for _, i := range p.IDs {
					switch {
					case !ins.OID(i.Root).Known():
					case seen.Root == "":
						seen = i
					case seen.Root != i.Root || seen.Extension != i.Extension:
						hit(i.n)
					}
				}
			}
		},
	},
	{
		ID: "B06", Code: FaultNoBody, Severity: Blocking, XPath: "/ClinicalDocument/component",
		FR:     "Le document n'a pas de corps : ni fichier encapsulé (nonXMLBody/text), ni section (structuredBody).",
		Fix:    "Encapsulez le document en base64 (niveau 1) ou renseignez au moins une section (niveau 3).",
		Source: SourceSchema,
		Mutants: []string{
			"remove component", "remove component/nonXMLBody", "remove component/nonXMLBody/text", "text component/nonXMLBody/text ",
			"n3: remove component/structuredBody", "n3: remove component/structuredBody/component ; remove component/structuredBody/component",
		},
		check: func(d *checkup, hit func(*node)) {
			b := d.Body
			switch {
			case b.Kind == Level1 && b.File != nil && len(bytes.TrimSpace(b.File.raw)) > 0:
			case b.Kind == Level3 && b.Sections > 0:
			default:
				hit(first(b.n, d.root))
			}
		},
	},
	{
		ID: "B07", Code: FaultTwoBodies, Severity: Blocking, XPath: "/ClinicalDocument/component",
		FR:     "Le document a plusieurs corps.",
		Fix:    "Gardez un seul élément component sous ClinicalDocument, avec un seul corps.",
		Source: SourceSchema,
		Mutants: []string{
			"twice component", "n3: twice component",
			`after component/nonXMLBody <structuredBody><component><section><text>x</text></section></component></structuredBody>`,
		},
		check: func(d *checkup, hit func(*node)) {
			if d.Body.Count > 1 {
				hit(d.Body.n)
			}
		},
	},
	{
		ID: "B08", Code: FaultBodyBase64, Severity: Blocking, XPath: "/ClinicalDocument/component/nonXMLBody/text",
		FR:     "Le fichier encapsulé ne peut pas être décodé : son base64 est coupé ou altéré.",
		Fix:    "Encodez de nouveau le fichier entier, en base64 (RFC 4648).",
		Source: SourcePasserelle,
		Mutants: []string{
			"text component/nonXMLBody/text JVBER", "text component/nonXMLBody/text JVBERi0x*LjQK",
		},
		check: func(d *checkup, hit func(*node)) {
			if faultOf(d.fileErr) == FaultBodyBase64 {
				hit(d.Body.File.n)
			}
		},
	},
	{
		ID: "B09", Code: FaultBodyFormat, Severity: Blocking, XPath: "/ClinicalDocument/component/nonXMLBody/text/@mediaType",
		FR:     "Le fichier encapsulé n'est pas du type annoncé par mediaType.",
		Fix:    "Encapsulez un fichier du type annoncé, sans compression, ou corrigez mediaType.",
		Source: SourcePasserelle,
		Mutants: []string{
			"text component/nonXMLBody/text PGh0bWw+PGJvZHk+eDwvYm9keT48L2h0bWw+",
			"set component/nonXMLBody/text/@mediaType image/jpeg",
			"set component/nonXMLBody/text/@mediaType text/plain",
			"set component/nonXMLBody/text/@compression GZ",
		},
		check: func(d *checkup, hit func(*node)) {
			f := d.Body.File
			if faultOf(d.fileErr) == FaultBodyFormat || len(d.file) > 0 && !looksLike(d.file, f.MediaType) {
				hit(f.n)
			}
		},
	},
	{
		ID: "B10", Code: FaultBodyBase64, Severity: Error, XPath: "/ClinicalDocument/component/nonXMLBody/text",
		FR:     "Le PDF encapsulé n'a pas de fin : son base64 est sans doute coupé.",
		Fix:    "Encodez de nouveau le fichier entier, en base64 (RFC 4648).",
		Source: SourcePasserelle,
		Mutants: []string{
			"text component/nonXMLBody/text JVBERi0xLjQK", "text component/nonXMLBody/text JVBERi0xLjQKJSVFT0",
		},
		// A cut is seen in base64 itself one time out of four only. Behind its end
		// a PDF may have some bytes (ISO 32000-1, annex H.3: the last 1024).
		check: func(d *checkup, hit func(*node)) {
			if sniff(d.file) == "application/pdf" && !bytes.Contains(d.file[max(0, len(d.file)-2048):], []byte("%%EOF")) {
				hit(d.Body.File.n)
			}
		},
	},
}

// faultOf gives the code of an error of this package; empty for none.
func faultOf(err error) string {
	var f *Finding
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

// looksLike tells whether a file may be of a media type. Of a type that is not
// among those of CI-SIS nothing is said here: a value set does.
func looksLike(b []byte, mediaType string) bool {
	seen := sniff(b)
	switch mediaType {
	case "application/pdf":
		return seen == mediaType || bytes.Contains(b[:min(len(b), 1024)], []byte("%PDF-")) && seen == ""
	case "image/jpeg", "image/tiff", "image/png", "text/rtf":
		return seen == mediaType
	case "text/plain":
		return seen == ""
	}
	return true
}

// first gives the first node that exists: the place of what is missing is its
// nearest ancestor.
func first(ns ...*node) *node {
	for _, n := range ns {
		if n != nil {
			return n
		}
	}
	return nil
}
