package httpapi

import (
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// Envelope is the JSON part of a REST deposit. With a PDF it is what the CDA is
// built from; with a CDA it is what is compared with it, and the document has
// the last word. Names and codes are those of the command `cda build`.
type Envelope struct {
	Action        dmp.Action            `json:"action"`
	Establishment string                `json:"establishment,omitempty"` // FINESS géographique; may be left out by who has one
	Patient       cda.BuildPatient      `json:"patient"`
	Author        *EnvelopeAuthor       `json:"author,omitempty"`
	Organisation  cda.BuildOrganisation `json:"organisation,omitzero"` // of the author, and custodian; the establishment when absent
	Act           EnvelopeAct           `json:"act,omitzero"`
	Document      EnvelopeDocument      `json:"document,omitzero"`
	Recipients    []EnvelopeRecipient   `json:"recipients,omitempty"`
	ReplyTo       string                `json:"reply_to,omitempty"`
	Messages      EnvelopeMessages      `json:"messages,omitzero"`
	Flags         EnvelopeFlags         `json:"flags,omitzero"`
}

// EnvelopeAuthor is who wrote the document: a professional or a device.
type EnvelopeAuthor struct {
	cda.Professional
	Device *dmp.Device `json:"device,omitempty"`
}

// EnvelopeAct is the documented act and the stay it belongs to.
type EnvelopeAct struct {
	Code            dmp.Code  `json:"code,omitzero"`
	Start           time.Time `json:"start,omitzero"`
	Stop            time.Time `json:"stop,omitzero"`
	PracticeSetting dmp.Code  `json:"practice_setting,omitzero"` // JDV_J04
	Facility        dmp.Code  `json:"facility,omitzero"`         // JDV_J02
	Encounter       dmp.Code  `json:"encounter,omitzero"`        // JDV_J142
	Class           string    `json:"class,omitempty"`           // PV1-2: I, O, R, E, N
	Stay            string    `json:"stay,omitempty"`            // number of the stay (PV1-19)
	FileNumber      string    `json:"file_number,omitempty"`     // number of the file (PID-18)
}

// EnvelopeDocument is what is said of the document itself.
type EnvelopeDocument struct {
	ID              dmp.ID    `json:"id,omitzero"`
	SetID           dmp.ID    `json:"set_id,omitzero"`
	Version         int       `json:"version,omitempty"`
	Replaces        *dmp.ID   `json:"replaces,omitempty"`
	Type            dmp.Code  `json:"type,omitzero"` // JDV_J07
	Title           string    `json:"title,omitempty"`
	Created         time.Time `json:"created,omitzero"`
	Confidentiality dmp.Code  `json:"confidentiality,omitzero"` // N when absent
	Language        string    `json:"language,omitempty"`       // fr-FR when absent
}

// EnvelopeRecipient is one addressee of a letter.
type EnvelopeRecipient struct {
	Kind         string           `json:"kind"` // professional, patient, organisation, device
	Address      string           `json:"address"`
	Person       *dmp.Person      `json:"person,omitempty"`
	Organisation dmp.Organisation `json:"organisation,omitzero"`
	Device       string           `json:"device,omitempty"`
}

// EnvelopeMessages are the bodies of the letters, in plain text.
type EnvelopeMessages struct {
	Professional string `json:"professional,omitempty"` // CORPSMAIL_PS
	Patient      string `json:"patient,omitempty"`      // CORPSMAIL_PATIENT
}

// EnvelopeFlags are the routing flags of the volet, by their names. There is no
// acknowledgement flag: the timeline tells everything.
type EnvelopeFlags struct {
	ToDMP                     bool `json:"destdmp,omitempty"`
	ToProfessionals           bool `json:"destmssanteps,omitempty"`
	ToPatient                 bool `json:"destmssantepat,omitempty"`
	PatientMayNotReply        bool `json:"fin,omitempty"`
	HiddenFromProfessionals   bool `json:"masque_ps,omitempty"`
	HiddenFromPatient         bool `json:"invisible_patient,omitempty"`
	HiddenFromRepresentatives bool `json:"invisible_rep_legaux,omitempty"`
	SecretConnection          bool `json:"connexion_secrete,omitempty"`
}

func (f EnvelopeFlags) flags() gateway.Flags {
	return gateway.Flags{
		ToDMP: f.ToDMP, ToProfessionals: f.ToProfessionals, ToPatient: f.ToPatient, PatientMayNotReply: f.PatientMayNotReply,
		HiddenFromProfessionals: f.HiddenFromProfessionals, HiddenFromPatient: f.HiddenFromPatient,
		HiddenFromRepresentatives: f.HiddenFromRepresentatives, SecretConnection: f.SecretConnection,
	}
}

// readEnvelope reads an envelope strictly: what it does not know refuses, with
// the JSON pointer of the place.
func readEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if err := strict(data, &e); err != nil {
		return e, err
	}
	switch e.Patient.Status {
	case "", ins.Provisional, ins.Validated, ins.Retrieved, ins.Qualified:
	default:
		return e, fault.New(FaultField).At("/patient/status")
	}
	switch e.Action {
	case dmp.New, dmp.Replace, dmp.Delete:
	case "":
		return e, fault.New(FaultMissing).At("/action")
	default:
		return e, fault.New(FaultField).At("/action")
	}
	return e, nil
}

