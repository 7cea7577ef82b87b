package testdata

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// section is a narrative section of a level 3 body.
type section struct {
	templates []string
	code      string
	display   string
	title     string
	rows      [][]string // header first
	entry     string
}

// text is what the document says, for the narrative and for the PDF alike: one
// content, whichever level carries it.
func (o CDAOptions) text() []section {
	day := frenchDay(o.ServiceStart)
	switch o.Kind {
	case Imaging:
		return []section{
			{templates: []string{"2.16.840.1.113883.10.20.22.2.20", "1.2.250.1.213.1.1.2.214"}, code: "55752-0", display: "Informations cliniques", title: "Indication",
				rows: [][]string{{"Indication"}, {"Toux fébrile depuis cinq jours, recherche de pneumopathie."}}},
			{templates: []string{"1.2.840.10008.9.3", "1.2.250.1.213.1.1.2.212"}, code: "55111-9", display: "Acte d'imagerie", title: "Technique",
				rows: [][]string{{"Examen"}, {"Radiographie thoracique de face et de profil, le " + day + "."}}},
			{templates: []string{"2.16.840.1.113883.10.20.6.1.2", "1.2.250.1.213.1.1.2.215"}, code: "59776-5", display: "Résultats", title: "Résultats",
				rows: [][]string{{"Résultats"}, {"Opacité alvéolaire systématisée du lobe inférieur droit."}, {"Absence d'épanchement pleural. Silhouette cardiaque normale."}}},
			{templates: []string{"2.16.840.1.113883.10.20.6.1.3", "1.2.250.1.213.1.1.2.216"}, code: "19005-8", display: "Conclusion", title: "Conclusion",
				rows: [][]string{{"Conclusion"}, {"Pneumopathie franche lobaire inférieure droite."}}},
		}
	case Discharge:
		return []section{
			{templates: []string{"1.3.6.1.4.1.19376.1.5.3.1.3.1", "1.2.250.1.213.1.1.2.127"}, code: "42349-1", display: "Raison de la recommandation", title: "Motif de l'hospitalisation",
				rows: [][]string{{"Motif"}, {"Pneumopathie franche lobaire aiguë."}}},
			{templates: []string{"1.3.6.1.4.1.19376.1.5.3.1.1.21.2.9", "1.3.6.1.4.1.19376.1.7.3.1.1.13.7", "1.2.250.1.213.1.1.2.163", "1.2.250.1.213.1.1.2.163.1"},
				code: "42545-4", display: "Evènements observés", title: "Synthèse médicale du séjour",
				rows: [][]string{{"Elément", "Constat"}, {"Date d'entrée", day}, {"Synthèse", "Evolution favorable sous amoxicilline, apyrexie en 48 heures."},
					{"Micro-organismes multirésistants", "Recherche négative"}, {"Transfusion", "Non"}}},
			{templates: []string{"1.3.6.1.4.1.19376.1.5.3.1.3.22", "1.2.250.1.213.1.1.2.146"}, code: "10183-2", display: "Traitements à la sortie", title: "Traitement de sortie",
				rows: [][]string{{"Médicament", "Posologie", "Durée"}, {"Amoxicilline 1 g", "1 comprimé matin, midi et soir", "5 jours"}}},
			{templates: []string{"1.3.6.1.4.1.19376.1.5.3.1.3.31", "1.2.250.1.213.1.1.2.158"}, code: "18776-5", display: "Plan de soins", title: "Suite à donner",
				rows: [][]string{{"Action"}, {"Consultation du médecin traitant dans une semaine."}, {"Radiographie de contrôle dans six semaines."}}},
		}
	default:
		return []section{{templates: []string{"1.3.6.1.4.1.19376.1.3.3.2.2", "1.2.250.1.213.1.1.2.71"}, code: "18719-5", display: "Biochimie", title: "BIOCHIMIE",
			rows: [][]string{{"Examen", "Résultat", "Valeurs de référence"},
				{"Glucose [Moles/Volume] Sérum/Plasma", "5,1 mmol/L", "(3,9 - 5,8)"}},
			entry: o.biologyEntry()}}
	}
}

func (o CDAOptions) pdfLines() []string {
	p := o.Patient
	lines := []string{o.Establishment.Name, fmt.Sprintf("Patient : %s %s, né(e) le %s", p.BirthName, p.FirstGiven, frenchDay(strings.ReplaceAll(p.BirthDate, "-", ""))),
		"Document fictif - bac à sable Passerelle", ""}
	for _, s := range o.text() {
		lines = append(lines, s.title)
		for _, row := range s.rows[1:] {
			lines = append(lines, "  "+strings.Join(row, " : "))
		}
		lines = append(lines, "")
	}
	return append(lines, "Validé par "+o.Authenticator.Name)
}

