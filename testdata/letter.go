package testdata

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Archive faults of a letter.
const (
	ArchiveTraversal    = "traversal"     // an entry named ../../etc/passwd
	ArchiveBomb         = "bomb"          // a megabyte-scale document of zeros, many times
	ArchiveMetadataCase = "metadata-case" // metadata.xml in lower case, tolerated
	ArchiveNoMetadata   = "no-metadata"   // documents only
	ArchiveHash         = "hash"          // the digest announced is that of another document
	ArchiveBadXML       = "bad-xml"       // METADATA.XML with a DOCTYPE
	ArchiveNotZip       = "not-zip"       // bytes that are no archive
	ArchiveNone         = "none"          // no archive at all
)

// LetterOptions says what differs from the ordinary incoming letter: the
// biology report of the first patient, sent by its author to the gateway's
// mailbox, with the archive and the PDF beside it.
type LetterOptions struct {
	MessageID string // without angle brackets; default courrier-1@test-ci-sis.mssante.fr
	Date      string // default Mon, 05 Jan 2026 09:30:00 +0100
	From      string // address; default the author's mailbox
	FromName  string // default the author
	To        string // default passerelle@bac-a-sable.mssante.fr
	ReplyTo   string // none by default
	Subject   string // default XDM/1.0/DDM+ after the volet
	NIL       string // X-MSS-NIL; default 9001; "-" for none
	Headers   []string

	WantMDN  bool   // Disposition-Notification-To: From
	MDNTo    string // another address there
	AutoSent bool   // Auto-Submitted: auto-generated

	Document  CDAOptions
	Second    *CDAOptions // a second document in the archive
	Content   []byte      // the bytes of the (first) document, instead of CDA(Document)
	NoPDF     bool
	Replaces  bool     // METADATA says action C and RPLC of Document.Replaces
	Deletes   bool     // METADATA says action D
	Metadata  *Patient // METADATA names this patient and not that of the document
	Archive   string   // one of the faults above
	Name      string   // of the archive; default IHE_XDM.zip
	Invisible bool     // METADATA: not visible by the patient
	Masked    bool     // METADATA: hidden from professionals
}

// GatewayMailbox is the mailbox of the gateway at the operator of the sandbox.
const GatewayMailbox = "passerelle@bac-a-sable.mssante.fr"

