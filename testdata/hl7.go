package testdata

import (
	"encoding/base64"
	"strconv"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
)

// The three actions of the volet.
const (
	New     = "new"
	Replace = "replace"
	Delete  = "delete"
)

// Charsets of MSH-18.
const (
	UTF8   = "UNICODE UTF-8"
	Latin9 = "8859/15"
)

// Flags are the metadata of the volet by code, with the value of OBX-5.1. An
// entry replaces the ordinary value; "-" leaves the OBX out.
type Flags map[string]string

// The ordinary flags, in the order of the volet: to the DMP, outcome wanted.
var flagTable = []struct{ code, label, value string }{
	{"MASQUE_PS", "Masqué aux professionnels de Santé", "N"},
	{"INVISIBLE_PATIENT", "Document Non Visible par le patient", "N"},
	{"INVISIBLE_REP_LEGAUX", "Non visible par les représentants Légaux du patient", "N"},
	{"CONNEXION_SECRETE", "Connexion Secrete", "N"},
	{"MODIF_CONF_CODE", "Modification Confidentiality Code", "N"},
	{"DESTDMP", "Destinataire DMP", "Y"},
	{"DESTMSSANTEPS", "Destinataire (Professionnel de Santé, organisation ou BAL applicative)", "N"},
	{"DESTMSSANTEPAT", "Destinataire Patient", "N"},
	{"ACK_RECEPTION", "Accusé de réception", "Y"},
	{"ACK_LECTURE_MSS", "Accusé de lecture", "N"},
}

// Recipient is one PRT RCT. The first of Persona, Patient, Unit and Device that
// is set says who it is.
type Recipient struct {
	Address string
	Persona Persona
	Patient Patient
	Unit    string // internal unit (UF) of the establishment
	Device  string // application mailbox
}

// MessageOptions says what differs from the ordinary message: the document of
// CDAOptions{}, sent for the first time, to the DMP.
type MessageOptions struct {
	ControlID  string // MSH-10; default M0001
	From       string // MSH-3; default DPI-ESSAIS
	FromHouse  string // MSH-4; default the namespace of the establishment
	To         string // MSH-5; default PASSERELLE
	ToHouse    string // MSH-6; default the same as MSH-4
	Time       string // MSH-7; default 20260105093000
	Processing string // MSH-11; default T
	Version    string // MSH-12; default 2.5 for ORU and ADT, 2.6 for MDM
	Profile    string // MSH-21; default 2.1^CISIS_CDA_HL7_V2; "-" for none
	Charset    string // MSH-18 and the bytes; default UTF8
	Separators string // five characters; default |^~\&

	Action        string // New (default), Replace, Delete
	Patient       Patient
	NoINS         bool     // PID-3 without the matricule
	Reliability   []string // PID-32; default VALI, or the status when it is not QUAL
	VisitClass    string   // PV1-2; default I
	Establishment Establishment

	Document CDAOptions  // its patient and establishment default to those of the message
	Second   *CDAOptions // ORU only: a second document group
	Content  []byte      // the bytes of the (first) document, instead of CDA(Document)
	Base64   string      // the text of OBX-5.5, instead of encoding the bytes

	Sender           Persona // PRT SB; default the author of the document
	DeviceSender     string  // PRT SB is this system instead
	NoSender         bool
	Recipients       []Recipient
	ReplyTo          string // PRT REPLY
	Flags            Flags
	PatientNoReply   bool   // NTE FIN after DESTMSSANTEPAT
	BodyProfessional string // CORPSMAIL_PS
	BodyPatient      string // CORPSMAIL_PATIENT

	// Edit changes the segments, written with the standard separators, before
	// they are joined: the way to make one fault.
	Edit func(segments []string) []string
}

