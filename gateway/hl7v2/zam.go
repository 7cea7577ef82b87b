package hl7v2

import (
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

// notice is one of the three business acknowledgements of the volet.
type notice struct {
	status, label string // OBX-3 of the outcome
	who, whoLabel string // OBX-3 of the person or mailbox, if there is one
	system        string // of ERR-5
}

const noticeSystem = "AckMetierZAM"

var notices = map[string]notice{
	"Z01": {"ACK_RECEPTION_DMP", "Accusé de réception DMP", "", "", "DMP_ERROR_CODE"},
	"Z02": {"ACK_RECEPTION_MSS", "Accusé de réception MSSanté", "DESTINATAIRE_MSS", "Destinataire MSSanté", "SMTPERRORCODE"},
	"Z03": {"ACK_LECTURE_MSS", "Accusé de lecture", "LECTEUR_MSS", "Lecteur du courriel MSSanté", "applicationErrorCondition"},
}

// RenderNotice writes a ZAM. It depends on the notice and the zone alone, so
// that a resend has the same bytes; a nil zone keeps the one of the notice.
// It refuses an event that the volet does not have.
func RenderNotice(n gateway.Notice, zone *time.Location) ([]byte, error) {
	z, ok := notices[n.Event]
	if !ok {
		return nil, refuse(FaultEvent, "MSH^1^9")
	}
	at := n.Composed
	if zone != nil {
		at = at.In(zone)
	}
	processing := n.Processing
	if processing == "" {
		processing = "P"
	}
	var b strings.Builder
	segment(&b, "MSH", `^~\&`, writeHD(n.As.Application), writeHD(n.As.Facility),
		writeHD(n.To.Application), writeHD(n.To.Facility), timestamp(at), "",
		"ZAM^"+n.Event+"^ZAM_Z01", escape(n.ControlID), escape(processing), "2.6",
		"", "", "", "", "FRA", charsetUTF8.String(), "", "", ProfileVolet)
	segment(&b, "EVN", "", timestamp(at))
	verdict := "N"
	if n.Success {
		verdict = "Y"
	}
	segment(&b, "OBX", "1", "CWE", z.status+"^"+z.label+"^"+noticeSystem, escape(n.Answers),
		verdict+"^^expandedYes-NoIndicator", "", "", "", "", "", "F")
	if z.who != "" {
		segment(&b, "OBX", "2", "XTN", z.who+"^"+z.whoLabel+"^"+noticeSystem, escape(n.RecipientID),
			"^^X.400^"+escape(n.Recipient), "", "", "", "", "", "F")
	}
	if !n.Success {
		segment(&b, "ERR", "", "", "207^"+errorTexts["207"]+"^messageErrorCondition", "E",
			escape(n.Code)+"^"+escape(n.Text)+"^"+z.system)
	}
	return []byte(b.String()), nil
}
