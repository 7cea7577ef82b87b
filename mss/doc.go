// Package mss holds the words and rules of a secure letter (MSSanté): how it is
// composed, what its receipts say, how an incoming one is read. It opens no
// connection; mss/operator does.
//
// # What is promised
//
// [Composer.Compose] is a pure function of its input: the same letter gives the
// same bytes, Message-ID and MIME boundaries included, with one build of the
// program. Whoever must resend over an upgrade keeps the bytes. A letter has one
// recipient; its Message-ID is derived from the delivery, the recipient and the
// documents, so that no two of them share one and a resend is recognised.
//
// Nothing that comes from outside reaches a header unless it holds no control
// character; what is not ASCII is encoded (RFC 2047, RFC 2231). An identity
// leaves through the INS gate only.
//
// [Read] takes foreign bytes. It returns whatever they are, inside [Limits];
// reports (DSN, MDN) are told from letters by their structure, never by their
// subject.
//
// # Where we differ or had to choose
//
//   - One letter per recipient, though the volet allows several professionals in
//     To: receipts, states and bodies are then those of one person.
//   - Letters carry no Auto-Submitted, though a machine wrote them: a peer that
//     follows RFC 3834 would not answer with the MDN that was asked for. MDNs do.
//   - MASQUE_PS keeps a letter from professionals, behind a switch.
//     INVISIBLE_REP_LEGAUX cannot be enforced: no mailbox says that it is read by
//     a representative.
//   - The subject keeps its marker first: XDM/1.0/DDM+[Annule et remplace] …,
//     XDM/1.0/DDM+[Suppression] ….
//   - A reply address of the message that is malformed, outside the trust space or
//     the sending mailbox itself is replaced by the configured one, with a warning.
//   - X-MSS-INS is O when the identity passed the gate with its INS, N otherwise.
//   - A text body that is not UTF-8 is read as windows-1252.
//   - MDN on error: the three texts of the volet disagree. We write RFC 8098's
//     modifier "error" and a field Error; the older form is a switch. We read all,
//     and take any modifier with "error" or "failure" for one.
//   - A MDN "deleted" or "denied" without an error proves no reading: it is told as
//     one (Z03 N, 906). "dispatched" counts as processed.
//   - A DSN "relayed" settles a letter and proves no delivery: no Z02.
//   - A MDN is sent by itself only to the Return-Path (RFC 8098 §2.1).
package mss
