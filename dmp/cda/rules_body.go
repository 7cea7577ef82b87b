package cda

import (
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
)

// bodyRules are about embedded files, stylesheets and what the DMP will say.
var bodyRules = []Rule{
	{
		ID: "C01", Code: FaultPDFA, Severity: Warning, XPath: "/ClinicalDocument/component/nonXMLBody/text",
		FR:      "Le PDF encapsulé ne se déclare pas PDF/A (pdfaid absent de ses métadonnées XMP).",
		Fix:     "Produisez un PDF/A-1, comme le demande le CI-SIS.",
		Source:  SourceStructure,
		Mutants: []string{"text component/nonXMLBody/text JVBERi0xLjQKJSVFT0YK"},
		check: func(d *checkup, hit func(*node)) {
			f := d.Body.File
			if f == nil || f.MediaType != "application/pdf" {
				return
			}
			if sniff(d.file) == "application/pdf" && !declaresPDFA(d.file) {
				hit(f.n)
			}
		},
	},
	{
		ID: "C02", Code: FaultBodyBase64, Severity: Error, XPath: "//observationMedia/value",
		FR:      "Un fichier encapsulé dans une section ne peut pas être décodé : son base64 est coupé ou altéré.",
		Fix:     "Encodez de nouveau le fichier entier, en base64 (RFC 4648).",
		Source:  SourcePasserelle,
		Mutants: []string{"n3: text component/structuredBody/component[1]/section/entry/observationMedia/value iVBOR"},
		check: func(d *checkup, hit func(*node)) {
			for _, m := range d.Body.Media {
				if _, err := m.Bytes(); err != nil {
					hit(m.n)
				}
			}
		},
	},
	{
		ID: "C03", Code: FaultBodyFormat, Severity: Warning, XPath: "//observationMedia/value/@mediaType",
		FR:      "Un fichier encapsulé dans une section n'est pas du type annoncé par mediaType.",
		Fix:     "Corrigez mediaType : certains lecteurs n'afficheront pas ce fichier.",
		Source:  SourcePasserelle,
		Mutants: []string{"n3: set component/structuredBody/component[1]/section/entry/observationMedia/value/@mediaType image/jpeg"},
		check: func(d *checkup, hit func(*node)) {
			for _, m := range d.Body.Media {
				if b, err := m.Bytes(); err == nil && len(b) > 0 && !looksLike(b, m.MediaType) {
					hit(m.n)
				}
			}
		},
	},
	{
		ID: "C04", Code: FaultStylesheet, Severity: Warning, XPath: "/processing-instruction('xml-stylesheet')",
		FR:      "Le document désigne une feuille de style sur un autre serveur ; la passerelle ne la charge jamais.",
		Fix:     "Utilisez une adresse relative, ou un document auto-présentable.",
		Source:  SourcePasserelle,
		Mutants: []string{`sheet https://exemple.invalid/cda.xsl`, `sheet //exemple.invalid/cda.xsl`, `sheet file:///etc/passwd`},
		check: func(d *checkup, hit func(*node)) {
			if d.foreign {
				hit(d.root)
			}
		},
	},
	{
		ID: "C05", Code: FaultIDExtension, Severity: Warning, XPath: "/ClinicalDocument/id/@extension",
		FR:      "L'identifiant du document porte une extension : le DMP ne l'accepte pas aujourd'hui.",
		Fix:     "Pour le DMP, donnez au document un OID complet dans id/@root, sans extension.",
		Source:  SourcePasserelle,
		Mutants: []string{"set id/@extension 12345"},
		check: func(d *checkup, hit func(*node)) {
			if d.Header.ID.Extension != "" {
				hit(d.Header.ID.n)
			}
		},
	},
	{
		ID: "C06", Code: FaultTypeNotDMP, Severity: Warning, XPath: "/ClinicalDocument/code/@code",
		FR:      "Le type du document n'est pas de ceux que le DMP accepte (JDV_J66).",
		Fix:     "N'adressez pas ce document au DMP, ou choisissez un type de JDV_J66.",
		Source:  SourceValueSets,
		Mutants: []string{"set code/@code 10213-7", "set code/@code 99999-9"},
		check: func(d *checkup, hit func(*node)) {
			if c := d.Header.Code; c.Code != "" && !dmp.TypeAllowedOnDMP(c.Code) {
				hit(c.n)
			}
		},
	},
}

// outside tells whether an address leaves the place of the document.
func outside(href string) bool {
	if strings.HasPrefix(href, "//") || strings.HasPrefix(href, `\\`) {
		return true
	}
	scheme, _, ok := strings.Cut(href, ":")
	return ok && !strings.ContainsAny(scheme, "/?#")
}
