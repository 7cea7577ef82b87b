// Package conformance is the judge: each requirement, its scenarios, its
// verdict and its evidence, over the wire only.
//
// A scenario speaks to a system by the addresses of its sandbox or product file
// and by nothing else: it imports no part of the gateway, so that the same
// scenario, run against another vendor's system, proves the same thing. What it
// reads of HL7, of a letter, of XDM and of CDA it reads with code of its own,
// XML by XPath.
//
// [Run] plays scenes — messages sent, letters put in the gateway's mailbox, the
// DMP cut off, the hospital refusing — then looks at the outside world: the
// messages that the hospital received, the mailboxes, the DMP, the submissions
// that the operator saw. Several scenarios judge the same scene, one thing each.
// The outside world is played by conformance/sim, with the people and documents
// of testdata.
//
// # What is promised
//
// What was not looked at is "non testé", never "conforme": a scenario whose
// letter did not come, or whose message was not answered, is not praised. "sans
// objet" always has a written reason, that of the product file or of a profile
// that the product does not declare. A requirement has the worst verdict of its
// scenarios; a PEUT never makes a product non conforme.
//
// Everything that is exchanged is kept under the folder of the run as it
// happens, one file for the same bytes, with its digest; run.json is written
// last, so that a folder that has one is whole. A run that is stopped leaves
// evidence and no run.json; nothing is resumed, and a folder that holds anything
// is refused. Identifiers come from the clock: a sandbox can be judged again and
// again, one run at a time, since runs turn the same knobs; a sandbox where a
// fault is set is refused (CONF-BUSY). The knobs that a run turned are put back.
//
// That something did not leave is said with the list where it was looked for, and
// only when an ordinary thing did leave by the same way. In a mailbox where
// nothing must come, a letter of which nobody can say what it is about counts as
// the one that must not come.
//
// Reports hide matricules and show no base64. Files of evidence are whole, for
// their owner only. No token is kept.
//
// # Where we differ or had to choose
//
//   - Ids are those of public working papers of February 2023, not of the REM
//     published in 2024; the catalogue and each report say so. Texts are ours.
//   - Scenarios named P1, P2… are ours, beside those of the DSR.
//   - MSS/UX.33 is read as "can ask a read receipt on any letter": it is judged on
//     the letters whose sender wants to know (ACK_LECTURE_MSS).
//   - INS/va1.53 is not in the PFI sheet; a gateway is judged by it all the same,
//     since it is through the gateway that a matricule leaves.
//   - MSS/CONF.06 is judged by the flag \Seen, which only IMAP can set on the
//     operator of the sandbox, and that operator takes no login before STARTTLS.
//   - MSS/CONF.03 is judged on the suites that the client offers by SMTP; those of
//     TLS 1.3 are taken, since MSS/CONF.02 allows it, and the size of the groups is
//     not seen.
//   - PSC.08 is judged on the first redirection of a login; its state, nonce and
//     challenge are not kept.
//   - "No matricule" is searched for in headers, texts, entries and XML, decoded,
//     but not inside the compressed streams of a PDF.
//   - By default the exit status counts automated scenarios only, because nobody
//     could ever get 0 otherwise; the report lists the others as non testé.
//   - The same message sent twice is judged only when the first one had its effect.
//   - A view of the outside world that did not change is recorded once.
//   - No answer at all to any message is our failure to judge (CONF-WIRE), not a
//     verdict.
package conformance
