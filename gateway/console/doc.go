// Package console shows the journal to people, in a browser: search, timeline,
// deliveries, quarantine, documents, warnings. Who has the right to decide stops a
// delivery or has it begin again, and files, rejects or keeps a mail in
// quarantine; what that does is [gateway.Decider]'s affair.
//
// # What is promised
//
// Access is denied by default. A page is shown to a professional who is logged in
// through Pro Santé Connect, whose national identifier the configuration lists,
// and for the establishments that it gives them; the submission of another
// establishment does not exist. The traits of a patient are shown in three
// places only, the document, the received mail and the identities to compare it
// with, to who has an activity of care; each such consultation is logged (who,
// which submission, when) before the page leaves. Lists, timelines, addresses, titles and logs hold no trait: the mailbox
// of a patient, whose address is a matricule, is named and not written.
//
// Pages hold no script, fetch nothing from elsewhere, cannot be framed, and are
// kept by no cache. What comes from documents, mails and messages is text: it is
// escaped, and a mail is shown by its text part alone.
//
// Deciding is a right apart, and denied by default. A decision is a form that is
// sent from its own page: it carries a token that follows from the secret of the
// session and from the page, and what the browser says of its origin must agree.
// An address never decides. After a decision the browser is sent to the timeline,
// so that loading again decides nothing again; a form sent twice is refused.
//
// Every page is read from the journal when it is asked for: a crash loses
// nothing, and a page that is loaded again shows what is recorded by then. Pages
// of a list follow the order of acceptance: what arrives meanwhile is neither
// skipped nor shown twice.
//
// # Where we differ or had to choose
//
//   - A professional without activity of care (student, administrative) who is
//     listed sees timelines and reasons, and no document.
//   - The log of consultations is the log of the program. It does not enter the
//     timeline of the submission, which hospital software reads too.
//   - Whether a mail can be filed is judged again when the form comes: the form
//     names what the person compared by a keyed digest, so an identity that
//     changed meanwhile is not filed under.
//   - The identity that a mail is filed under is one of those that resemble that
//     of the document. Another one cannot be named: the document would contradict
//     it.
//   - Who is not logged in gets a page with a link and not a redirection, so that
//     a form that was sent after the session's end does not lead to another site.
//   - A document of level 3 offers its PDF copy, made on demand if it carries
//     none; a document of level 1 shows its own PDF, never a made one.
//   - A document that is hidden from professionals in the DMP is shown here: the
//     reader belongs to the establishment that wrote or received it.
package console
