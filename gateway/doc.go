// Package gateway accepts a submission, keeps it, delivers it, answers for it.
//
// # What is promised
//
// Accepted means durable: a door answers AA (or 2xx) only after the bytes are
// fsynced under their digest and one transaction has committed the submission
// and its deliveries. A crash between any two steps loses nothing: what was not
// committed was not acknowledged, and its sender resends; what was committed is
// found again as due.
//
// Nothing is shown twice. An exact retransmission (same MSH-3/4/10, same bytes)
// gets the stored answer and creates nothing. Towards the DMP, deliveries are
// at least once: a delivery whose request may have reached the other side is
// asked for by document uniqueId (TD3.1b) before it is sent again, under the
// same lot id. A ZAM keeps its MSH-10 and its bytes on every resend, so that
// the hospital recognises it.
//
// An HTTP sender names a message by a key ([Inbound].IdempotencyKey): once one
// content was accepted under it, the same content gets the stored answer and any
// other is refused, by the journal itself when two come at once. A dry run
// ([Gateway.DryRun]) judges by the same function and keeps nothing.
//
// A patient whom a message of the REST door gives by traits only is looked for at
// INSi ([INSi]) before the message is judged: what INSi answers is traced before
// it is used, and the gate then decides as for everything else. INSi away means
// nothing accepted: the sender resends under the same key. What INSi answered is
// not replayed from the journal when it refused: it is asked anew.
//
// Order: deliveries to one destination whose messages name a common document
// (one replaces or deletes what the other brings) are done in the order of
// acceptance; all others in no particular order. Destinations never hold each
// other up, nor do sites where each has software of its own (ZAM, MDM, A47,
// webhook): one that is silent keeps its own workers waiting.
//
// The outcome of an attempt is committed before anything else happens; ZAM and
// timeline read the same entry. Whether an error is temporary is said by the
// row of the error table that its place of birth chose; the deliverer obeys.
// Temporary errors back off with jitter until delivery.give_up, permanent ones
// end at once. A failure is told by Z01 N when the sender asked for
// ACK_RECEPTION; without it, by the timeline and the log alone.
//
// Where the software of an establishment has a webhook ([Gateway.Hooked]), each
// outcome — a document fed or refused, a letter that ended, each receipt, a
// refusal at the door — commits the delivery that tells it, whichever door the
// submission came through. It tells at least once, under one id; it is tried
// and given up like any delivery.
//
// Refusals are journaled too, without the document and without the envelope.
// An exact retransmission of a refused message is judged anew, since a setting, or
// what was fed, may have changed meanwhile; refused for the same reasons by the
// same rules, it gets the stored refusal and leaves no second line.
//
// # What people decide
//
// A person stops a delivery that is retried, has one that failed or was stopped
// begin again, and files, rejects or keeps a mail in quarantine ([Decider]). Each
// decision is one transaction and one line of the timeline, with who and why; of
// two about the same thing the first counts. Stopped is told as a failure is.
// Begun again is the same delivery in a new round: see [Decider] for which names
// stay, so that nothing is shown twice. Nobody files under a contradicting
// matricule, nor one twin for the other ([ins.Policy.ByHand]), nor what the gate
// holds back.
//
// # Where we differ or had to choose
//
//   - CDA verdict at the door: only blocking findings refuse; accept.cda: strict
//     refuses every error.
//   - Identities are compared inside one message only: matricule, OID, birth
//     name, first given name, birth date and sex must agree; the given-name list
//     and the birth place are warnings.
//   - The key of a matricule: an error on production OIDs, a warning on test and
//     demonstration OIDs.
//   - Mail to professionals without a qualified INS is allowed when the CDA
//     carries no matricule; otherwise 905, because a signed CDA is never
//     rewritten.
//   - A CDA id with an extension: accepted with a warning, refused for the DMP at
//     delivery (Z01 N), because mail may still proceed.
//   - Replacing or deleting what this gateway did not feed: accepted, the DMP
//     decides and Z01 says; accept.strict_targets refuses. Known but not the
//     latest: 900.
//   - MSH-10 used again with other bytes: a new submission with a warning;
//     accept.duplicates: refuse answers 906.
//   - The DMP refuses a lot because it already holds the same document with the
//     same bytes: success with a warning.
//   - contentTypeCode from PV1-2 is the volet's proposal.
//   - Without an operator in the configuration, a message that asks for mail is
//     accepted with the warning GW-NO-MAIL in its timeline.
//   - One letter a recipient. A patient's letter without a patient among the
//     recipients goes to the mailbox that follows from the INS.
//   - An incoming mail is marked as seen once what was decided of it is
//     committed, not after the hospital's answer: the journal answers for it from
//     then on, and a crash in between reads it again under the same key.
//   - An incoming letter is the same as an earlier one when sender, Message-ID
//     and attachments agree, or the text where there is none: what operators add
//     on the way does not count.
//   - Opposition to the feeding of the DMP (ZFA of PAM.fr): IO stops deposits and
//     replacements at delivery (Z01 N) and, because no other carrier tells the
//     refusal of patient mail, letters to the patient too; mail to professionals
//     and deletions pass. NA withdraws nothing. Nothing known feeds, and the
//     timeline alone says so: a warning in every answer would be read by nobody;
//     accept.opposition: hold stops it.
//   - What an ADT says is found again, inside one legal entity, by the INS
//     (whatever its status) or by a local number of the same authority. A merge
//     (A40) gives the answer that counts, of the later day, to the identifiers
//     of both records as they stand in PID-3 and MRG-1, and its timeline says so.
//   - INSi is asked when the DMP or the patient's mailbox is, because these need an
//     INS, whatever the document. A letter to professionals alone needs none: INSi
//     is asked for a validated patient only, whose document is made here, and what
//     goes wrong with it is a warning. A provisional identity becomes RECUP, so it
//     is refused for the DMP all the same, but its sender learns why.
//   - A validated identity that INSi confirms becomes QUAL without a person who
//     accepts the answer, as the référentiel has it (VALI, then 00 and the same
//     traits); the sender vouches for the control. The traits that leave are those
//     of INSi.
//   - A gateway whose INSi is away stays ready: no alarm stands for it. One whose
//     disk has no room for the trace does not.
//   - A reason is a sentence of a person. It stands in the console alone, not in
//     what hospital software reads; one that holds a matricule or the patient's
//     name is refused.
//   - A document that was replaced or deleted since is not deposited again by a
//     replay (GW-NOT-LATEST): the DMP would show it beside its successor.
//   - A mail that a person rejects is told to its sender only if the person says
//     so and the sender asked for a receipt.
//   - An operator that reports no delivery: the letter is done with a warning and
//     no Z02 is sent, because none was seen.
//
// # Mail
//
// A letter is composed from the journal at the moment of sending, with the rules
// applied again; its bytes are kept before they first leave and a resend sends
// these same bytes under the same Message-ID. Handed over, it waits for its
// delivery report (DSN, found by ENVID and original recipient): Z02. A read
// receipt (MDN, found by Message-ID) gives Z03. A letter of unknown fate — the
// connection lost after the final dot, or a crash — waits for its report before
// it leaves again, so a physical second copy is rare, and recognisable. A late
// receipt reopens only its recipient's line.
//
// Incoming mail: receipts to their letters; a letter whose archive, CDA and
// metadata agree and whose patient is exactly one person held as qualified to
// the hospital as an MDM, then a read receipt to its sender; everything else to
// quarantine, with the reason. Never a guess. One mailbox belongs to one
// journal: two gateways that read the same mailbox would each file what they see.
//
// # Identities
//
// With a [Register] the gateway holds identities, per legal entity (FINESS EJ),
// by the automaton of package ins. [Gateway.ApplyIdentity] decides of an event
// and commits the person, the entry of its history and what is to be told, all
// of it or nothing; of two at once the slower decides anew. An INSi answer counts
// only if its exchange was kept before. Without a register (no key file) nothing
// is held, and nothing else changes.
//
// Where a site trusts the ADT of an establishment (off by default, on in the
// sandbox), each is applied in the transaction that keeps it. VALI with an INS in
// form is QUAL by the word of that ADT (its control id is the evidence); anything
// else is never more than it says. What the rules refuse to learn is a warning in
// the timeline of the ADT. A patient is who has the local number; else the one
// person who agrees in all and has no other number of that authority; else a new
// one. Of two first ADT at once the slower decides anew, so that they are one
// person. Without a local number, an INS that is held under other traits or by
// several teaches nothing. Two records of one house under one INS stay two, and
// hold up filing until the house merges them (A40): the record that survives then
// had the INS of the one absorbed, so that a letter under it is proposed to a
// person. What a document's message says teaches nothing,
// and what leaves is never compared with what was learned.
//
// An identity that loses its INS or its qualification after QUAL is told to the
// hospital software by ADT^A47, a delivery like a ZAM: retried until it is
// acknowledged, always the same bytes, those about one person in their order: one
// that failed does not begin again once a later one was told. Without a register
// they wait.
// The application that said so itself by ADT is not told. An A47 is about the
// establishment where the person was first seen.
//
// Received mail is filed under the register and the file of identities together
// ([Held]). The register has the last word on whoever has the same local number,
// or has (or had) the same INS under the same traits.
package gateway