// Letter writes an incoming MSSanté letter, lines ended by CRLF. Its archive is
// written here, from a template, and not by the code that it tests.
func Letter(o LetterOptions) []byte {
	if o.Deletes || o.Replaces {
		o.Document.Replaces = orString(o.Document.Replaces, DocumentID(1))
		if o.Replaces {
			o.Document.ID = orString(o.Document.ID, DocumentID(2))
		}
	}
	d := o.Document.filled()
	from := orString(o.From, d.Author.Mailbox)
	name := orString(o.FromName, d.Author.Suffix+"_"+d.Author.Given+"_"+d.Author.Family)
	subject := o.Subject
	if subject == "" {
		mark := map[bool]string{true: "[Annule et remplace] "}[o.Replaces]
		if o.Deletes {
			mark = "[Suppression] "
		}
		subject = "XDM/1.0/DDM+" + mark + d.Title + " " + d.Patient.BirthName + " " + d.Patient.FirstGiven + " " + frenchDay(strings.ReplaceAll(d.Patient.BirthDate, "-", ""))
	}
	headers := []string{
		"Date: " + orString(o.Date, "Mon, 05 Jan 2026 09:30:00 +0100"),
		"Message-ID: <" + orString(o.MessageID, "courrier-1@test-ci-sis.mssante.fr") + ">",
		"From: " + encodedWords(name) + " <" + from + ">",
		"To: <" + orString(o.To, GatewayMailbox) + ">",
		"Subject: " + encodedWords(subject),
	}
	add := func(yes bool, line string) {
		if yes {
			headers = append(headers, line)
		}
	}
	add(o.ReplyTo != "", "Reply-To: <"+o.ReplyTo+">")
	add(o.WantMDN || o.MDNTo != "", "Disposition-Notification-To: <"+orString(o.MDNTo, from)+">")
	add(o.AutoSent, "Auto-Submitted: auto-generated")
	add(o.NIL != "-", "X-MSS-NIL: "+orString(o.NIL, "9001"))
	archive := o.archive(d)
	add(archive != nil, "X-MSS-CODECDA: "+d.Kind.TypeCode().Code)
	add(archive != nil, "X-MSS-INS: "+map[bool]string{true: "O", false: "N"}[d.Patient.Matricule != "" && !d.NoINS])
	headers = append(append(headers, o.Headers...), "MIME-Version: 1.0", `Content-Type: multipart/mixed; boundary="courrier-bac-a-sable"`)

	var b strings.Builder
	line := func(words ...string) { b.WriteString(strings.Join(words, "") + "\r\n") }
	part := func(kind, file string, data []byte) {
		line("--courrier-bac-a-sable")
		if file == "" {
			line("Content-Type: ", kind)
		} else {
			line("Content-Type: ", mime.FormatMediaType(kind, map[string]string{"name": file}))
			line("Content-Disposition: ", mime.FormatMediaType("attachment", map[string]string{"filename": file}))
		}
		line("Content-Transfer-Encoding: base64")
		line()
		text := base64.StdEncoding.EncodeToString(data)
		for len(text) > 0 {
			n := min(76, len(text))
			line(text[:n])
			text = text[n:]
		}
	}
	for _, h := range headers {
		line(h)
	}
	line()
	part("text/plain; charset=UTF-8", "", []byte("Bonjour,\r\nci-joint un document de santé fictif.\r\n"))
	if archive != nil {
		part("application/zip", orString(o.Name, "IHE_XDM.zip"), archive)
	}
	if !o.NoPDF {
		part("application/pdf", d.ServiceStart[:8]+"_"+d.Title+"_"+d.Patient.BirthName+"_"+d.Patient.FirstGiven+".pdf", d.PDF)
	}
	line("--courrier-bac-a-sable--")
	return []byte(b.String())
}

// archive writes the zip; nil for a letter without one.
func (o LetterOptions) archive(d CDAOptions) []byte {
	switch o.Archive {
	case ArchiveNone:
		return nil
	case ArchiveNotZip:
		return []byte("ceci n'est pas une archive, mais elle en porte le nom")
	}
	documents := [][]byte{o.Content}
	options := []CDAOptions{d}
	if o.Content == nil {
		documents[0] = CDA(d)
	}
	if o.Second != nil {
		options = append(options, o.Second.filled())
		documents = append(documents, CDA(*o.Second))
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	file := func(name string, data []byte) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			panic(err) // a buffer does not fail
		}
	}
	file("INDEX.HTM", []byte(indexPage))
	file("README.TXT", []byte("Documents fictifs du bac à sable Passerelle\r\n"))
	metadata := o.metadata(options, documents)
	switch o.Archive {
	case ArchiveNoMetadata:
	case ArchiveMetadataCase:
		file("IHE_XDM/SUBSET01/metadata.xml", metadata)
	case ArchiveBadXML:
		file("IHE_XDM/SUBSET01/METADATA.XML", bytes.Replace(metadata, []byte("?>"),
			[]byte(`?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>`), 1))
	default:
		file("IHE_XDM/SUBSET01/METADATA.XML", metadata)
	}
	for i, content := range documents {
		file(fmt.Sprintf("IHE_XDM/SUBSET01/DOC%05d.XML", i+1), content)
	}
	switch o.Archive {
	case ArchiveTraversal:
		file("../../etc/passwd", []byte("root::0:0::/:/bin/sh\n"))
	case ArchiveBomb:
		zeros := make([]byte, 10<<20)
		packed := deflate(zeros) // once: under the race detector each time takes seconds
		for i := range 12 {
			w, err := z.CreateRaw(&zip.FileHeader{
				Name: fmt.Sprintf("IHE_XDM/SUBSET01/ZERO%04d.BIN", i), Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(zeros),
				CompressedSize64: uint64(len(packed)), UncompressedSize64: uint64(len(zeros)),
			})
			if err == nil {
				_, err = w.Write(packed)
			}
			if err != nil {
				panic(err) // a buffer does not fail
			}
		}
	}
	if err := z.Close(); err != nil {
		panic(err) // a buffer does not fail
	}
	return b.Bytes()
}

