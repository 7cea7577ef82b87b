// Package httpapi is the HTTP doors of the gateway: REST ([API], /v1), FHIR
// (/fhir), and health for the machine itself ([Health], on gateway.http).
//
// # Who may do what
//
// A client certificate that the configuration maps to an establishment may
// deposit for it and follow its submissions; another establishment's are
// answered exactly like unknown ones. Everything else needs the bearer of a
// professional, bound to the certificate of the connection (gateway/psc), who
// also may deposit and follow for the sites of the chosen work situation, or of
// all situations when none was chosen. A bearer that is presented is judged: a
// good certificate does not make up for a bad one. Who may deposit may also ask
// INSi (/v1/identities/query), for the same establishments: it is the same act,
// and INSi itself takes machines by the certificate INSI-AUTO. A missing certificate is a
// 401, not a TLS alert. Consulting the DMP asks for an activity of care.
//
// # What is promised
//
// A deposit is answered 2xx only after the journal committed it; what is
// answered is stored with it. A door never decides: it reads, and hands what is
// wrong to the gateway, which refuses and journals the refusal as soon as it is
// known whose it is. What cannot be attributed (no form, no JSON, several
// establishments and none named) is answered and not journaled. A dry run goes
// through the same function and keeps nothing; it does not look at keys.
//
// One Idempotency-Key names one accepted content of one sender at one door and
// establishment: the same content gets the stored answer, marked
// Idempotent-Replayed; another is a 409, whichever comes first of two at once. A
// refused content does not hold the key. In a form, the content is the envelope
// and the document: the boundary does not count. A FHIR lot without the header
// has the uniqueId of its SubmissionSet as its key.
//
// A FHIR deposit is committed, delivered at once, and answered with the DMP's
// answer, in the shape of the request; after [Limits].Wait, or with Prefer:
// respond-async, with 202 and the address of the timeline. The deposit then goes
// on: the same request sent again gets the DMP's answer once there is one. A
// refusal of the DMP has the code of the error table.
//
// A followed timeline gives each event once and in order, as it is committed;
// Last-Event-ID resumes it, here or at another instance on the same journal. That
// of a professional ends at the first heartbeat after their token did.
//
// A webhook ([Webhooks]) tells an outcome at least once, under the id and with
// the bytes that it had the first time: what it tells was committed with the
// outcome, and is read back from the timeline. Two outcomes of one submission
// may come in any order (seq says theirs); those of submissions that name a
// common document come in the order of acceptance.
//
// Memory is bounded: one request by [Limits].Body, all in hand by
// [Limits].InHand (beyond: 503, retry); streams by number. Nothing of a request
// is written outside the journal.
//
// Errors are problem+json (RFC 9457) on /v1 and OperationOutcome on /fhir, from
// the error table; lang=en in the query or Accept-Language: en gives English. No
// answer repeats a patient trait, a matricule or a token, and no log line has
// one: the journal's answers about a document are made of codes and places.
//
// # Consultation
//
// Searches, reads and PATCH go through to the DMP with the professional's own DMP
// token, over the gateway's certificate. A search leaves as POST _search however
// it came, so that no identity stands in an address. Answers come back byte for
// byte but for addresses under the DMP's base, which become the gateway's. The
// DMP's own refusals pass; an answer that is no FHIR resource does not.
//
// # Where we differ or had to choose
//
//   - The lot that reaches the DMP is the gateway's own, whose ids follow from
//     the delivery: the same on every resend. The client's uniqueId of the lot is
//     its key here. contentTypeCode survives for the four codes that PV1-2 gives
//     (TRE_R209 03, 07, 19, 97); another is FHIR-LOT, a warning.
//   - A bundle takes one List, DocumentReferences with their Binary, and the PATCH
//     of what they replace; Patient entries, folders and FHIR documents are
//     refused. All documents of a lot are new or all replace, with the same
//     visibility.
//   - An INS in a bundle counts as qualified by contract of the sender, as in a
//     CDA, unless the Patient carries identityReliability.
//   - ITI-105 answers 201 with Location and an OperationOutcome, not with the
//     resource: what the DMP made of it is the DMP's to show, to a professional.
//     A CDA is asked for; a PDF is for the REST door.
//   - A REST delete needs the document, as HL7 does: the gateway keeps no patient
//     index that could find it.
//   - A PDF becomes a CDA once the gateway knows who the patient is, after INSi. A
//     CDA is never rewritten: it must carry the INS that INSi gives.
//   - A search at INSi that finds nobody, several people, or somebody who differs
//     is 200 on /v1/identities/query: the answer is what was asked for. What INSi
//     returned is shown, its INS only when the identity takes it.
//   - Idempotency-Key is for deposits. The other POST only read or ask, so that
//     sent again they do no harm: the header has no effect there, whatever it
//     holds. To answer again what INSi said, it would have to be kept.
//   - A dry run asks INSi as a deposit does, and that is traced: it could not give
//     the same verdict otherwise.
//   - Parameters of an address that no operation has are refused, also those that
//     others would ignore: a misspelt dry_run would publish.
//   - Compressed bodies are not taken (415).
//   - A dry run that refuses is 200 on /v1, where the verdict is what was asked
//     for, and the refusal's status on /fhir, where validators read the status.
package httpapi
