// Package dmp holds the words of document sharing: a document to deposit, its
// metadata, its visibility, and its life (new, replaced, archived, deleted).
//
// Everything here is a plain value. Metadata are derived from a CDA in exactly
// one place, dmp/cda; they are written as FHIR in exactly one place, dmp/fhir.
//
// Sources: CI-SIS volet "Partage de documents de santé", PDSm (IHE MHD),
// VOL-A annex "CDA to XDS".
package dmp

import (
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

// Action is what a sender asks to be done with a document.
type Action string

// The three actions of the volets (OBX-11 F, C, D).
const (
	New     Action = "new"
	Replace Action = "replace"
	Delete  Action = "delete"
)

// ID is an HL7 instance identifier (type II): a root OID and an optional extension.
type ID struct {
	Root      string `json:"root,omitempty"`
	Extension string `json:"extension,omitempty"`
}

// Zero tells whether the identifier is absent.
func (id ID) Zero() bool { return id.Root == "" && id.Extension == "" }

// String is the root, or root^extension.
func (id ID) String() string {
	if id.Extension == "" {
		return id.Root
	}
	return id.Root + "^" + id.Extension
}

// ParseID reads what [ID.String] wrote.
func ParseID(s string) ID {
	root, ext, _ := strings.Cut(s, "^")
	return ID{Root: root, Extension: ext}
}

// Code is a coded value; System is the OID of its code system, as CDA writes it.
type Code struct {
	Code    string `json:"code,omitempty"`
	System  string `json:"system,omitempty"`
	Display string `json:"display,omitempty"`
}

// Person is a professional or a patient in the role of author.
type Person struct {
	ID     ID     `json:"id"`
	Family string `json:"family,omitempty"`
	Given  string `json:"given,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
}

// Device is an author that is not human.
type Device struct {
	ID    ID     `json:"id"`
	Model string `json:"model,omitempty"`
	Name  string `json:"name,omitempty"`
}

// Organisation is a structure; the root of its ID is 1.2.250.1.71.4.2.2 and
// the extension carries the type digit before the number (1 before a FINESS).
type Organisation struct {
	ID   ID     `json:"id"`
	Name string `json:"name,omitempty"`
}

// Author is one author of a document; exactly one of Person and Device is set.
type Author struct {
	Person       *Person      `json:"person,omitempty"`
	Device       *Device      `json:"device,omitempty"`
	Organisation Organisation `json:"organisation"`
	Specialty    Code         `json:"specialty"`
	Role         string       `json:"role,omitempty"`
	Time         string       `json:"time,omitempty"` // as written in the CDA
}

// Visibility is a restriction added to the confidentiality code
// (TRE_A07, 1.2.250.1.213.1.1.4.13).
type Visibility string

// The three visibility flags of JDV_J08.
const (
	HiddenFromProfessionals   Visibility = "MASQUE_PS"
	HiddenFromPatient         Visibility = "INVISIBLE_PATIENT"
	HiddenFromRepresentatives Visibility = "INVISIBLE_REPRESENTANTS_LEGAUX"
)

// Metadata is the document entry: what XDS, PDSm and XDM say of one document.
// Times keep their zone; a time that the CDA does not give is the zero time.
type Metadata struct {
	UniqueID           ID           `json:"unique_id"`
	SetID              ID           `json:"set_id"`
	Version            int          `json:"version,omitempty"`
	Type               Code         `json:"type"`
	Class              Code         `json:"class"`
	Format             Code         `json:"format"` // System is the FHIR URI of the code system here
	Title              string       `json:"title"`
	Language           string       `json:"language"`
	MimeType           string       `json:"mime_type"`
	Confidentiality    Code         `json:"confidentiality"`
	Visibility         []Visibility `json:"visibility,omitempty"`
	Created            time.Time    `json:"created"`
	ServiceStart       time.Time    `json:"service_start,omitzero"`
	ServiceStop        time.Time    `json:"service_stop,omitzero"`
	Authors            []Author     `json:"authors"`
	LegalAuthenticator *Person      `json:"legal_authenticator,omitempty"`
	Custodian          Organisation `json:"custodian"`
	Facility           Code         `json:"facility"`
	PracticeSetting    Code         `json:"practice_setting"`
	Events             []Code       `json:"events,omitempty"`
	Patient            ins.Identity `json:"patient"`
	SourcePatientID    ID           `json:"source_patient_id"`
	Replaces           *ID          `json:"replaces,omitempty"`
	SHA1               []byte       `json:"sha1"` // 20 bytes, of the document as sent
	Size               int64        `json:"size"` // bytes
}

// Requester is who asks for the transaction (PRT SB), not who wrote the document.
type Requester struct {
	Person       *Person      `json:"person,omitempty"`
	Device       *Device      `json:"device,omitempty"`
	Organisation Organisation `json:"organisation"`
}

// Sender is the identifier under which the DMP knows who asks; empty when there
// is none.
func (r Requester) Sender() string {
	switch {
	case r.Person != nil:
		return r.Person.ID.Extension
	case r.Device != nil && r.Device.ID.Extension != "":
		return r.Device.ID.Extension
	case r.Device != nil:
		return r.Device.ID.Root
	}
	return ""
}

// Establishment is who a transaction is done for.
type Establishment struct {
	Name      string `json:"name,omitempty"`
	FINESSEJ  string `json:"finess_ej"`  // legal entity, 9 characters
	FINESSGeo string `json:"finess_geo"` // site, 9 characters
	SourceOID string `json:"source_oid"` // OID of the sending system (XDS sourceId)
}

// Caller is on whose behalf a transaction is done (VIHF: structure and sender).
type Caller struct {
	Establishment    Establishment
	Requester        Requester
	SecretConnection bool
}

// Deposit is one submission set (lot) to hand over: all of it or nothing.
type Deposit struct {
	Caller      Caller
	LotID       ID        // uniqueId of the lot; the same on every resend
	EntryUUID   string    // urn:uuid of the lot; the same on every resend
	Submitted   time.Time // submissionTime
	Patient     ins.Identity
	ContentType Code // contentTypeCode, derived from PV1-2
	Documents   []DepositDocument
}

// DepositDocument is one document of a lot.
type DepositDocument struct {
	Metadata   Metadata
	Content    []byte
	ReplacesID string // technical id (DocumentReference.id) of the replaced document; empty if none
}

// Held is what the DMP answers about one document that it holds.
type Held struct {
	ID       string // technical id: DocumentReference.id
	UniqueID ID
	Status   string // current, superseded, entered-in-error
	SHA1     []byte
	Size     int64
}

// Deposited is the DMP's answer to a [Deposit], in the order of its documents.
type Deposited struct {
	Lot       string   // location of the lot
	Locations []string // location of each document, Resource/id[/_history/v]
	Binaries  []string // location of the bytes of each document; empty when the DMP gives none
	Warnings  []string // codes of warnings returned by the DMP
	Status    string   // HTTP status of the first document, 201
}
