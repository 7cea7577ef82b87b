// Package xdm packs and unpacks one IHE_XDM archive: the zip that travels
// beside a secure letter (ITI-32, ECO.2.1.1).
//
// [Pack] is a pure function: the same input gives the same bytes, with one
// build of the program. It writes one lot, in IHE_XDM/SUBSET01, and computes
// digest and size on the bytes that it writes.
//
// [Unpack] reads foreign bytes. It extracts nothing by name, follows nothing,
// and stops at [Limits]; what it returns has been checked against the digest
// and size that the metadata announce. It files nothing and judges no identity:
// the metadata are what the sender claims, the CDA has the last word.
//
// # Where we differ or had to choose
//
//   - The volet wants an `action` of C or D in METADATA.XML and does not say
//     where. It is written as a slot named action of each ExtrinsicObject; it is
//     read there or on the RegistryPackage, in any case. Without it, a RPLC
//     association means a replacement.
//   - A sender by mail does not know the entryUUID of the document it replaces.
//     The entryUUID of a document is the UUID (version 5, OID name space) of its
//     uniqueId, so that the target of RPLC is the one that we wrote earlier.
//   - Without INS, patientId is the local identifier (type PI).
//   - A pair of confidentiality codes carries visibility: the CDA code, then one
//     code of TRE_A07 for each flag.
//   - The reader is strict on hash, size, URI, uniqueId, patientId and typeCode
//     only. Upper and lower case, misspelt slots and missing associations of old
//     French senders are told as warnings.
//   - setId, version, custodian, time of the author, given attributes of an
//     identity and birth place have no place in ebRIM 3.0 metadata and are lost.
package xdm

import (
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// Name is the file name of the archive in a letter.
const Name = "IHE_XDM.zip"

// Product is the software that writes the archive (README.TXT).
type Product struct {
	Name, Version, Vendor, Contact string
}

// Lot is the submission set and what the two notices of the archive say.
type Lot struct {
	UniqueID    dmp.ID         // an OID
	EntryUUID   string         // urn:uuid:…; derived from UniqueID when empty
	SourceID    string         // OID of the sending system
	Submitted   time.Time      // also the time of every entry of the zip
	Title       string         // optional
	Comments    string         // optional
	ContentType dmp.Code       // contentTypeCode
	Patient     ins.Identity   // with its status: the INS gate applies
	Sender      *dmp.Requester // author of the lot; optional
	Recipients  []string       // mail addresses; optional
	Institution string         // INDEX.HTM, README.TXT
	Contact     string         // README.TXT
	Product     Product        // README.TXT
}

// Entry is one document to pack. A SHA1 or Size that its metadata already carry
// must be those of Content.
type Entry struct {
	Metadata dmp.Metadata
	Content  []byte
	Action   dmp.Action
}

// Document is one document found in an archive.
type Document struct {
	Name      string // path inside the archive, as written there
	EntryUUID string
	Action    dmp.Action
	Metadata  dmp.Metadata
	Content   []byte
}

// Archive is an archive that was read and checked.
type Archive struct {
	Patient   ins.Identity // of the metadata; its status is unknown
	PatientID string       // patientId as written (CX)
	Lots      []Lot
	Documents []Document
	Warnings  []Warning
}

// Warning is something tolerated: a code of the error table and a place.
type Warning struct {
	Code, Where string
}

// Limits bound what [Unpack] accepts. A field that is zero means its value in
// [DefaultLimits].
type Limits struct {
	Archive   int64 // bytes of the zip
	Entries   int   // entries, folders included
	Entry     int64 // bytes of one entry, uncompressed
	Total     int64 // bytes of all that is read, uncompressed
	Ratio     int64 // uncompressed to compressed, above 1 MiB
	Metadata  int64 // bytes of one METADATA.XML
	Documents int   // documents, all lots together
}

// DefaultLimits are wider than any letter that an operator lets through.
func DefaultLimits() Limits {
	return Limits{
		Archive: 64 << 20, Entries: 200, Entry: 64 << 20, Total: 100 << 20,
		Ratio: 100, Metadata: 4 << 20, Documents: 50,
	}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	set := func(v *int64, def int64) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.Archive, d.Archive)
	set(&l.Entry, d.Entry)
	set(&l.Total, d.Total)
	set(&l.Ratio, d.Ratio)
	set(&l.Metadata, d.Metadata)
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	if l.Documents <= 0 {
		l.Documents = d.Documents
	}
	return l
}
