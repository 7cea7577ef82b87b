package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// DryRun judges a message as [Gateway.Accept] would and keeps nothing: neither
// the message nor the verdict. The two share the one function that judges, so
// that what is accepted here is accepted there, as long as the rules, the
// settings, what was fed before and the answers of INSi, which a dry run asks
// too and traces, stay as they are.
func (g *Gateway) DryRun(ctx context.Context, in Inbound) Decision {
	d := Decision{Rules: g.fingerprint()}
	if in.IdempotencyKey != "" {
		sum := sha256.Sum256(in.Raw)
		digest := hex.EncodeToString(sum[:])
		taken, err := g.replay(ctx, g.keys(in, digest).accepted)
		switch {
		case err != nil:
			return unavailable(d, err, func(Decision) []byte { return nil })
		case taken != nil && taken.Digest != digest:
			d.Outcome, d.Faults = Refused, []*fault.Fault{fault.New(FaultKeyReused)}
			return d
		}
	}
	in, v := g.examine(ctx, in, "")
	d.Faults, d.Warnings = v.faults, v.warnings
	for _, f := range d.Faults {
		if f.Kind == fault.Temporary {
			d.Outcome, d.Faults = Unavailable, []*fault.Fault{f}
			return d
		}
	}
	switch {
	case len(d.Faults) > 0:
		d.Outcome = Refused
	case len(in.Documents) == 0:
		d.Outcome = Noted
	default:
		d.Outcome = Accepted
	}
	return d
}

// idempotencyKeys are the duplicate keys of an HTTP message. That of an accepted
// one leaves out the digest of its bytes, so that the journal itself refuses a
// second content. A refused one does not hold the key: nothing came of it, and
// its sender may correct it under the same key.
func (g *Gateway) idempotencyKeys(in Inbound, digest string) duplicateKeys {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		"idempotency", in.Door, in.Establishment.FINESSGeo, in.From.Application, in.From.Facility, in.IdempotencyKey,
	}, "\x00")))
	key := hex.EncodeToString(sum[:])
	return duplicateKeys{accepted: key, refused: refusedKey(key + "/" + digest + "/" + g.fingerprint())}
}

// keyReused refuses another content under a key that is taken. The refusal has
// no key of its own: it must not answer for the content that came first.
func (g *Gateway) keyReused(ctx context.Context, d Decision, s Submission, receipt Receipt) Decision {
	d.Faults, d.Warnings = []*fault.Fault{fault.New(FaultKeyReused)}, nil
	s.Warnings, s.Envelope, s.Stay = nil, nil, ""
	return g.refuse(ctx, d, s, duplicateKeys{}, receipt)
}

// judgeClaims compares what the sender says of a document with what the document
// says: contradictions refuse, the rest is told.
func judgeClaims(claimed InboundDocument, document dmp.Metadata, v *verdict) {
	if claimed.Claimed == nil {
		return
	}
	for _, f := range cda.Compare(*claimed.Claimed, document) {
		if f.Severity == cda.Warning {
			v.warn(f.Code, f.FaultWhere())
			continue
		}
		v.refuse(f)
	}
}