func (o MessageOptions) filled() MessageOptions {
	o.Patient, o.Establishment = orPatient(o.Patient), orHouse(o.Establishment)
	h := o.Establishment
	o.ControlID = orString(o.ControlID, "M0001")
	o.From, o.FromHouse = orString(o.From, "DPI-ESSAIS"), orString(o.FromHouse, h.Namespace)
	o.To, o.ToHouse = orString(o.To, "PASSERELLE"), orString(o.ToHouse, o.FromHouse)
	o.Time, o.Processing = orString(o.Time, "20260105093000"), orString(o.Processing, "T")
	o.Charset, o.Separators = orString(o.Charset, UTF8), orString(o.Separators, `|^~\&`)
	o.Action, o.VisitClass = orString(o.Action, New), orString(o.VisitClass, "I")
	o.Profile = orString(o.Profile, "2.1^CISIS_CDA_HL7_V2")
	if o.Reliability == nil {
		o.Reliability = map[string][]string{"QUAL": {"VALI"}, "VALI": {"VALI"}}[o.Patient.Status]
		if o.Reliability == nil {
			o.Reliability = []string{"PROV"}
		}
	}
	if o.Action == Replace && o.Document.Replaces == "" {
		o.Document.Replaces = DocumentID(1)
		o.Document.ID = orString(o.Document.ID, DocumentID(2))
	}
	o.Document = o.follow(o.Document)
	if o.Sender.NationalID == "" {
		o.Sender = o.Document.Author
	}
	return o
}

// follow makes a document of the message's patient and establishment.
func (o MessageOptions) follow(d CDAOptions) CDAOptions {
	if d.Patient.BirthName == "" {
		d.Patient = o.Patient
	}
	if d.Establishment.FINESSGeo == "" {
		d.Establishment = o.Establishment
	}
	return d.filled()
}

var (
	controls = map[string]string{New: "NW", Replace: "RO", Delete: "CA"}
	events   = map[string]string{New: "T02", Replace: "T10", Delete: "T04"}
	statuses = map[string]string{New: "F", Replace: "C", Delete: "D"}
)

// ORU writes an ORU^R01 of profile 2.1, segments ended by CR.
func ORU(o MessageOptions) []byte {
	o = o.filled()
	o.Version = orString(o.Version, "2.5")
	code := o.Document.Kind.TypeCode()
	s := []string{o.msh("ORU^R01^ORU_R01"), o.pid(), o.pv1(),
		fields("ORC", controls[o.Action]),
		fields("OBR", "1", "", "", ce(code))}
	s = append(s, o.group("TEXT", "CE")...)
	return o.bytes(s)
}

// MDM writes an MDM^T02, T10 or T04 of profile 2.1, segments ended by CR.
func MDM(o MessageOptions) []byte {
	o = o.filled()
	o.Version = orString(o.Version, "2.6")
	code := o.Document.Kind.TypeCode()
	txa := make([]string, 17)
	txa[0], txa[1], txa[2], txa[16] = "1", code.Code, "TEXT", "AU"
	txa[11] = ei(o.Document.ID)
	if o.Document.Replaces != "" {
		txa[12] = ei(o.Document.Replaces)
	}
	s := []string{o.msh("MDM^" + events[o.Action] + "^MDM_T02"), fields("EVN", "", o.Time), o.pid(), o.pv1(),
		fields("ORC", controls[o.Action]),
		fields("OBR", "1", "", "", ce(code)),
		fields("TXA", txa...)}
	o.Second = nil // an MDM carries exactly one document
	s = append(s, o.group("text", "CWE")...)
	return o.bytes(s)
}

// ADTOptions says what differs from the ordinary admission: PAM.fr 2.11, the
// first patient, informed and not opposed.
type ADTOptions struct {
	MessageOptions
	Event       string // A01 (default), A03
	Feeding     string // ZFA-9: INO (default), IO, NA; "-" for no ZFA
	Consultable string // ZFA-11: IC (default), INC, NA
}

// ADT writes an ADT of IHE PAM.fr 2.11, segments ended by CR.
func ADT(o ADTOptions) []byte {
	m := o.MessageOptions
	m.Profile = orString(m.Profile, "2.11^IHE_FRANCE-2.11-PAM")
	m.Version = orString(m.Version, "2.5^FRA^2.11")
	m = m.filled()
	event := orString(o.Event, "A01")
	structure := map[string]string{"A03": "ADT_A03"}[event]
	s := []string{m.msh("ADT^" + event + "^" + orString(structure, "ADT_A01")),
		fields("EVN", "", m.Time, "", "", "", m.Time), m.pid(), m.pv1(),
		fields("ZBE", "MVT1^"+esc(m.Establishment.Namespace)+"^"+m.Establishment.FINESSGeo, m.Time, "", "INSERT", "N", "",
			"Médecine interne^^^^^"+m.authority("N")+"^UF^^^4210", "", "HMS")}
	if o.Feeding != "-" {
		feeding, consultation := orString(o.Feeding, "INO"), orString(o.Consultable, "IC")
		s = append(s, fields("ZFA", "ACTIF", m.Time, "", "", "", "", "", "",
			feeding, m.collected(feeding), consultation, m.collected(consultation)))
	}
	return m.bytes(s)
}

