// Package hl7v2 is the MLLP door of the gateway: the framing, the grammar of
// the CI-SIS volet "Transmission d'un document CDA-R2 en HL7v2" (ORU_R01 in
// HL7 2.5, MDM_T02 in 2.6) and of PAM.fr admissions, the acknowledgements, and
// the client that brings to the hospital software the business acknowledgements
// (ZAM Z01, Z02, Z03) and the documents received by MSSanté mail (MDM of the
// volet "Transmission au LPS d'un document CDA provenant d'un courriel MSSanté").
//
// # What is promised
//
// The door never decides. [Read] turns a message into a [gateway.Inbound];
// what is wrong with it goes into Refusals, in the order framing, separators,
// profile, sender, structure, flags; [gateway.Door] judges and stores.
//
// Crash: an answer is written only after Accept returned, and Accept commits
// first. A sender that got no answer sends again; the gateway then replays the
// stored answer. A frame that the connection cut is discarded, counted
// ([Stats]) and never answered: nothing of it was accepted.
//
// Order: the messages of one connection are worked on one after the other and
// answered in that order. Between connections there is none.
//
// Duplicates: recognised by Accept, not here.
//
// What we send ([Client], [Application]) is rendered from its contents alone, so
// that a resend has the same bytes and the same MSH-10: a crash or a lost answer
// costs the hospital a duplicate that it can recognise. An answer counts only if
// its MSA-2 is our MSH-10. A document masked to professionals, and a matricule
// that the gate holds back, are refused before anything is dialled.
//
// A panic costs one connection, whose message is answered AR. [Server.Shutdown]
// finishes the messages in hand, and answers AR to those that end soon after; a
// message that is still half sent then is cut, unaccepted.
//
// Connections: when there are too many, the one that has been between two frames
// for longest is closed to let a new one in, never one whose frame is being
// received or worked on. Both are counted ([Stats]).
//
// Sizes: a frame has a limit, and so have all frames together ([Limits]); the
// buffer grows as bytes come. A frame above the limit is read to its end and
// answered AE, so that the connection can go on. Nothing of a message is copied
// before it is asked for, but for the decoded documents.
//
// # Where we differ or had to choose
//
// Letters and numbers are those of the digest of the volet (A-01 …).
//   - The end of a frame is 0x1C; the 0x0D after it is not waited for. A 0x0B
//     inside a frame begins a new one.
//   - Segments may end with CR, LF or CRLF. A line that does not begin like a
//     segment continues the OBX before it (base64 in lines, A-26).
//   - The charset is that of MSH-18, never a guess. Bytes 0x80–0x9F under
//     ISO 8859 are refused: they are Windows-1252 under a wrong label. Text
//     under ISO 8859 that is valid UTF-8 is read as labelled, with a warning.
//   - [Matrix]. DMP-only messages are outside the matrix, which
//     speaks of MSSanté; strict does not refuse them.
//   - ACK_RECEPTION and ACK_LECTURE_MSS absent are N, with a warning.
//   - a destination without its recipient is AE 101; a recipient that no
//     flag asks for is left out, with a warning. Of a patient mailbox, the
//     matricule must be that of PID: one digit writes to somebody else.
//   - a CORPSMAIL that is cut is read as far as it is whole; the document
//     is not, it must decode entirely.
//   - flags in any order, with a warning. A-14: codes are compared, not
//     texts. A-15: TXA-12.2 is ignored. A-17: profile 2.1 only, unless the port
//     says otherwise. A-18: PV1-2 and PV1-19 are required if PV1 is there; an
//     ORU without PV1 is told, not refused.
//   - A field that the volet does not repeat and that a repetition would make
//     ambiguous (a flag, the document, the mail address of PRT-15) is refused when
//     it is repeated; telephones beside the address are passed over. PRT-2 other
//     than UC is refused: it would withdraw a person whom we would write to. FIN in
//     NTE-4 counts in any case of letters; another code there is told.
//   - ERR texts as in the tables of the volet.
//   - MSA-3 is the id of the submission, ERR-7 our code and the place in the
//     document or in PID when ERR-2 does not say it, ERR-8 the sentence and the
//     remedy in French, not cut at the 250 characters of HL7 2.5.
//   - A message without a readable MSH is answered with an empty MSA-2.
//   - An INS without an authority in PID-3.4 counts as none. The billing number
//     (type NH) is never an INS, whatever its OID.
//   - MRG-1 and ZFD-4 of an ADT are read wherever they stand; prior identifiers
//     that contradict each other are told and left out.
//   - A47 to the application: one INS changes in it, as PAM.fr recommends; the
//     local numbers stand unchanged beside it in PID-3 and MRG-1, because they
//     alone tell two records apart that hold one INS.
//   - TXA-13 is read on a replacement only; samples fill it on deletions too.
//   - ZFA of an ADT is read wherever it stands, for its days alone. A code that
//     PAM.fr does not have is told and left out: the ADT is kept all the same.
//   - An RPPS or FINESS number sent bare gets the type digit of the national
//     identifiers (8, 1).
//   - Times that we write have no offset: no sample has one.
//   - MDM to the application: profile 1.1 only. Of sender and recipients the
//     address alone is written (PRT-15); who they are needs a directory, and the
//     author of the document is not the sender of the letter. The volet asks
//     PID-3 to be the list of the CDA; we write the INS and the numbers by which
//     this hospital knows the person, because those of the sender mean nothing to
//     it. A FINESS as authority of a local number has the type N. TXA-13 is
//     written on a replacement only. The label of the type is that of the CDA;
//     a code system that the volet does not have keeps its OID.
//   - ERR-5 of the application counts by its code (900 to 906), whatever the name
//     of its table (applicationErrorCode or applicationErrorCondition).
//   - A ZAM or MDM answered AE is given up; AR, silence, or an answer to something else
//     is tried again, with the same bytes.
//
// Sources: the two CI-SIS volets, ansforge/hl7V2-exemples, HL7 2.5, 2.6, MLLP.
package hl7v2
