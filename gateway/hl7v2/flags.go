package hl7v2

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/passerelle-sante/passerelle/gateway"
)

// Matrix says which combinations of flags are refused.
type Matrix string

// MatrixRules, the default, refuses what the prose of the volet forbids: mail
// to a patient to whom the document is invisible, and mail to professionals of
// a document that is masked to them. MatrixStrict also refuses
// what stands in no row of the volet's table.
const (
	MatrixRules  Matrix = "rules"
	MatrixStrict Matrix = "strict"
)

// flag is one row of table MetaDMPMSS, in the order of the volet.
type flag struct {
	name     string
	synonym  string
	optional bool // absent is N, with a warning
	set      func(*gateway.Flags) *bool
	body     func(*gateway.Inbound) *[]byte // CORPSMAIL_*: a text, not a flag
}

var flagTable = []flag{
	{name: "MASQUE_PS", set: func(f *gateway.Flags) *bool { return &f.HiddenFromProfessionals }},
	{name: "INVISIBLE_PATIENT", set: func(f *gateway.Flags) *bool { return &f.HiddenFromPatient }},
	{name: "INVISIBLE_REP_LEGAUX", set: func(f *gateway.Flags) *bool { return &f.HiddenFromRepresentatives }},
	{name: "CONNEXION_SECRETE", set: func(f *gateway.Flags) *bool { return &f.SecretConnection }},
	{name: "MODIF_CONF_CODE", set: func(f *gateway.Flags) *bool { return &f.VisibilityChange }},
	{name: "DESTDMP", set: func(f *gateway.Flags) *bool { return &f.ToDMP }},
	{name: "DESTMSSANTEPS", set: func(f *gateway.Flags) *bool { return &f.ToProfessionals }},
	{name: flagPatient, set: func(f *gateway.Flags) *bool { return &f.ToPatient }},
	{name: "ACK_RECEPTION", optional: true, set: func(f *gateway.Flags) *bool { return &f.WantReception }},
	{name: "ACK_LECTURE_MSS", synonym: "ACK_LECTURE", optional: true, set: func(f *gateway.Flags) *bool { return &f.WantReading }},
	{name: "CORPSMAIL_PS", optional: true, body: func(in *gateway.Inbound) *[]byte { return &in.BodyPro }},
	{name: "CORPSMAIL_PATIENT", optional: true, body: func(in *gateway.Inbound) *[]byte { return &in.BodyPatient }},
}

const flagPatient = "DESTMSSANTEPAT"

// maxBody bounds a mail body.
const maxBody = 1 << 20

func flagNamed(name string) (int, bool) {
	i := slices.IndexFunc(flagTable, func(f flag) bool {
		return name != "" && (f.name == name || f.synonym == name)
	})
	return i, i >= 0
}

// flags reads the metadata OBX. Each mandatory flag must be there once with Y
// or N; the order of older versions is accepted and told.
func (r *reader) flags(groups []group) {
	seen := make([]bool, len(flagTable))
	last, disorder := -1, false
	for _, g := range groups {
		i, ok := flagNamed(g.obx.Field(3).Code())
		if !ok {
			r.warn(FaultFlagUnknown, g.obx.At(3))
			continue
		}
		f := flagTable[i]
		if seen[i] {
			r.detail(FaultFlagRepeated, g.obx.At(3), f.name)
			continue
		}
		seen[i] = true
		disorder = disorder || i < last
		last = i
		if f.body != nil {
			r.body(*g.obx, f)
			continue
		}
		switch value := g.obx.Field(5); {
		case value.Repeated(): // N~Y says neither
			r.detail(FaultFlagValue, g.obx.At(5), f.name)
		case value.Code() == "Y":
			*f.set(&r.in.Flags) = true
		case value.Code() != "N":
			r.detail(FaultFlagValue, g.obx.At(5), f.name)
		}
		if f.name == flagPatient {
			r.notes(g.notes)
		}
	}
	for i, f := range flagTable {
		switch {
		case seen[i] || f.body != nil:
		case f.optional:
			r.warn(FaultFlagDefault, "OBX")
		default:
			r.detail(FaultFlagMissing, "OBX", f.name)
		}
	}
	if disorder {
		r.warn(FaultFlagOrder, "OBX")
	}
}

