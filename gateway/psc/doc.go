// Package psc says who the professional is, at which assurance, and until when.
//
// It is four things over one [Client] of Pro Santé Connect (PSC):
//
//   - [Login] logs a person in with a browser and keeps their [Session];
//   - [Proxy] logs a person in on their own device for software that has no
//     browser (CIBA), and calls the APIs of others in their name;
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
// Tokens never leave the server but to whom they are for: the browser and the
// software of a [Proxy] have an opaque session id, the store has digests and
// sealed values, logs have neither tokens nor codes.
//
// A trace of the proxy is on the disk before what it tells of is done. A crash
// between the two leaves a trace of something that did not happen, never the
// reverse; a call that the crash cut is not made again by us.
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
//   - iss of a callback is checked when it is there. The metadata promise it
//     (RFC 9207); whether the wallet keeps the promise could not be seen.
//   - The proxy follows psc.md 4.4 (/connect, /send, /disconnect), with these
//     differences. Software shows a certificate of a registered client on every
//     call, and a session opens to the certificate that began it. clientId is the
//     one client_id that the gateway has. At least one backend must give a token
//     at /connect; the others are asked when they are called. The path and the
//     headers that pass through /send are lists of what may, not of what may not.
//     At the DMP it reads only: a deposit past the gateway's doors would leave
//     past the INS gate. In traces proxy_id_session is the SHA-256 of the id, and
//     runs of ten digits or more in a path are masked.
//   - A cookie that acts is guarded four times: SameSite=Strict, the certificate,
//     Sec-Fetch-Site and Origin on every method (GET too), and JSON alone at
//     /connect. Answers of backends are shown in a sandbox of no origin.
//   - Traces are files of a day in the data folder, not rows of the login store:
//     that one is bounded and cannot list. Several gateways have one each.
//   - The access token that /connect got is exchanged once at each backend. A
//     backend that is the gateway itself so issues a token without one of the DMP,
//     which has had it: consult through the backend dmp.
//   - Tokens are revoked, and the session at PSC ended, when a person leaves
//     (/logout, /disconnect): psc.md 4.4 asks for no more. A session that expires,
//     or that a new login of its browser replaces, is refused and removed here,
//     its tokens with it; nobody is told. They were never anywhere else, and end
//     when the server that gave them said, as PSC's session does by itself.
//   - A session and a token end four hours after the person proved who they are
//     (auth_time), also when PSC let them in without asking again.
//   - client_credentials is not offered: machines are known by their certificate.
//   - Errors of /oauth are those of RFC 6749, in ASCII, with three more members:
//     code (of the error table), detail and remedy (in French).
package psc
