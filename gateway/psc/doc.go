// Package psc says who the professional is, at which assurance, and until when.
//
// It is three things over one [Client] of Pro Santé Connect (PSC):
//
//   - [Login] logs a person in with a browser and keeps their [Session];
//   - [Server] is the gateway's own authorization server (/oauth/…), which gives
//     a token of audience "gateway", bound to a client certificate, for a PSC
//     access token (RFC 8693, RFC 8705);
//   - [Server.Verify] tells a door who calls, or why not.
//
// # What is promised
//
// The gateway starts while PSC is down: discovery and keys are read when first
// needed, again after an hour, and a failure is not remembered. A login that
// was interrupted leaves nothing behind. A code, a state and a PSC token are
// each used once, also among several gateways that share a [Store]. A session
// and a token are good as long as their record is in the store: what was logged
// out or revoked is refused at the next request, and a lost store refuses all.
// What PSC cannot confirm is refused (503): there is no access by default.
//
// Tokens never leave the server but to whom they are for: the browser has an
// opaque session id, the store has digests and sealed values, logs have neither
// tokens nor codes.
//
// # Where we differ or had to choose
//
//   - at_hash is verified when it is there: OpenID Connect makes it optional in
//     the code flow, and no complete ID token of PSC could be seen.
//   - An access token of PSC carries no audience: it is never a bearer of ours.
//     At exchange its azp must be one that the presenting client may bring, it
//     is introspected, and it passes once.
//   - An acr that is absent is refused, in the ID token and in the access token.
//   - Logout calls end_session from the server, with the ID token in the body:
//     a token does not travel in a URL.
//   - The state of a login is in a sealed cookie, not in the store: anonymous
//     visitors cannot fill it. The newest of two tabs wins.
//   - The prefix __Host- of cookies needs https; on http, loopback only, cookies
//     have no prefix and are not Secure.
//   - client_credentials is not offered: machines are known by their certificate.
//   - Errors of /oauth are those of RFC 6749, in ASCII, with three more members:
//     code (of the error table), detail and remedy (in French).
package psc
