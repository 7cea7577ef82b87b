// Package operator talks to the MSSanté operator: it submits letters by SMTP and
// reads the gateway's mailbox by IMAP, both over STARTTLS with a client
// certificate (BAL APP).
//
// # What is promised
//
// Nothing is said in clear beyond the first EHLO: without STARTTLS, or with a
// server certificate that the given configuration does not accept, no login, no
// address and no letter leaves.
//
// Each recipient gets one [Fate], decided here and obeyed by the queue:
// accepted; temporary (nothing was handed over, send again); permanent (sending
// again changes nothing); unknown (the connection was lost after the final dot:
// the operator may hold the letter). The final dot is sent only after the whole
// letter was written, so an interruption before it hands over nothing.
//
// A mail read by [Session] keeps its state on the server until the caller marks
// or moves it: a crash in between reads it again. Order is that of the UIDs.
//
// # Where we differ or had to choose
//
//   - With TLS 1.3 the refusal of a client certificate arrives after the
//     handshake, on the next command. It is permanent, wherever it is seen.
//   - A server certificate that we refuse and a missing STARTTLS are temporary:
//     nothing is wrong with the letter. They have their own codes for the alarm.
//   - A reply 5xx to the greeting or to EHLO is permanent like any other.
//   - An operator that does not announce DSN still gets the letter; the result
//     says so, and the outcome then stays at "accepted by the operator".
package operator
