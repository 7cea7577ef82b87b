package hl7v2

import (
	"context"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
)

var a47Words = words{FaultA47Down, FaultA47Silent, FaultA47Answer, FaultA47Busy, FaultA47Refused}

// Lowered implements [gateway.Downstream]: it sends one A47 to the software of
// the establishment and waits for its acknowledgement, judged as that of a MDM.
func (a *Application) Lowered(ctx context.Context, n gateway.IdentityNotice) error {
	software, ok := a.Route(n.Establishment)
	if !ok {
		return refuse(FaultA47Route, "")
	}
	e := errand{
		target: software.Target, timeout: a.Timeout, message: RenderA47(n, software, a.Zone), controlID: n.ControlID, words: a47Words,
	}
	return e.run(ctx)
}

// RenderA47 writes an A47 of PAM.fr: the INS of MRG-1 becomes that of PID-3,
// where "" withdraws it. A new INS is written only if the gate lets it leave. It
// depends on its arguments alone, so that a resend has the same bytes.
//
// The local numbers stand unchanged in both: where two records of the hospital
// hold one INS, they say which of them is meant.
func RenderA47(n gateway.IdentityNotice, to Software, zone *time.Location) []byte {
	at := n.Composed
	if zone != nil {
		at = at.In(zone)
	}
	processing := to.Processing
	if processing == "" {
		processing = "P"
	}
	p := n.Patient
	now := `""^^^` + insAuthority(n.Old.OID) + "&" + text(string(n.Old.OID)) + "&ISO^INS"
	if p.HasINS() && ins.Gate(p, ins.ToHL7) == nil {
		now = insCX(p.Matricule, p.OID)
	}
	local := localCX(p, n.Establishment)
	var b strings.Builder
	segment(&b, "MSH", `^~\&`, writeHD(to.As.Application), writeHD(to.As.Facility),
		writeHD(to.To.Application), writeHD(to.To.Facility), timestamp(at), "",
		"ADT^A47^ADT_A30", text(n.ControlID), text(processing), "2.5^FRA^2.11",
		"", "", "", "", "FRA", charsetUTF8.String(), "", "", ProfilePAM)
	segment(&b, "EVN", "", timestamp(at), "", "", "", timestamp(at))
	writeIdentified(&b, append([]string{now}, local...), p)
	segment(&b, "MRG", strings.Join(append([]string{insCX(n.Old.Matricule, n.Old.OID)}, local...), "~"))
	return []byte(b.String())
}
