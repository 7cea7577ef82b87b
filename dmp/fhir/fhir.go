// Package fhir speaks PDSm, the French profile of IHE MHD: the resources of
// document sharing, the transaction that hands a lot over (ITI-65), and the
// client that brings it to a DMP-style server.
//
// # Bytes and views
//
// The bytes that were received are the truth. [Parse] reads them once into a
// tree that keeps every member and its place; whoever must change a resource
// splices the few values concerned ([Splice]) and leaves every other byte as it
// was, so that contained resources, primitive extensions (_birthDate) and
// decimals survive. The typed views (DocumentReference, List, …) are for
// reading and for resources that Passerelle authors itself; they are never a
// storage format.
//
// [Parse] is strict: UTF-8, one value, no member twice in an object even in
// another case, bounded depth and bounded number of values. [Node.Decode]
// refuses a member whose name differs from a known one by its case only,
// because encoding/json would accept it.
//
// # The client
//
// [Client] holds no queue: it makes one attempt, and says by the code of its
// error whether another one can succeed. [BuildITI65] is deterministic, so that
// a deposit sent again is the same bytes, which a server recognises by the
// uniqueId of the lot. An answer that cannot be believed (no Bundle, another
// number of entries, no location, truncated, too large, another document than
// the one asked for) is DMP-BAD-ANSWER and temporary: the fate is unknown and
// the caller must ask ([Client.Find]) before it sends again.
//
// No identity stands in a URL: searches are POST _search, documents are named
// by their technical id. No error text holds a matricule or a token.
//
// # Where we differ or had to choose
//
//   - Profiles are those of PDSm HEAD (MHD 4.2.3): custodian and date are
//     required, uniqueId and entryUUID are told apart by Identifier.use.
//   - The date of a DocumentReference is the creation time of the document, as
//     the annex on dates of the DMP says, not that of the resource.
//   - A refused token (token endpoint or a second 401) is temporary: what must
//     change is a certificate or a registration, never the document, and a queue
//     that failed every letter of a night because a certificate expired would
//     lose them. 403 is permanent: it concerns this document and this sender.
//   - An error status without an OperationOutcome does not come from the DMP
//     but from something before it (proxy, wrong address): temporary.
//   - A lunar or partial birth date is cut to the part that a FHIR date can say.
//   - Documents whose uniqueId has an extension are refused before any call: the
//     urn:oid form of masterIdentifier cannot say one.
package fhir

// MediaType is the one format that we write.
const MediaType = "application/fhir+json"

// Canonical addresses of the profiles and extensions used.
const (
	pdsm = "https://interop.esante.gouv.fr/ig/fhir/pdsm/StructureDefinition/"
	mhd  = "https://profiles.ihe.net/ITI/MHD/StructureDefinition/"
	core = "https://hl7.fr/ig/fhir/core/StructureDefinition/"

	ProfileProvideBundle     = pdsm + "pdsm-comprehensive-provide-document-bundle"
	ProfileDocumentReference = pdsm + "pdsm-comprehensive-document-reference"
	ProfileSubmissionSet     = pdsm + "pdsm-submissionset-comprehensive"
	ProfileFolder            = pdsm + "pdsm-folder-comprehensive"
	ProfilePatient           = core + "fr-core-patient"

	ExtDesignationType   = mhd + "ihe-designationType"
	ExtSourceID          = mhd + "ihe-sourceId"
	ExtAuthorOrg         = mhd + "ihe-authorOrg"
	ExtIntendedRecipient = mhd + "ihe-intendedRecipient"
	ExtIsArchived        = pdsm + "pdsm-ext-is-archived"
)

// Naming systems.
const (
	SystemURN             = "urn:ietf:rfc:3986"
	SystemListTypes       = "https://profiles.ihe.net/ITI/MHD/CodeSystem/MHDlistTypes"
	SystemConfidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	SystemVisibility      = "https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument"
	SystemProfessional    = "urn:oid:1.2.250.1.71.4.2.1"
	SystemStructure       = "urn:oid:1.2.250.1.71.4.2.2"
	SystemFaults          = "https://github.com/passerelle-sante/passerelle/fhir/CodeSystem/faults"

	systemIdentifierType = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
	systemCommune        = "https://mos.esante.gouv.fr/NOS/TRE_R13-CommuneOM/FHIR/TRE-R13-CommuneOM"
)

// OIDPrefix stands before an OID that is used as a URI.
const OIDPrefix = "urn:oid:"