// notes reads the NTE of the patient's flag: FIN in NTE-4, and the patient may not
// reply. What is none is told, because the patient then may.
func (r *reader) notes(notes []*Segment) {
	for _, n := range notes {
		for kind := range n.Field(4).Repetitions() {
			switch code := kind.Component(1).Text(); {
			case strings.EqualFold(code, "FIN"):
				r.in.Flags.PatientMayNotReply = true
			case code != "":
				r.warn(FaultFieldValue, n.At(4))
			}
		}
	}
}

func (r *reader) detail(code, where, detail string) {
	e := refuse(code, where)
	e.Detail = detail
	r.in.Refusals = append(r.in.Refusals, e)
}

// body reads a CORPSMAIL. Bodies cut in the middle of base64 exist in the
// official samples: what is whole is kept, and told.
func (r *reader) body(obx Segment, f flag) {
	if obx.Field(5).Repeated() {
		r.refuse(FaultFieldRepeated, obx.At(5))
		return
	}
	data := obx.Field(5).Component(5)
	if len(data.raw) > base64.StdEncoding.EncodedLen(maxBody) {
		r.detail(FaultFieldType, obx.At(5), f.name)
		return
	}
	text, err := decodeBase64(data)
	if err != nil {
		if r.opt.StrictBodies {
			r.detail(FaultBody, obx.At(5), f.name)
			return
		}
		// The decoder gives the whole quanta before the error.
		r.warn(FaultBody, obx.At(5))
	}
	*f.body(&r.in) = utf8Text(text, r.head.set)
}

// utf8Text gives a body as UTF-8: as it is if it is so already, but for a rune
// cut at its end, else by the charset of the message.
func utf8Text(b []byte, set charset) []byte {
	for cut := 0; cut < utf8.UTFMax && cut <= len(b); cut++ {
		if utf8.Valid(b[:len(b)-cut]) {
			return b[:len(b)-cut]
		}
	}
	if set == charsetUTF8 || set == charsetASCII {
		set = charset885915
	}
	return []byte(set.decode(b))
}

// decide applies the rules on flags and recipients together.
// It does nothing to a message whose flags could not be read.
func (r *reader) decide() {
	f := &r.in.Flags
	if slices.ContainsFunc(r.in.Refusals, isFlagRefusal) {
		return
	}
	if f.ToPatient && f.HiddenFromPatient {
		r.refuse(FaultHiddenPatient, "OBX")
	}
	if f.ToProfessionals && f.HiddenFromProfessionals && !r.opt.MaskedToPro {
		r.refuse(FaultMaskedPro, "OBX")
	}
	if r.opt.Matrix == MatrixStrict && !inMatrix(*f) {
		r.refuse(FaultMatrix, "OBX")
	}
	if f.ToDMP {
		r.needRequester()
	}
	r.needRecipients()
}

func isFlagRefusal(err error) bool {
	e, ok := err.(*Refusal)
	return ok && (e.Code == FaultFlagMissing || e.Code == FaultFlagRepeated || e.Code == FaultFlagValue)
}

// inMatrix tells whether the flags are a row of the MSSanté matrix of April
// 2026 (digest §9). A message without MSSanté recipient is not its business.
func inMatrix(f gateway.Flags) bool {
	switch {
	case !f.ToProfessionals && !f.ToPatient:
		return true
	case f.ToProfessionals && f.ToPatient:
		return !f.HiddenFromProfessionals && !f.HiddenFromPatient && !f.HiddenFromRepresentatives
	case f.ToProfessionals:
		return !f.HiddenFromProfessionals && f.HiddenFromPatient && !f.HiddenFromRepresentatives
	default:
		return !f.HiddenFromPatient && !f.SecretConnection && !f.ToDMP
	}
}
