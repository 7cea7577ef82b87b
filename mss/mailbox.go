package mss

// MailboxKind is whose mailbox it is (TRE_R257-TypeBAL).
type MailboxKind string

// The kinds of the Annuaire Santé.
const (
	MailboxPerson       MailboxKind = "PER"
	MailboxOrganisation MailboxKind = "ORG"
	MailboxApplication  MailboxKind = "APP"
	MailboxCabinet      MailboxKind = "CAB"
)

// Mailbox is what the Annuaire Santé says of one mailbox. To be listed is no
// trust: the white list alone says what may be sent to.
type Mailbox struct {
	Address   Address
	Kind      MailboxKind // empty: it does not say
	Name      string      // of the professional or of the structure
	Paperless bool        // takes documents without paper ("zéro papier")
}