func (o CDAOptions) body() string {
	data := base64.StdEncoding.EncodeToString(o.PDF)
	if o.Level != 3 {
		return fmt.Sprintf(`<component><nonXMLBody><text mediaType="%s" representation="B64">%s</text></nonXMLBody></component>`, x(o.MediaType), data)
	}
	var b strings.Builder
	b.WriteString("<component><structuredBody>\n")
	for _, s := range o.text() {
		one := s.xml()
		if o.Kind == Biology { // a sub-chapter stands in its chapter
			one = `<component><section><templateId root="1.3.6.1.4.1.19376.1.3.3.2.1"/><templateId root="1.2.250.1.213.1.1.2.70"/>` +
				`<code code="18719-5" displayName="Biochimie" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/><title>BIOCHIMIE</title>` + "\n" +
				one + "</section></component>\n"
		}
		b.WriteString(one)
	}
	if !o.NoPDFCopy {
		fmt.Fprintf(&b, pdfCopy, o.Version, o.Version, o.Version, data)
	}
	b.WriteString("</structuredBody></component>")
	return b.String()
}

func (s section) xml() string {
	var b strings.Builder
	b.WriteString("<component><section>")
	for _, t := range s.templates {
		fmt.Fprintf(&b, `<templateId root="%s"/>`, t)
	}
	fmt.Fprintf(&b, `<code code="%s" displayName="%s" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/><title>%s</title>`, s.code, x(s.display), x(s.title))
	b.WriteString(`<text><table border="0"><thead><tr>`)
	for _, cell := range s.rows[0] {
		fmt.Fprintf(&b, "<th>%s</th>", x(cell))
	}
	b.WriteString("</tr></thead><tbody>")
	for i, row := range s.rows[1:] {
		b.WriteString("<tr>")
		for j, cell := range row {
			if j == 0 {
				fmt.Fprintf(&b, `<td><content ID="L%s-%d">%s</content></td>`, s.code, i+1, x(cell))
				continue
			}
			fmt.Fprintf(&b, "<td>%s</td>", x(cell))
		}
		b.WriteString("</tr>")
	}
	b.WriteString("</tbody></table></text>")
	b.WriteString(s.entry)
	b.WriteString("</section></component>\n")
	return b.String()
}

func (o CDAOptions) biologyEntry() string {
	return fmt.Sprintf(`<entry typeCode="DRIV"><templateId root="1.3.6.1.4.1.19376.1.3.1"/><templateId root="1.2.250.1.213.1.1.3.21"/>`+
		`<act classCode="ACT" moodCode="EVN"><code code="18719-5" displayName="Biochimie" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/><statusCode code="completed"/>`+
		`<entryRelationship typeCode="COMP"><observation classCode="OBS" moodCode="EVN"><templateId root="1.3.6.1.4.1.19376.1.3.1.6"/><templateId root="1.2.250.1.213.1.1.3.80"/>`+
		`<code code="14749-6" displayName="Glucose [Moles/Volume] Sérum/Plasma" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"><originalText><reference value="#L18719-5-1"/></originalText></code>`+
		`<statusCode code="completed"/><effectiveTime value="%s"/><value xsi:type="PQ" value="5.1" unit="mmol/L"/>`+
		`<interpretationCode code="N" displayName="Normal" codeSystem="2.16.840.1.113883.5.83"/>`+
		`<referenceRange typeCode="REFV"><observationRange classCode="OBS" moodCode="EVN.CRT"><value xsi:type="IVL_PQ"><low value="3.9" unit="mmol/L"/><high value="5.8" unit="mmol/L"/></value>`+
		`<interpretationCode code="N" displayName="Normal" codeSystem="2.16.840.1.113883.5.83"/></observationRange></referenceRange>`+
		`</observation></entryRelationship></act></entry>`, x(o.ServiceStop))
}

// pdfCopy is the section FR-Document-PDF-copie: the same content as a PDF.
const pdfCopy = `<component><section><templateId root="1.2.250.1.213.1.1.2.243"/><id root="5f0c0000-0000-4000-8000-00000000%04d"/>` +
	`<code code="55108-5" displayName="Copie du document" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/><title>Copie du document</title>` +
	`<text><table border="0"><tbody><tr><td><renderMultiMedia referencedObject="doc-1"/></td></tr></tbody></table></text>` +
	`<entry><organizer classCode="CLUSTER" moodCode="EVN"><templateId root="1.2.250.1.213.1.1.3.18"/><id root="5f0c0000-0000-4000-8001-00000000%04d"/>` +
	`<code code="55107-7" displayName="Document attaché" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/><statusCode code="completed"/>` +
	`<component><observation classCode="OBS" moodCode="EVN"><templateId root="1.3.6.1.4.1.19376.1.5.3.1.4.13"/><templateId root="1.2.250.1.213.1.1.3.48"/>` +
	`<templateId root="1.2.250.1.213.1.1.3.48.18"/><id root="5f0c0000-0000-4000-8002-00000000%04d"/>` +
	`<code code="69764-9" displayName="Type de document" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/><statusCode code="completed"/><effectiveTime nullFlavor="NA"/>` +
	`<value xsi:type="CD" code="55108-5" displayName="Copie du document" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/></observation></component>` +
	`<component><observationMedia classCode="OBS" moodCode="EVN" ID="doc-1"><value mediaType="application/pdf" representation="B64">%s</value></observationMedia></component>` +
	`</organizer></entry></section></component>` + "\n"

// frenchDay writes the day of an HL7 timestamp as people read it.
func frenchDay(ts string) string {
	if len(ts) < 8 {
		return ts
	}
	return ts[6:8] + "/" + ts[4:6] + "/" + ts[:4]
}