// collected is the date of an answer: none when nothing was collected.
func (o MessageOptions) collected(answer string) string {
	if answer == "NA" {
		return ""
	}
	return o.Time
}

func (o MessageOptions) msh(kind string) string {
	profile := o.Profile
	if profile == "-" {
		profile = ""
	}
	return strings.TrimRight(fields(`MSH|^~\&`, esc(o.From), esc(o.FromHouse), esc(o.To), esc(o.ToHouse), o.Time, "", kind,
		esc(o.ControlID), o.Processing, o.Version, "", "", "", "", "FRA", o.Charset, "", "", profile), "|")
}

// authority is the assigning authority of the establishment, an HD by FINESS.
func (o MessageOptions) authority(scheme string) string {
	return esc(o.Establishment.Namespace) + "&" + o.Establishment.FINESSGeo + "&" + scheme
}

func (o MessageOptions) pid() string {
	p := o.Patient
	var ids []string
	if p.IPP != "" {
		ids = append(ids, p.IPP+"^^^"+o.authority("N")+"^PI")
	}
	if p.Matricule != "" && !o.NoINS {
		ids = append(ids, p.Matricule+"^^^ASIP-SANTE-INS-NIR&"+p.OID+"&ISO^INS")
	}
	f := make([]string, 32)
	f[0], f[2] = "1", strings.Join(ids, "~")
	f[4] = esc(p.BirthName) + "^" + esc(p.FirstGiven) + "^" + esc(p.GivenNames) + "^^^^L"
	f[6], f[7] = strings.ReplaceAll(p.BirthDate, "-", ""), p.Sex
	f[10] = esc(p.Street) + "^^" + esc(p.City) + "^^" + p.PostCode + "^FRA^H"
	if p.BirthPlace != "" {
		f[10] += "~^^^^^^BDL^^" + p.BirthPlace
	}
	f[17] = "DOS" + p.IPP + "^^^" + o.authority("N") + "^AN"
	f[31] = strings.Join(o.Reliability, "~")
	return fields("PID", f...)
}

func (o MessageOptions) pv1() string {
	f := make([]string, 44)
	f[0], f[1] = "1", o.VisitClass
	f[18] = "VEN" + o.Patient.IPP + "^^^" + o.authority("N") + "^VN"
	f[43] = "20260104080000"
	return fields("PV1", f...)
}

// group is the documents, their participants and the metadata.
func (o MessageOptions) group(subtype, coded string) []string {
	n := 0
	obx := func(kind, id, value, status string) string {
		n++
		return fields("OBX", strconv.Itoa(n), kind, id, "", value, "", "", "", "", "", status)
	}
	content := o.Content
	if content == nil {
		content = CDA(o.Document)
	}
	data := orString(o.Base64, base64.StdEncoding.EncodeToString(content))
	s := []string{obx("ED", ce(o.Document.Kind.TypeCode()), "^"+subtype+"^XML^Base64^"+data, statuses[o.Action])}
	s = append(s, o.participants()...)
	if o.Second != nil {
		second := o.follow(*o.Second)
		s = append(s, obx("ED", ce(second.Kind.TypeCode()),
			"^"+subtype+"^XML^Base64^"+base64.StdEncoding.EncodeToString(CDA(second)), statuses[o.Action]))
	}
	for _, f := range flagTable {
		value := orString(o.Flags[f.code], f.value)
		if value == "-" {
			continue
		}
		s = append(s, obx(coded, f.code+"^"+esc(f.label)+"^MetaDMPMSS", value+"^^expandedYes-NoIndicator", "F"))
		if f.code == "DESTMSSANTEPAT" && o.PatientNoReply {
			s = append(s, fields("NTE", "1", "", "", "FIN"))
		}
	}
	for _, body := range []struct{ code, label, text string }{
		{"CORPSMAIL_PS", "Corps du mail pour un PS", o.BodyProfessional},
		{"CORPSMAIL_PATIENT", "Corps du mail pour le patient", o.BodyPatient},
	} {
		if body.text != "" {
			s = append(s, obx("ED", body.code+"^"+body.label+"^MetaDMPMSS",
				"^"+subtype+"^^Base64^"+base64.StdEncoding.EncodeToString([]byte(body.text)), "F"))
		}
	}
	return s
}

