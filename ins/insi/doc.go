// Package insi asks the INSi teleservice of CNAM who a person is: search by
// traits (WS_INS2), search by carte Vitale (WS_INS1), unit verification of an
// INS (WS_INS3). SOAP 1.2 over mutual TLS, as in DESIR_ICIR_EXP 1.5.0.
//
// # What is promised
//
// The package decides nothing. Result 00 is an answer, not an acceptance: the
// traits are shown, a person compares them with the patient and the document,
// and the register applies [ins.Rules] to [Answer.Trace].
//
// Nothing is asked about a doubtful or fictive identity, and nothing by an
// unnamed caller; both are refused before any network (EXI SI 09).
//
// Crash: an exchange is given to the [Tracer] before its answer is returned. An
// answer whose trace could not be kept is withheld ([FaultTrace]): no INS enters
// the house without its trace (EXI REC 07). Searches change nothing outside, so
// that one that was interrupted is simply made again. The client keeps nothing
// and retries nothing; the code of an error says whether a later attempt can
// succeed.
//
// Order: the attempts of one search follow each other; searches run side by
// side.
//
// Duplicates: every attempt has its own MessageID, context ids and trace.
//
// Traits, matricules and tokens stand in the request, in the answer and in the
// two copies that a [Trace] holds for the register to encrypt. They are in no
// error, no log line and no URL.
//
// Answers are foreign bytes: at most 256 kB, 32 levels and 2,000 elements, no
// document type, one charset (UTF-8).
//
// # Where we differ or had to choose
//
//   - Whether to try again is decided by the siram and desir codes, never by
//     Sender or Receiver: INSi sends transient faults as Sender.
//   - Elements are known by their local names, prefixes inside the text of a
//     fault are cut off: INSi changed both without notice.
//   - A key that INSi leaves out is computed. A wrong one is kept as it came;
//     [ins.Gate] holds such a matricule back.
//   - A former INS that only repeats the active one is left out. Dates of the
//     history are kept as they came, inverted ones too.
//   - An unknown result code, result 00 without a person, or an authority that
//     assigns no INS is no answer ([FaultAnswer]).
//   - After 02 (several people) a search only ever narrows: another given name
//     alone could find another person.
//   - The order of a search: each given name alone, then all of them; then the
//     same without the birth place; then the other writings of compound names.
//   - An organisation certificate INSI-MANU serves people only; INSI-AUTO serves
//     both, for a house that has but one.
//   - Redirections are not followed: the body holds traits.
//
// # Unconfirmed
//
// The batch verification (WS_INS4, WS_INS5) is not offered: neither its names nor
// its messages could be read. Faults beyond desir_550, desir_560, desir_1020 and
// insi_102 are told with INSi's own code ([FaultRejected]); addresses of
// production come from the configuration.
//
// The WSDL at hand has no verification, and how a Pro Santé Connect token
// travels is not published in what could be read. Both stand apart, as
// [Verification] and [PSC.Carry], and are off until a configuration sets them.
package insi
