// Package httpapi is the HTTP doors of the gateway.
//
// What stands today: health for the machine itself ([Health], on gateway.http),
// and the timeline of submissions for hospital systems ([API], on
// gateway.https). A caller of [API] proves itself by a client certificate that
// the configuration maps to an establishment, and sees that establishment's
// submissions only: another's are answered exactly like unknown ones. A missing
// certificate is a 401, not a TLS alert.
//
// Errors are problem+json (RFC 9457) from the error table; lang=en in the query
// or Accept-Language: en gives English. No answer holds a patient trait or a
// matricule.
package httpapi