// strict reads one JSON object into a struct. Names are exact, in their case
// too, and nothing unknown passes.
func strict(data []byte, into any) error {
	node, err := fhir.Parse(data)
	if err != nil || !node.Is(fhir.Object) {
		return fault.New(FaultJSON)
	}
	if err := misfit(node, reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	err = json.Unmarshal(data, into)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		// The path has the names of embedded structs too, which no JSON has.
		at := ""
		for name := range strings.SplitSeq(kind.Field, ".") {
			if strings.ToLower(name) == name {
				at += "/" + name
			}
		}
		return fault.New(FaultField).At(at)
	case err != nil:
		return fault.New(FaultField)
	}
	return nil
}

var textual = reflect.TypeFor[encoding.TextUnmarshaler]()

// misfit refuses the first member that a type has no field for, or a time that is
// none, which the decoder does not place. A name is repeated only when it looks
// like the name of a field: it is foreign text.
func misfit(n *fhir.Node, t reflect.Type, at string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case reflect.PointerTo(t).Implements(textual): // a time: one string
		if text := reflect.New(t).Interface().(encoding.TextUnmarshaler); !n.Is(fhir.Null) && text.UnmarshalText([]byte(n.Text())) != nil {
			return fault.New(FaultField).At(at)
		}
	case t.Kind() == reflect.Slice && n.Is(fhir.Array):
		for i, item := range n.Items() {
			if err := misfit(item, t.Elem(), at+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && n.Is(fhir.Object):
		fields := map[string]reflect.Type{}
		collect(t, fields)
		for _, m := range n.Members() {
			field, ok := fields[m.Name]
			if !ok {
				return fault.New(FaultUnknownField).At(at + "/" + safeName(m.Name))
			}
			if err := misfit(m.Value, field, at+"/"+m.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect lists the JSON names of a struct, those of embedded structs included.
func collect(t reflect.Type, into map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			collect(f.Type, into)
		default:
			into[name] = f.Type
		}
	}
}

// safeName keeps what can be the name of a field, and is too short to say
// anything of a person.
func safeName(s string) string {
	if len(s) > 40 {
		return "?"
	}
	for _, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return "?"
		}
	}
	return s
}

// recipients are those of a letter. An address that cannot be one refuses here,
// because nothing could be sent to it.
func (e Envelope) recipients() ([]gateway.Recipient, error) {
	var out []gateway.Recipient
	for i, r := range e.Recipients {
		at := "/recipients/" + strconv.Itoa(i)
		switch r.Kind {
		case "professional", gateway.RecipientPatient, "organisation", "device":
		default:
			return nil, fault.New(FaultField).At(at + "/kind")
		}
		if _, err := mss.ParseAddress(r.Address); err != nil {
			return nil, fault.New(FaultRecipient).At(at + "/address")
		}
		out = append(out, gateway.Recipient{Kind: r.Kind, Address: r.Address, Person: r.Person, Org: r.Organisation, Device: r.Device})
	}
	if e.Flags.ToProfessionals && len(out) == 0 {
		return nil, fault.New(FaultRecipient).At("/recipients")
	}
	if e.ReplyTo != "" {
		if _, err := mss.ParseAddress(e.ReplyTo); err != nil {
			return nil, fault.New(FaultRecipient).At("/reply_to")
		}
	}
	return out, nil
}