func (o MessageOptions) participants() []string {
	house := esc(o.Establishment.Name) + "^^^^^&1.2.250.1.71.4.2.2&ISO^FINEG^^^" + o.Establishment.FINESSGeo
	var s []string
	switch {
	case o.NoSender:
	case o.DeviceSender != "":
		s = append(s, prt("SB^Send by", "", house, esc(o.DeviceSender), ""))
	default:
		s = append(s, prt("SB^Send by", professional(o.Sender), house, "", ""))
	}
	for _, r := range o.Recipients {
		person, org, device := "", "", ""
		switch {
		case r.Persona.NationalID != "":
			person = professional(r.Persona)
		case r.Patient.BirthName != "":
			person = r.Patient.Matricule + "^" + esc(r.Patient.BirthName) + "^" + esc(r.Patient.FirstGiven) +
				"^^^^^^&" + r.Patient.OID + "&ISO^L^^^INS"
		case r.Unit != "":
			org = esc(r.Unit) + "^^^^^" + "&" + o.Establishment.FINESSGeo + "&N^UF^^^" + esc(r.Unit)
		case r.Device != "":
			device = esc(r.Device)
		}
		s = append(s, prt("RCT^Result Copies To", person, org, device, r.Address))
	}
	if o.ReplyTo != "" {
		s = append(s, prt("REPLY^Reply To", "", "", "", o.ReplyTo))
	}
	return s
}

func professional(p Persona) string {
	return p.NationalID + "^" + esc(p.Family) + "^" + esc(p.Given) + "^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
}

func prt(role, person, organisation, device, address string) string {
	f := make([]string, 15)
	f[1], f[3], f[4], f[7], f[9] = "UC", role+"^participation", person, organisation, device
	if address != "" {
		f[14] = "^^X.400^" + esc(address)
	}
	return strings.TrimRight(fields("PRT", f...), "|")
}

// bytes joins the segments, with the separators and the charset asked for.
func (o MessageOptions) bytes(segments []string) []byte {
	if o.Edit != nil {
		segments = o.Edit(segments)
	}
	text := strings.Join(segments, "\r") + "\r"
	if o.Separators != `|^~\&` {
		var pairs []string
		to := []rune(o.Separators)
		for i, from := range []rune(`|^~\&`) {
			if i < len(to) {
				pairs = append(pairs, string(from), string(to[i]))
			}
		}
		text = strings.NewReplacer(pairs...).Replace(text)
	}
	if o.Charset == Latin9 {
		// What Latin-9 lacks becomes SUB: a test wants bytes, not an error.
		out, _ := encoding.ReplaceUnsupported(charmap.ISO8859_15.NewEncoder()).Bytes([]byte(text))
		return out
	}
	return []byte(text)
}

func fields(name string, f ...string) string { return name + "|" + strings.Join(f, "|") }

func ce(c Code) string { return c.Code + "^" + esc(c.Display) + "^" + c.System }

// ei codes a document identifier as TXA-12: the root alone, or extension, then
// root and ISO.
func ei(id string) string {
	root, extension, ok := strings.Cut(id, "^")
	if !ok {
		return root
	}
	return extension + "^^" + root + "^ISO"
}

// esc protects the separators of HL7.
func esc(s string) string {
	return strings.NewReplacer(`\`, `\E\`, "|", `\F\`, "^", `\S\`, "~", `\R\`, "&", `\T\`, "\r", " ", "\n", " ").Replace(s)
}
