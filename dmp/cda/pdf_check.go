package cda

import (
	"fmt"
	"regexp"
	"slices"
)

// pdfaRules are what [CheckPDFA] looks at. They are no part of the verdict: a
// PDF that is not PDF/A is one warning there.
var pdfaRules = []Rule{
	{ID: "PDFA-FILE", FR: "Le fichier n'est pas un PDF lisible.", Fix: "Produisez de nouveau le PDF et vérifiez qu'il n'est pas tronqué."},
	{ID: "PDFA-ENCRYPT", FR: "Le PDF est chiffré ou protégé.", Fix: "Retirez le mot de passe et les restrictions."},
	{ID: "PDFA-XMP", FR: "Le PDF n'a pas de métadonnées XMP qui le déclarent PDF/A (pdfaid:part et pdfaid:conformance).", Fix: "Exportez en PDF/A-1b."},
	{ID: "PDFA-PART", FR: "Le PDF se déclare PDF/A d'une autre partie que la première.", Fix: "Le CI-SIS demande PDF/A-1 : exportez en PDF/A-1b."},
	{ID: "PDFA-INTENT", FR: "Le PDF n'a pas de profil de couleur de sortie (OutputIntent GTS_PDFA1).", Fix: "Incorporez un profil ICC, sRGB par exemple."},
	{ID: "PDFA-FONT", FR: "Une police n'est pas incorporée.", Fix: "Incorporez toutes les polices, même les standards (Helvetica, Times…)."},
	{ID: "PDFA-SCRIPT", FR: "Le PDF contient du JavaScript ou une action automatique.", Fix: "Retirez les scripts et les actions d'ouverture."},
	{ID: "PDFA-ATTACHED", FR: "Le PDF contient des fichiers joints.", Fix: "Retirez les pièces jointes du PDF : PDF/A-1 les interdit."},
	{ID: "PDFA-ALPHA", FR: "Le PDF utilise la transparence.", Fix: "Aplatissez les transparences : PDF/A-1 les interdit."},
	{ID: "PDFA-LZW", FR: "Le PDF utilise la compression LZW.", Fix: "Utilisez Flate."},
	{ID: "PDFA-PACKED", FR: "Le PDF contient des flux d'objets ou de références croisées (PDF 1.5).", Fix: "Enregistrez en PDF 1.4 : PDF/A-1 s'appuie sur cette version."},
	{ID: "PDFA-ID", FR: "Le PDF n'a pas d'identifiant de fichier (ID).", Fix: "Produisez de nouveau le PDF avec un outil PDF/A."},
}

var (
	pdfaPart  = regexp.MustCompile(`pdfaid:part(?:>|\s*=\s*["'])\s*(\d)`)
	pdfaLevel = regexp.MustCompile(`pdfaid:conformance(?:>|\s*=\s*["'])\s*([ABUabu])`)
)

// CheckPDFA looks at what most often keeps a PDF from being PDF/A-1b: metadata,
// output intent, fonts, encryption, scripts, attachments, transparency. It is no
// full validation: no finding means that none of these was found. XPath is the
// number of the PDF object; [RuleOf] gives the French text of each.
func CheckPDFA(pdf []byte) []*Finding {
	c := &pdfaCheck{pdfDoc: readPDF(pdf)}
	var root pdfDict
	for _, t := range c.trailers {
		if r := c.dict(t["Root"]); r != nil {
			root = r
		}
	}
	if root == nil || !looksLike(pdf, "application/pdf") {
		c.add("PDFA-FILE", 0)
		return c.found
	}
	encrypted, identified := false, false
	for _, t := range c.trailers {
		encrypted = encrypted || t["Encrypt"] != nil
		identified = identified || t["ID"] != nil
	}
	if encrypted {
		c.add("PDFA-ENCRYPT", 0)
	}
	if !identified {
		c.add("PDFA-ID", 0)
	}
	first := c.metadata(root)
	if !c.intended(root) {
		c.add("PDFA-INTENT", 0)
	}
	if root["AA"] != nil {
		c.add("PDFA-SCRIPT", 0)
	}
	if first {
		if c.packed {
			c.add("PDFA-PACKED", 0)
		}
		if names := c.dict(root["Names"]); names["EmbeddedFiles"] != nil {
			c.add("PDFA-ATTACHED", 0)
		}
	}
	numbers := make([]pdfRef, 0, len(c.objects))
	for n := range c.objects {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if d, ok := c.objects[n].value.(pdfDict); ok {
			c.object(n, d, first)
		}
	}
	return c.found
}

