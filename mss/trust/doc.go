// Package trust says whom the MSSanté trust space vouches for: the white list
// of its domains, the revocation of the certificates of its servers, and what a
// certificate can be used for and until when.
//
// # What is promised
//
// [Whitelist] answers from the last good list and never from none: a list that
// cannot be fetched, or is not fit to be taken, changes nothing, until the one
// held is too old to be used. Then every question is an error, and the error is
// temporary: nobody is found trusted because a check was impossible, and nobody
// is refused for good.
//
// [Revocations] refuses a certificate that its authority revoked, and any whose
// revocation cannot be known: no list, a list that has expired, a list that the
// authority did not sign. The last list is used until its own next update, so
// that a failed download does not cut the link (ECO.1.1.7).
//
// Crash: what is held is written to a new file, synced, renamed, and the folder
// synced. A file that is damaged counts as absent; a list read back from disk
// goes through the same tests as one that was fetched.
//
// Order and duplicates: refreshes are done one after the other; questions never
// wait for the network, except that of [Revocations] for a list not held yet.
//
// # Where we differ or had to choose
//
// The text of the référentiel #1 (operators) could not be read. UNCONFIRMED: how
// often the white list is generated, when it is stale, whether it is signed.
//
//   - A white list is fetched over TLS with the authorities given, never those of
//     the system, and redirections are not followed. Its age counts from the last
//     time the source confirmed it (200 or 304): refused after 7 days. Its own
//     date of generation is judged too, but late: 30 days.
//   - A list is not taken if it is not well-formed (the public copy of May 2025 is
//     not), has no domain, has a DOCTYPE, was generated before the one held or in
//     the future (which would keep every later one out), or has lost more than a
//     fifth of its domains; the last is lifted by [Whitelist.RefreshShrunk].
//   - Signature: WhitelistConfig.Signature checks the bytes, if it is given. Else
//     the authenticity of the list is that of the TLS connection.
//   - Domains are compared exactly, in lower case: a parent does not vouch for a
//     child. Names that are not ASCII occurred in 2018; they are left out, because
//     no address that we write can name them.
//   - DNCertificatOperateur is not read: it is for operators among themselves.
//   - Revocation by CRL; OCSP is not asked. Delta and indirect lists, and lists
//     of some reasons only, are refused: IGC-Santé publishes complete ones. A list
//     without a next update counts as expired. A suspended certificate is revoked.
//   - A certificate that names no CRL, and for which none is configured, is
//     refused.
//   - That a server certificate is of the range "Élémentaire Organisations"
//     (ECO.1.1.10) is for the authorities given to the client: the policy OIDs of
//     the ranges are UNCONFIRMED.
//
// Sources: référentiel socle MSSanté #2 (ECO.1.1.4 to 1.1.10), RFC 5280, readers
// of the white list by third parties.
package trust