func deflate(data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer does not fail
	}
	return b.Bytes()
}

const indexPage = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML Basic 1.1//EN" "http://www.w3.org/TR/xhtml-basic/xhtml-basic11.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="fr"><head><title>Documents fictifs</title></head>
<body><p>Bac à sable Passerelle, personnes fictives.</p><p><a href="README.TXT">README.TXT</a></p></body></html>
`

// metadata is the ebRIM 3.0 of the archive.
func (o LetterOptions) metadata(options []CDAOptions, documents [][]byte) []byte {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	n := 0
	id := func() string { n++; return "i" + strconv.Itoa(n) }
	slot := func(name string, values ...string) {
		w(`<rim:Slot name="%s"><rim:ValueList><rim:Value>%s</rim:Value></rim:ValueList></rim:Slot>`, name, strings.Join(values, "</rim:Value><rim:Value>"))
	}
	coded := func(scheme, object string, c Code) {
		w(`<rim:Classification id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Classification" classificationScheme="urn:uuid:%s" classifiedObject="%s" nodeRepresentation="%s">`, id(), scheme, object, x(c.Code))
		slot("codingScheme", c.System)
		w(`<rim:Name><rim:LocalizedString value="%s"/></rim:Name></rim:Classification>`, x(c.Display))
	}
	external := func(scheme, object, value, name string) {
		w(`<rim:ExternalIdentifier id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:ExternalIdentifier" identificationScheme="urn:uuid:%s" registryObject="%s" value="%s"><rim:Name><rim:LocalizedString value="%s"/></rim:Name></rim:ExternalIdentifier>`,
			id(), scheme, object, x(value), name)
	}
	who := options[0].Patient
	if o.Metadata != nil {
		who = *o.Metadata
	}
	patientID := who.IPP + "^^^&" + options[0].Establishment.IPPOID + "&ISO^PI"
	if who.Matricule != "" && !options[0].NoINS {
		patientID = who.Matricule + "^^^&" + who.OID + "&ISO^NH"
	}
	const set = "urn:uuid:7a1c0f00-0000-4000-8000-000000000001"
	entry := func(documentID string) string { return "urn:uuid:" + entryUUID(documentID) }

	w(`<?xml version="1.0" encoding="UTF-8"?>`)
	w(`<lcm:SubmitObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0" xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"><rim:RegistryObjectList>`)
	for i, d := range options {
		object, content := entry(d.ID), documents[i]
		sum := sha1.Sum(content)
		if o.Archive == ArchiveHash {
			sum = sha1.Sum([]byte("un autre document"))
		}
		w(`<rim:ExtrinsicObject id="%s" objectType="urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1" mimeType="text/xml" status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved">`, object)
		if o.Replaces || o.Deletes {
			slot("action", map[bool]string{true: "D", false: "C"}[o.Deletes])
		}
		slot("creationTime", "20260105081500")
		slot("hash", hex.EncodeToString(sum[:]))
		slot("size", strconv.Itoa(len(content)))
		slot("URI", fmt.Sprintf("DOC%05d.XML", i+1))
		slot("languageCode", d.Language)
		slot("sourcePatientId", x(who.IPP+"^^^&"+d.Establishment.IPPOID+"&ISO^PI"))
		slot("sourcePatientInfo", x("PID-5|"+who.BirthName+"^"+who.FirstGiven+"^^^^^L"), "PID-7|"+strings.ReplaceAll(who.BirthDate, "-", ""), "PID-8|"+who.Sex)
		w(`<rim:Name><rim:LocalizedString value="%s"/></rim:Name>`, x(d.Title))
		w(`<rim:Classification id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Classification" classificationScheme="urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d" classifiedObject="%s" nodeRepresentation="">`, id(), object)
		slot("authorPerson", x(d.Author.NationalID+"^"+d.Author.Family+"^"+d.Author.Given+"^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"))
		slot("authorInstitution", x(d.Establishment.Name+"^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1"+d.Establishment.FINESSGeo))
		w(`</rim:Classification>`)
		coded("41a5887f-8865-4c09-adf7-e362475b143a", object, d.classCode())
		coded("f4f85eac-e6cb-4883-b524-f2705394840f", object, Code{d.Confidentiality, d.Confidentiality, "2.16.840.1.113883.5.25"})
		if o.Masked {
			coded("f4f85eac-e6cb-4883-b524-f2705394840f", object, Code{"MASQUE_PS", "Masqué aux professionnels de santé", "1.2.250.1.213.1.1.4.13"})
		}
		if o.Invisible {
			coded("f4f85eac-e6cb-4883-b524-f2705394840f", object, Code{"INVISIBLE_PATIENT", "Non visible par le patient", "1.2.250.1.213.1.1.4.13"})
		}
		coded("a09d5840-386c-46f2-b5ad-9c3699a4309d", object, d.formatCode())
		coded("f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", object, Code{d.Establishment.Facility, d.Establishment.FacilityDisplay, "1.2.250.1.71.4.2.4"})
		coded("cccf5598-8b07-4b77-a05e-ae952c785ead", object, Code{d.Establishment.Practice, d.Establishment.PracticeDisplay, "1.2.250.1.213.1.1.4.9"})
		code := d.Kind.TypeCode()
		coded("f0306f51-975f-434e-a61c-c59651d33983", object, Code{code.Code, code.Display, "2.16.840.1.113883.6.1"})
		external("58a6f841-87b3-4a3e-92fd-a8ffeff98427", object, patientID, "XDSDocumentEntry.patientId")
		external("2e82c1f6-a085-4c72-9da3-8640a32e42ab", object, d.ID, "XDSDocumentEntry.uniqueId")
		w(`</rim:ExtrinsicObject>`)
	}
	w(`<rim:RegistryPackage id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:RegistryPackage" status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved">`, set)
	slot("submissionTime", "20260105083000")
	w(`<rim:Name><rim:LocalizedString value="%s"/></rim:Name>`, x(options[0].Title))
	coded("aa543740-bdda-424e-8c96-df4873be8500", set, Code{"04", "Hospitalisation", "1.2.250.1.213.2.2"})
	external("6b5aea1a-874d-4603-a4bc-96a0a7b38446", set, patientID, "XDSSubmissionSet.patientId")
	external("96fdda7c-d067-4183-912e-bf5ee74998a8", set, DocumentArc+".9.1", "XDSSubmissionSet.uniqueId")
	external("554ac39e-e3fe-47fe-b233-965d2a147832", set, options[0].Establishment.SourceOID, "XDSSubmissionSet.sourceId")
	w(`</rim:RegistryPackage>`)
	w(`<rim:Classification id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Classification" classificationNode="urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd" classifiedObject="%s"/>`, id(), set)
	for _, d := range options {
		w(`<rim:Association id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Association" associationType="urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember" sourceObject="%s" targetObject="%s">`, id(), set, entry(d.ID))
		slot("SubmissionSetStatus", "Original")
		w(`</rim:Association>`)
		if o.Replaces {
			w(`<rim:Association id="%s" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Association" associationType="urn:ihe:iti:2007:AssociationType:RPLC" sourceObject="%s" targetObject="%s"/>`, id(), entry(d.ID), entry(d.Replaces))
		}
	}
	w(`</rim:RegistryObjectList></lcm:SubmitObjectsRequest>`)
	return []byte(b.String())
}

// entryUUID is the UUID (version 5, OID name space) of a document identifier.
func entryUUID(id string) string {
	space, err := hex.DecodeString("6ba7b8129dad11d180b400c04fd430c8")
	if err != nil {
		panic(err) // a constant
	}
	h := sha1.Sum(append(space, id...))
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	s := hex.EncodeToString(h[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// encodedWords writes a header value by RFC 2047, folded.
func encodedWords(s string) string {
	ascii := true
	for _, r := range s {
		ascii = ascii && r < utf8.RuneSelf
	}
	if ascii && len(s) < 60 {
		return s
	}
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", s), "?= =?", "?=\r\n =?")
}
