package xdm

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"fmt"
	"html"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

const subset = "IHE_XDM/SUBSET01/"

// Pack writes an archive of one lot. The identity of the lot goes through the
// INS gate (as to a professional: a document that carries a matricule leaves
// qualified or not at all); every document must name the same patient.
func Pack(entries []Entry, lot Lot) ([]byte, error) {
	if err := checkLot(entries, lot); err != nil {
		return nil, err
	}
	entries = append([]Entry(nil), entries...)
	for i := range entries {
		if err := prepare(&entries[i], lot, fmt.Sprintf("document[%d]", i+1)); err != nil {
			return nil, err
		}
	}

	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, data []byte) error {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: lot.Submitted.UTC()})
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
	files := []struct {
		name string
		data []byte
	}{
		{"INDEX.HTM", index(lot)},
		{"README.TXT", readme(lot)},
		{subset + "METADATA.XML", metadata(entries, lot)},
	}
	for _, f := range files {
		if err := add(f.name, f.data); err != nil {
			return nil, &Error{Code: FaultZip, Where: f.name, Cause: err}
		}
	}
	for i, e := range entries {
		if err := add(subset+documentName(i), e.Content); err != nil {
			return nil, &Error{Code: FaultZip, Where: documentName(i), Cause: err}
		}
	}
	if err := z.Close(); err != nil {
		return nil, &Error{Code: FaultZip, Cause: err}
	}
	return out.Bytes(), nil
}

// documentName is strict ISO 9660: 8.3, upper case.
func documentName(i int) string { return fmt.Sprintf("DOC%05d.XML", i+1) }

func checkLot(entries []Entry, lot Lot) error {
	switch {
	case len(entries) == 0 || len(entries) > DefaultLimits().Documents:
		return refuse(FaultLot, "documents")
	case lot.UniqueID.Root == "":
		return refuse(FaultLot, "uniqueId")
	case lot.SourceID == "":
		return refuse(FaultLot, "sourceId")
	// A zip cannot say an earlier year.
	case lot.Submitted.Year() < 1980:
		return refuse(FaultLot, "submissionTime")
	}
	return ins.Gate(lot.Patient, ins.ToProfessional)
}

func prepare(e *Entry, lot Lot, where string) error {
	m := &e.Metadata
	switch {
	case len(e.Content) == 0:
		return refuse(FaultDocument, where)
	case m.UniqueID.Root == "":
		return refuse(FaultDocument, where+"/uniqueId")
	case m.Type.Code == "":
		return refuse(FaultDocument, where+"/typeCode")
	case m.Patient.Matricule != lot.Patient.Matricule || m.Patient.OID != lot.Patient.OID:
		return refuse(FaultPatient, where+"/patientId")
	case m.Patient.Matricule == "" && m.SourcePatientID.Extension == "":
		return refuse(FaultDocument, where+"/sourcePatientId")
	case e.Action == dmp.Replace && (m.Replaces == nil || m.Replaces.Zero()):
		return refuse(FaultTarget, where)
	}
	sum := sha1.Sum(e.Content)
	if len(m.SHA1) > 0 && !bytes.Equal(m.SHA1, sum[:]) {
		return refuse(FaultDigest, where+"/hash")
	}
	if m.Size != 0 && m.Size != int64(len(e.Content)) {
		return refuse(FaultDigest, where+"/size")
	}
	m.SHA1, m.Size = sum[:], int64(len(e.Content))
	if m.MimeType == "" {
		m.MimeType = "text/xml"
	}
	return nil
}

// EntryUUID is the entryUUID of a document: the same for everybody who derives
// it from the uniqueId.
func EntryUUID(id dmp.ID) string {
	// RFC 9562, appendix: name space of OIDs.
	space := []byte{0x6b, 0xa7, 0xb8, 0x12, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}
	u := sha1.Sum(append(space, id.String()...))
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

func index(lot Lot) []byte {
	return []byte(strings.ReplaceAll(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML Basic 1.0//EN" "http://www.w3.org/TR/xhtml-basic/xhtml-basic10.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="fr">
<head><title>Archive IHE XDM</title></head>
<body>
<h1>`+html.EscapeString(oneLine(lot.Institution))+`</h1>
<p>Cette archive contient des documents de sant&#233; et leurs m&#233;tadonn&#233;es.</p>
<p><a href="README.TXT">README.TXT</a></p>
<p><a href="`+subset+`METADATA.XML">M&#233;tadonn&#233;es des documents</a></p>
</body>
</html>
`, "\n", "\r\n"))
}

func readme(lot Lot) []byte {
	p := lot.Product
	return []byte(strings.ReplaceAll(strings.Join([]string{
		"Émetteur : " + oneLine(lot.Institution),
		"Contact : " + oneLine(lot.Contact),
		"",
		"Logiciel : " + oneLine(p.Name) + " " + oneLine(p.Version),
		"Éditeur : " + oneLine(p.Vendor),
		"Contact de l'éditeur : " + oneLine(p.Contact),
		"",
		"Contenu :",
		"  INDEX.HTM                       page d'accueil",
		"  IHE_XDM/SUBSET01/METADATA.XML   métadonnées (ebRIM 3.0)",
		"  IHE_XDM/SUBSET01/DOC00001.XML   premier document (CDA R2), et suivants",
		"",
	}, "\n"), "\n", "\r\n"))
}

// oneLine keeps configuration from drawing lines of its own in the notices.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