type pdfaCheck struct {
	*pdfDoc
	found []*Finding
	said  map[string]int
}

func (c *pdfaCheck) add(rule string, n pdfRef) {
	if c.said == nil {
		c.said = map[string]int{}
	}
	if c.said[rule]++; c.said[rule] > maxHits {
		return
	}
	f := &Finding{Code: FaultPDFA, Rule: rule, Severity: Error}
	if n > 0 {
		f.XPath = fmt.Sprintf("%d 0 obj", n)
	}
	c.found = append(c.found, f)
}

// metadata checks the XMP packet. It tells whether the rules of the first part
// hold: it is declared, or none is.
func (c *pdfaCheck) metadata(root pdfDict) bool {
	ref, _ := root["Metadata"].(pdfRef)
	o := c.objects[ref]
	d, _ := o.value.(pdfDict)
	xmp := o.stream
	if d["Filter"] != nil {
		xmp = nil // PDF/A-1 wants it readable as it stands
		if packed := o.inflate(); pdfaPart.Match(packed) {
			xmp = packed
			if string(pdfaPart.FindSubmatch(packed)[1]) == "1" {
				c.add("PDFA-XMP", ref)
			}
		}
	}
	part := pdfaPart.FindSubmatch(xmp)
	if part == nil || !pdfaLevel.Match(xmp) {
		c.add("PDFA-XMP", ref)
		return true
	}
	if string(part[1]) != "1" {
		c.add("PDFA-PART", ref)
		return false
	}
	return true
}

func (c *pdfaCheck) intended(root pdfDict) bool {
	intents, _ := c.get(root["OutputIntents"]).([]any)
	for _, i := range intents {
		d := c.dict(i)
		profile, _ := d["DestOutputProfile"].(pdfRef)
		if d["S"] == pdfName("GTS_PDFA1") && c.objects[profile].stream != nil {
			return true
		}
	}
	return false
}

// object looks at one dictionary and at those directly inside it.
func (c *pdfaCheck) object(n pdfRef, d pdfDict, first bool) {
	if d["Type"] == pdfName("Font") {
		c.font(n, d)
	}
	switch d["S"] {
	case pdfName("JavaScript"), pdfName("Launch"), pdfName("Sound"), pdfName("Movie"), pdfName("ImportData"), pdfName("ResetForm"):
		c.add("PDFA-SCRIPT", n)
	case pdfName("Transparency"):
		if first {
			c.add("PDFA-ALPHA", n)
		}
	}
	filters, _ := d["Filter"].([]any)
	if slices.Contains(append(filters, d["Filter"]), any(pdfName("LZWDecode"))) {
		c.add("PDFA-LZW", n)
	}
	if first {
		if mask := d["SMask"]; mask != nil && mask != pdfName("None") {
			c.add("PDFA-ALPHA", n)
		}
		for _, key := range []pdfName{"CA", "ca"} {
			if v, ok := d[key].(float64); ok && v < 1 {
				c.add("PDFA-ALPHA", n)
			}
		}
	}
	for _, k := range sortedKeys(d) {
		switch v := d[k].(type) {
		case pdfDict:
			c.object(n, v, first)
		case []any:
			for _, e := range v {
				if inner, ok := e.(pdfDict); ok {
					c.object(n, inner, first)
				}
			}
		}
	}
}

func sortedKeys(d pdfDict) []pdfName {
	keys := make([]pdfName, 0, len(d))
	for k := range d {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// font asks for the font program. A composite font is judged by its descendant,
// a Type 3 font draws its glyphs itself.
func (c *pdfaCheck) font(n pdfRef, d pdfDict) {
	switch d["Subtype"] {
	case pdfName("Type0"), pdfName("Type3"):
		return
	}
	descriptor := c.dict(d["FontDescriptor"])
	for _, key := range []pdfName{"FontFile", "FontFile2", "FontFile3"} {
		if ref, ok := descriptor[key].(pdfRef); ok && c.objects[ref].stream != nil {
			return
		}
	}
	c.add("PDFA-FONT", n)
}
