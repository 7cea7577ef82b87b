package hl7v2_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
)

func TestReadMDM(t *testing.T) {
	in, _ := hl7v2.Read(mdm().bytes(), hl7v2.Options{})
	if len(in.Refusals) > 0 || len(in.Warnings) > 0 {
		t.Fatal(codes(in.Refusals), in.Warnings)
	}
	want := gateway.Inbound{
		Door: "hl7",
		From: gateway.Party{Application: "DPI-EX", Facility: "CH-EX"},
		Message: gateway.Message{Type: "MDM^T02", ControlID: "M0001", Version: "2.6",
			Profile: "2.1^CISIS_CDA_HL7_V2", Processing: "T", Charset: "UNICODE UTF-8",
			To: gateway.Party{Application: "PFI-EX", Facility: "CH-EX"}},
		Raw:    mdm().bytes(),
		Action: dmp.New,
		Patient: ins.Identity{Matricule: matricule, OID: testOID, Status: ins.Qualified,
			Traits: ins.Traits{BirthName: "TESTEUR", FirstGiven: "ZOÉ", GivenNames: "ZOÉ MARIE",
				BirthDate: "1985-07-14", Sex: "F", BirthPlace: "63220"},
			Local: []ins.LocalID{{Value: "900001", Authority: "990000001"}}},
		Visit: gateway.Visit{Class: "I", Number: "VEN77", FileNumber: "DOS77", Admitted: "20260105080000"},
		Flags: gateway.Flags{ToDMP: true, ToProfessionals: true, ToPatient: true, PatientMayNotReply: true, WantReception: true},
		Documents: []gateway.InboundDocument{{Where: "OBX^1^5", Content: []byte(document),
			Type: dmp.Code{Code: "11502-2", Display: "CR d'examens biologiques", System: "2.16.840.1.113883.6.1"},
			ID:   &dmp.ID{Root: "1.2.250.1.999.1.42"}}},
		Requester: &dmp.Requester{
			Person:       &dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "810000000002"}, Family: "NOEL", Given: "PAUL"},
			Organisation: dmp.Organisation{ID: dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1990000001"}, Name: "CH EXEMPLE"}},
		Recipients: []gateway.Recipient{
			{Kind: "professional", Address: "lea.morel@exemple.mssante.fr",
				Person: &dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "810000000001"}, Family: "MOREL", Given: "LEA"}},
			{Kind: "patient", Address: matricule + "@patient.mssante.fr",
				Person: &dmp.Person{ID: dmp.ID{Root: testOID, Extension: matricule}, Family: "TESTEUR", Given: "ZOÉ"}}},
		ReplyTo: "secretariat@exemple.mssante.fr",
		BodyPro: []byte("Cher confrère"),
	}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
}

// TestRefusals makes one thing wrong at a time. The first refusal is the one
// that the sender sees first.
func TestRefusals(t *testing.T) {
	doc := `OBX|1|ED|11502-2^CR d'examens biologiques^LN||^text^XML^Base64^` + b64(document) + `||||||F`
	rct := func(address string) string {
		return `PRT||UC||RCT^^participation|810000000001^MOREL^LEA^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS||||||||||^^X.400^` + address
	}
	cases := map[string]struct {
		m    message
		want []string
		opt  hl7v2.Options
	}{
		"ok/mdm":                         {m: mdm()},
		"ok/oru":                         {m: oru()},
		"ok/adt":                         {m: adt()},
		"ok/blank before the profile":    {m: mdm().field("MSH", 21, "2.1^ CISIS_CDA_HL7_V2")},
		"ok/second repetition of MSH-21": {m: mdm().field("MSH", 21, "9^OTHER~2.1^CISIS_CDA_HL7_V2")},
		"ok/no structure in MSH-9":       {m: mdm().field("MSH", 9, "MDM^T02")},
		"ok/unknown segments":            {m: mdm().after("PID", "ZZZ|1").after("ORC", "CON|x").after("PRT", "ZPR|y")},
		"ok/timing":                      {m: mdm().after("ORC", "TQ1|1").after("TQ1", "TQ2|1")},
		"ok/note of the request":         {m: mdm().after("OBR", "NTE|1|||FIN")},
		"ok/lunar birth date":            {m: mdm().field("PID", 7, "19500000")},
		"ok/trailing separators":         {m: mdm().sub("||||||F", "||||||F|").sub("MARIE^^^^L", "MARIE^^^^L^^^^")},
		"ok/replace": {m: mdm().field("MSH", 9, "MDM^T10^MDM_T02").field("ORC", 1, "RO").field("OBX", 11, "C").
			field("TXA", 13, "1.2.250.1.999.1.41")},
		"ok/delete":               {m: mdm().field("MSH", 9, "MDM^T04^MDM_T02").field("ORC", 1, "CA").field("OBX", 11, "D")},
		"ok/two documents in ORU": {m: oru().after("PRT||UC||REPLY", strings.Replace(doc, "OBX|1", "OBX|2", 1))},
		"ok/profile opened":       {m: mdm().field("MSH", 21, "2.0^CISIS_CDA_HL7_V2"), opt: hl7v2.Options{Profiles: []string{"2.0^CISIS_CDA_HL7_V2"}}},
		"ok/masked, by setting":   {m: mdm().flag("MASQUE_PS", "Y"), opt: hl7v2.Options{MaskedToPro: true}},
		"ok/strict, row 1":        {m: mdm().flag("CONNEXION_SECRETE", "Y"), opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}},
		"ok/strict, row 2": {m: mdm().flag("INVISIBLE_PATIENT", "Y").flag("DESTMSSANTEPAT", "N"),
			opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}},
		"ok/strict, row 3": {m: mdm().flag("MASQUE_PS", "Y").flag("INVISIBLE_REP_LEGAUX", "Y").flag("DESTDMP", "N").flag("DESTMSSANTEPS", "N"),
			opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}},
		"ok/strict, DMP alone": {m: mdm().flag("DESTMSSANTEPS", "N").flag("DESTMSSANTEPAT", "N"),
			opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}},

		"fail/empty":                {m: message{""}, want: []string{"HL7-NO-MSH@MSH"}},
		"fail/no MSH":               {m: mdm()[1:], want: []string{"HL7-NO-MSH@MSH"}},
		"fail/tilde U+02DC":         {m: mdm().sub(`^~\&|`, `^˜\&|`), want: []string{"HL7-SEPARATORS@MSH^1^2"}},
		"fail/field separator":      {m: mdm().sub(`|`, `#`), want: []string{"HL7-SEPARATORS@MSH^1^2"}},
		"fail/truncation character": {m: mdm().sub(`^~\&|`, `^~\&#|`), want: []string{"HL7-SEPARATORS@MSH^1^2"}},
		"fail/separators before profile": {m: mdm().sub(`^~\&|`, `^~\|`).field("MSH", 21, "x"),
			want: []string{"HL7-SEPARATORS@MSH^1^2"}},
		"fail/profile 2.0":     {m: mdm().field("MSH", 21, "2.0^CISIS_CDA_HL7_V2"), want: []string{"HL7-PROFILE@MSH^1^21"}},
		"fail/no profile":      {m: mdm().field("MSH", 21, ""), want: []string{"HL7-PROFILE@MSH^1^21"}},
		"fail/other direction": {m: mdm().field("MSH", 21, "1.1^CISIS_CDA_HL7_LPS"), want: []string{"HL7-PROFILE@MSH^1^21"}},
		"fail/profile before version and type": {m: mdm().field("MSH", 21, "x").field("MSH", 12, "2.3").field("MSH", 9, "QRY^A19"),
			want: []string{"HL7-PROFILE@MSH^1^21"}},
		"fail/type":                  {m: mdm().field("MSH", 9, "OUL^R22^OUL_R22"), want: []string{"HL7-TYPE@MSH^1^9"}},
		"fail/structure":             {m: mdm().field("MSH", 9, "MDM^T02^MDM_T01"), want: []string{"HL7-TYPE@MSH^1^9"}},
		"fail/no type":               {m: mdm().field("MSH", 9, ""), want: []string{"HL7-FIELD-MISSING@MSH^1^9"}},
		"fail/ADT under the volet":   {m: adt().field("MSH", 21, "2.1^CISIS_CDA_HL7_V2"), want: []string{"HL7-TYPE@MSH^1^9"}},
		"fail/ORU under PAM":         {m: oru().field("MSH", 21, "2.11^IHE_FRANCE-2.11-PAM"), want: []string{"HL7-TYPE@MSH^1^9"}},
		"fail/event T11":             {m: mdm().field("MSH", 9, "MDM^T11^MDM_T02"), want: []string{"HL7-EVENT@MSH^1^9"}},
		"fail/version":               {m: mdm().field("MSH", 12, "2.5"), want: []string{"HL7-VERSION@MSH^1^12"}},
		"fail/version of ORU":        {m: oru().field("MSH", 12, "2.6"), want: []string{"HL7-VERSION@MSH^1^12"}},
		"fail/processing":            {m: mdm().field("MSH", 11, "X"), want: []string{"HL7-PROCESSING@MSH^1^11"}},
		"fail/MSH-7 no time":         {m: mdm().field("MSH", 7, "hier"), want: []string{"HL7-FIELD-TYPE@MSH^1^7"}},
		"fail/long control id":       {m: mdm().field("MSH", 10, strings.Repeat("x", 200)), want: []string{"HL7-FIELD-TYPE@MSH^1^10"}},
		"fail/MSH-3, MSH-10, MSH-17": {m: mdm().field("MSH", 3, "").field("MSH", 10, "").field("MSH", 17, ""), want: []string{"HL7-FIELD-MISSING@MSH^1^3", "HL7-FIELD-MISSING@MSH^1^10", "HL7-FIELD-MISSING@MSH^1^17"}},
		"fail/unknown charset":       {m: mdm().field("MSH", 18, "EBCDIC"), want: []string{"HL7-CHARSET@MSH^1^18"}},
		"fail/latin bytes as UTF-8":  {m: mdm().sub("É", "\xC9"), want: []string{"HL7-CHARSET@MSH^1^18"}},
		"fail/Windows-1252 as 8859":  {m: mdm().field("MSH", 18, "8859/15").sub("'", "\x92"), want: []string{"HL7-CHARSET@MSH^1^18"}},
		"fail/ASCII with accents":    {m: mdm().field("MSH", 18, "ASCII"), want: []string{"HL7-CHARSET@MSH^1^18"}},

		"fail/line that is no segment": {m: mdm().after("PID", "suite de l'adresse"), want: []string{"HL7-SEGMENT-MALFORMED@"}},
		"fail/no EVN":                  {m: mdm().drop("EVN"), want: []string{"HL7-SEGMENT-MISSING@EVN^1"}},
		"fail/no PID":                  {m: mdm().drop("PID"), want: []string{"HL7-SEGMENT-MISSING@PID^1"}},
		"fail/no PV1":                  {m: mdm().drop("PV1"), want: []string{"HL7-SEGMENT-MISSING@PV1^1"}},
		"fail/no ORC":                  {m: mdm().drop("ORC"), want: []string{"HL7-SEGMENT-MISSING@ORC^1"}},
		"fail/no ORC in ORU":           {m: oru().drop("ORC"), want: []string{"HL7-SEGMENT-MISSING@ORC^1"}},
		"fail/no OBR":                  {m: oru().drop("OBR"), want: []string{"HL7-SEGMENT-MISSING@OBR^1"}},
		"fail/no ORC, no OBR":          {m: mdm().drop("ORC").drop("OBR"), want: []string{"HL7-SEGMENT-MISSING@ORC^1"}},
		"fail/no TXA":                  {m: mdm().drop("TXA"), want: []string{"HL7-SEGMENT-MISSING@TXA^1"}},
		"fail/no OBX":                  {m: mdm().drop("OBX").drop("PRT").drop("NTE"), want: []string{"HL7-SEGMENT-MISSING@OBX^1"}},
		"fail/two PID":                 {m: mdm().after("PID", mdm()[2]), want: []string{"HL7-SEGMENT-ORDER@PID^2"}},
		"fail/two orders":              {m: append(oru(), "ORC|NW", "OBR|2|||11502-2^x^LN"), want: []string{"HL7-SEGMENT-ORDER@ORC^2"}},
		"fail/PV1 before PID":          {m: mdm().drop("PV1").after("EVN", "PV1|1|N"), want: []string{"HL7-SEGMENT-ORDER@PV1^1"}},
		"fail/NTE before PRT":          {m: mdm().after("OBX|1|", "NTE|1|||x"), want: []string{"HL7-SEGMENT-ORDER@PRT^1"}},
		"fail/no PID in ADT":           {m: adt().drop("PID"), want: []string{"HL7-SEGMENT-MISSING@PID^1"}},

		"fail/no PID-3":               {m: mdm().field("PID", 3, "").flag("DESTMSSANTEPAT", "N"), want: []string{"HL7-FIELD-MISSING@PID^1^3"}},
		"fail/no name":                {m: mdm().field("PID", 5, ""), want: []string{"HL7-FIELD-MISSING@PID^1^5"}},
		"fail/no birth name":          {m: mdm().field("PID", 5, "^ZOE^^^^^L"), want: []string{"HL7-FIELD-MISSING@PID^1^5"}},
		"fail/only a used name":       {m: mdm().field("PID", 5, "X^ZOE^^^^^D"), want: []string{"HL7-FIELD-MISSING@PID^1^5"}},
		"fail/two INS":                {m: mdm().field("PID", 3, matricule+"^^^&"+testOID+"&ISO^INS~279035121518989^^^&"+testOID+"&ISO^INS"), want: []string{"HL7-FIELD-REPEATED@PID^1^3"}},
		"fail/birth date":             {m: mdm().field("PID", 7, "14/07/1985"), want: []string{"HL7-FIELD-TYPE@PID^1^7"}},
		"fail/month 13":               {m: mdm().field("PID", 7, "19851301"), want: []string{"HL7-FIELD-TYPE@PID^1^7"}},
		"fail/year alone":             {m: mdm().field("PID", 7, "1985"), want: []string{"HL7-FIELD-TYPE@PID^1^7"}},
		"fail/sex":                    {m: mdm().field("PID", 8, "Féminin"), want: []string{"HL7-FIELD-VALUE@PID^1^8"}},
		"fail/visit class":            {m: mdm().field("PV1", 2, "Z"), want: []string{"HL7-FIELD-VALUE@PV1^1^2"}},
		"fail/no visit class":         {m: mdm().field("PV1", 2, ""), want: []string{"HL7-FIELD-MISSING@PV1^1^2"}},
		"fail/no visit number":        {m: mdm().field("PV1", 19, ""), want: []string{"HL7-FIELD-MISSING@PV1^1^19"}},
		"ok/no visit number, class N": {m: mdm().field("PV1", 19, "").field("PV1", 2, "N")},
		"fail/admission":              {m: mdm().field("PV1", 44, "lundi"), want: []string{"HL7-FIELD-TYPE@PV1^1^44"}},
		"fail/ORC-1 of older version": {m: oru().field("ORC", 1, "SC"), want: []string{"HL7-FIELD-VALUE@ORC^1^1"}},
		"fail/no ORC-1":               {m: oru().field("ORC", 1, ""), want: []string{"HL7-FIELD-MISSING@ORC^1^1"}},
		"fail/ORC-1 against event":    {m: mdm().field("ORC", 1, "RO"), want: []string{"HL7-ACTION@ORC^1^1"}},
		"fail/OBX-11 against event":   {m: mdm().field("OBX", 11, "C"), want: []string{"HL7-ACTION@ORC^1^1"}},
		"fail/OBX-11 against ORC":     {m: oru().field("OBX", 11, "D"), want: []string{"HL7-ACTION@ORC^1^1"}},
		"fail/no OBX-11":              {m: mdm().field("OBX", 11, ""), want: []string{"HL7-FIELD-MISSING@OBX^1^11"}},
		"fail/OBX-11 preliminary":     {m: mdm().field("OBX", 11, "P"), want: []string{"HL7-FIELD-VALUE@OBX^1^11"}},
		"fail/two documents, two actions": {m: oru().after("PRT||UC||REPLY", strings.Replace(strings.Replace(doc, "OBX|1", "OBX|2", 1), "|F", "|C", 1)),
			want: []string{"HL7-ACTION@ORC^1^1"}},
		"fail/no OBR-4":                {m: mdm().field("OBR", 4, ""), want: []string{"HL7-FIELD-MISSING@OBR^1^4"}},
		"fail/OBX-3 is not OBR-4":      {m: mdm().field("OBR", 4, "18748-4^x^LN"), want: []string{"HL7-TYPE-CODE@OBX^1^3"}},
		"fail/OBX-3 of another system": {m: mdm().field("OBR", 4, "11502-2^x^TRE_A05"), want: []string{"HL7-TYPE-CODE@OBX^1^3"}},
		"fail/TXA-2 is not OBX-3":      {m: mdm().field("TXA", 2, "18748-4"), want: []string{"HL7-TYPE-CODE@TXA^1^2"}},
		"fail/TXA-17 of 2.0":           {m: mdm().field("TXA", 17, "LA"), want: []string{"HL7-FIELD-VALUE@TXA^1^17"}},
		"fail/no TXA-12":               {m: mdm().field("TXA", 12, ""), want: []string{"HL7-FIELD-MISSING@TXA^1^12"}},
		"fail/replace without TXA-13": {m: mdm().field("MSH", 9, "MDM^T10^MDM_T02").field("ORC", 1, "RO").field("OBX", 11, "C"),
			want: []string{"HL7-FIELD-MISSING@TXA^1^13"}},
		"fail/two documents in MDM":   {m: mdm().after("PRT||UC||REPLY", doc), want: []string{"HL7-DOCUMENTS@OBX^2"}},
		"fail/three documents in ORU": {m: oru().after("PRT||UC||REPLY", doc).after("PRT||UC||REPLY", doc), want: []string{"HL7-DOCUMENTS@OBX^3"}},
		"fail/no document":            {m: mdm().drop("OBX|1|").drop("PRT").flag("DESTDMP", "N").flag("DESTMSSANTEPS", "N").flag("DESTMSSANTEPAT", "N"), want: []string{"HL7-DOCUMENT-MISSING@OBX"}},
		"fail/PDF":                    {m: mdm().field("OBX", 5, "^AP^PDF^Base64^"+b64("%PDF")), want: []string{"HL7-FORMAT@OBX^1^5"}},
		"fail/hexadecimal":            {m: mdm().field("OBX", 5, "^TEXT^XML^Hex^3C"), want: []string{"HL7-FORMAT@OBX^1^5"}},
		"fail/base64":                 {m: mdm().field("OBX", 5, "^TEXT^XML^Base64^PD9éé"), want: []string{"HL7-BASE64@OBX^1^5"}},
		"fail/base64 4n+1":            {m: mdm().field("OBX", 5, "^TEXT^XML^Base64^PD94b"), want: []string{"HL7-BASE64@OBX^1^5"}},
		"fail/base64 padding inside":  {m: mdm().field("OBX", 5, "^TEXT^XML^Base64^PD9=PD94"), want: []string{"HL7-BASE64@OBX^1^5"}},
		"fail/only padding":           {m: mdm().field("OBX", 5, "^TEXT^XML^Base64^=="), want: []string{"HL7-BASE64@OBX^1^5"}},
		"fail/no data":                {m: mdm().field("OBX", 5, "^TEXT^XML^Base64^ "), want: []string{"HL7-FIELD-MISSING@OBX^1^5"}},

		"fail/flag missing":      {m: mdm().drop("OBX|7|"), want: []string{"HL7-FLAG-MISSING@OBX"}},
		"fail/flag repeated":     {m: mdm().after("OBX|7|", flagOBX("8", "CWE", "DESTDMP", "N")), want: []string{"HL7-FLAG-REPEATED@OBX^8^3"}},
		"fail/flag value":        {m: mdm().flag("DESTDMP", "O"), want: []string{"HL7-FLAG-VALUE@OBX^7^5"}},
		"fail/flag empty":        {m: mdm().flag("DESTDMP", ""), want: []string{"HL7-FLAG-VALUE@OBX^7^5"}},
		"fail/all flags missing": {m: mdm().drop("OBX|2").drop("OBX|3").drop("OBX|4").drop("OBX|5").drop("OBX|6").drop("OBX|7").drop("OBX|8").drop("OBX|9").drop("NTE"), want: slices.Repeat([]string{"HL7-FLAG-MISSING@OBX"}, 8)},
		"fail/misspelt flag":     {m: mdm().sub("INVISIBLE_REP_LEGAUX", "INVISIBLE_REPRENSANTS_LEGAUX"), want: []string{"HL7-FLAG-MISSING@OBX"}},

		"fail/invisible to the patient":    {m: mdm().flag("INVISIBLE_PATIENT", "Y"), want: []string{"HL7-HIDDEN-FROM-PATIENT@OBX"}},
		"fail/masked":                      {m: mdm().flag("MASQUE_PS", "Y"), want: []string{"HL7-MASKED-TO-PRO@OBX"}},
		"ok/masked, patient only":          {m: mdm().flag("MASQUE_PS", "Y").flag("DESTMSSANTEPS", "N")},
		"ok/professional only, visible":    {m: mdm().flag("DESTMSSANTEPAT", "N")},
		"fail/strict, professional only":   {m: mdm().flag("DESTMSSANTEPAT", "N"), opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}, want: []string{"HL7-FLAGS-MATRIX@OBX"}},
		"fail/strict, patient and DMP":     {m: mdm().flag("DESTMSSANTEPS", "N"), opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}, want: []string{"HL7-FLAGS-MATRIX@OBX"}},
		"fail/strict, hidden to relatives": {m: mdm().flag("INVISIBLE_REP_LEGAUX", "Y"), opt: hl7v2.Options{Matrix: hl7v2.MatrixStrict}, want: []string{"HL7-FLAGS-MATRIX@OBX"}},

		"fail/DMP without sender":        {m: mdm().drop("PRT||UC||SB"), want: []string{"GW-NO-SENDER@PRT"}},
		"fail/DMP without FINESS":        {m: mdm().field("PRT", 8, "CH EXEMPLE"), want: []string{"GW-NO-SENDER@PRT"}},
		"fail/DMP without person":        {m: mdm().field("PRT", 5, ""), want: []string{"GW-NO-SENDER@PRT"}},
		"ok/no DMP, no sender":           {m: mdm().drop("PRT||UC||SB").flag("DESTDMP", "N")},
		"ok/sender is a device":          {m: mdm().field("PRT", 5, "").field("PRT", 10, "DEV1^^1.2.3^ISO")},
		"fail/two senders":               {m: mdm().after("PRT||UC||SB", mdm()[8]), want: []string{"HL7-FIELD-REPEATED@PRT^2^4"}},
		"fail/two replies":               {m: mdm().after("PRT||UC||REPLY", mdm()[11]), want: []string{"HL7-FIELD-REPEATED@PRT^5^4"}},
		"fail/reply to nobody":           {m: mdm().sub("secretariat@exemple.mssante.fr", "secretariat"), want: []string{"HL7-ADDRESS@PRT^4^15"}},
		"fail/no professional":           {m: mdm().drop("PRT||UC||RCT^Result Copies To^participation|8"), want: []string{"HL7-RECIPIENT-MISSING@PRT"}},
		"fail/no patient recipient":      {m: mdm().drop("PRT||UC||RCT^Result Copies To^participation|2"), want: []string{"HL7-RECIPIENT-MISSING@PRT"}},
		"fail/no address":                {m: mdm().sub("lea.morel@exemple.mssante.fr", ""), want: []string{"HL7-FIELD-MISSING@PRT^2^15"}},
		"fail/two addresses":             {m: mdm().sub("lea.morel@", "a@b.fr,lea.morel@"), want: []string{"HL7-ADDRESS@PRT^2^15"}},
		"fail/header injection":          {m: mdm().sub("lea.morel@exemple", `lea@exemple\X0D0A\Bcc`), want: []string{"HL7-ADDRESS@PRT^2^15"}},
		"fail/other patient's mailbox":   {m: mdm().sub(matricule+"@", "279035121518989@"), want: []string{"HL7-RECIPIENT-PATIENT@PRT^3^15"}},
		"fail/one digit too many":        {m: mdm().sub(matricule+"@", matricule+"0@"), want: []string{"HL7-RECIPIENT-PATIENT@PRT^3^15"}},
		"fail/other patient's matricule": {m: mdm().sub("|"+matricule+"^TESTEUR", "|279035121518989^TESTEUR"), want: []string{"HL7-RECIPIENT-PATIENT@PRT^3^15"}},
		"fail/too many recipients":       {m: many(mdm(), rct("a@b.fr"), 200), want: []string{"HL7-TOO-MANY-RECIPIENTS@PRT^202^4"}},
		"fail/cut body, strict":          {m: mdm().sub(b64("Cher confrère"), "Q2hlc"), opt: hl7v2.Options{StrictBodies: true}, want: []string{"HL7-BODY-BASE64@OBX^12^5"}},

		// Found by the audit of issue 2, 2026-11-22: all of these were AA, or told of
		// a place where nothing was wrong.
		"ok/notes that the volet does not have": {m: mdm().after("PID", "NTE|1||note").after("PV1", "NTE|1||note").after("ORC", "NTE|1||note").after("TXA", "NTE|1||note")},
		"fail/two documents in one OBX":         {m: mdm().sub(b64(document), b64(document)+"~^text^XML^Base64^"+b64(document)), want: []string{"HL7-FIELD-REPEATED@OBX^1^5"}},
		"fail/two bodies in one OBX":            {m: mdm().sub(b64("Cher confrère"), b64("Cher")+"~^text^^Base64^"+b64("confrère")), want: []string{"HL7-FIELD-REPEATED@OBX^12^5"}},
		"fail/flag that says both":              {m: mdm().flag("MASQUE_PS", "N~Y"), want: []string{"HL7-FLAG-VALUE@OBX^2^5"}},
		"fail/document that is not ED":          {m: mdm().sub("OBX|1|ED", "OBX|1|TX"), want: []string{"HL7-FIELD-VALUE@OBX^1^2"}},
		"fail/document in the fourth component": {m: mdm().sub("^XML^Base64^", "^XML^"), want: []string{"HL7-FORMAT@OBX^1^5"}},
		"fail/recipient to be withdrawn":        {m: mdm().sub("PRT||UC||RCT^Result Copies To^participation|8", "PRT||DC||RCT^Result Copies To^participation|8"), want: []string{"HL7-FIELD-VALUE@PRT^2^2"}},
		"ok/telephone before the address":       {m: mdm().sub("^^X.400^lea.morel@", "^PRN^PH^0102030405~^NET^X.400^lea.morel@")},
		"ok/telephone after the address":        {m: mdm().sub("lea.morel@exemple.mssante.fr", "lea.morel@exemple.mssante.fr~^PRN^PH^^33^1")},
		"fail/two addresses of a recipient":     {m: mdm().sub("^^X.400^lea.morel@", "^^X.400^a@b.fr~^^X.400^lea.morel@"), want: []string{"HL7-FIELD-REPEATED@PRT^2^15"}},
		"fail/two addresses to reply to":        {m: mdm().sub("^^X.400^secretariat@", "^^X.400^a@b.fr~^^X.400^secretariat@"), want: []string{"HL7-FIELD-REPEATED@PRT^4^15"}},
		"fail/address in the first component":   {m: mdm().sub("^^X.400^lea.morel@", "lea.morel@"), want: []string{"HL7-ADDRESS@PRT^2^15"}},

		"fail/all at once, in order": {m: mdm().field("MSH", 11, "X").drop("EVN").field("PID", 8, "X").flag("DESTDMP", "X"),
			want: []string{"HL7-PROCESSING@MSH^1^11", "HL7-SEGMENT-MISSING@EVN^1", "HL7-FIELD-VALUE@PID^1^8", "HL7-FLAG-VALUE@OBX^7^5"}},
		"fail/unknown sender": {m: mdm().field("PID", 8, "X"), want: []string{"HL7-SENDER@MSH^1^3"},
			opt: hl7v2.Options{Sender: func(gateway.Party) (gateway.Establishment, bool) { return gateway.Establishment{}, false }}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(c.m.bytes(), c.opt)
			if got := codes(in.Refusals); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// many puts n copies of a segment after the first PRT RCT.
func many(m message, segment string, n int) message {
	for range n {
		m = m.after("PRT||UC||RCT", segment)
	}
	return m
}

func TestWarnings(t *testing.T) {
	cases := map[string]struct {
		m    message
		want []string
	}{
		"ok/nothing":               {m: mdm()},
		"ok/acknowledgements":      {m: mdm().drop("OBX|10|").drop("OBX|11|"), want: []string{"HL7-FLAG-DEFAULT", "HL7-FLAG-DEFAULT"}},
		"ok/synonym":               {m: mdm().sub("ACK_LECTURE_MSS", "ACK_LECTURE")},
		"ok/older order":           {m: mdm().drop("OBX|12|").after("NTE", mdm()[len(mdm())-1]), want: []string{"HL7-FLAG-ORDER"}},
		"ok/unknown flag":          {m: append(mdm(), flagOBX("13", "CWE", "COMP_LOT", "Y")), want: []string{"HL7-FLAG-UNKNOWN"}},
		"ok/cut body":              {m: mdm().sub(b64("Cher confrère"), b64("Cher confrère")[:17]), want: []string{"HL7-BODY-BASE64"}},
		"ok/no destination":        {m: mdm().flag("DESTDMP", "N").flag("DESTMSSANTEPS", "N").flag("DESTMSSANTEPAT", "N"), want: []string{"HL7-RECIPIENT-UNUSED", "HL7-RECIPIENT-UNUSED"}},
		"ok/patient not asked":     {m: mdm().flag("DESTMSSANTEPAT", "N"), want: []string{"HL7-RECIPIENT-UNUSED"}},
		"ok/ORU without visit":     {m: oru().drop("PV1"), want: []string{"HL7-VISIT-MISSING"}},
		"ok/matricule alone":       {m: mdm().sub("ASIP-SANTE-INS-NIR&"+testOID+"&ISO", ""), want: []string{"HL7-MATRICULE-ALONE"}},
		"ok/NTE-4 that is not FIN": {m: mdm().sub("NTE|1|||FIN", "NTE|1|||FINI"), want: []string{"HL7-FIELD-VALUE"}},
		"ok/UTF-8 labelled as ISO": {m: mdm().field("MSH", 18, "8859/15").sub("É", "é"), want: []string{"HL7-CHARSET-SUSPECT"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(c.m.bytes(), hl7v2.Options{})
			if len(in.Refusals) > 0 {
				t.Error("refused:", codes(in.Refusals))
			}
			if got := notes(in.Warnings); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestPatientMayNotReply: FIN in small letters, or after another kind of comment,
// let the patient reply without a word (found by the audit of issue 2, 2026-11-22).
func TestPatientMayNotReply(t *testing.T) {
	for name, c := range map[string]struct {
		note string
		want bool
	}{
		"ok/as the volet writes it": {"NTE|1|||FIN", true},
		"ok/small letters":          {"NTE|1|||fin", true},
		"ok/with its text":          {"NTE|1|||FIN^Fin^L", true},
		"ok/second repetition":      {"NTE|1|||RE~FIN", true},
		"ok/second note":            {"NTE|1||Bonjour\rNTE|2|||FIN", true},
		"fail/in the comment":       {"NTE|1||FIN", false},
		"fail/something else":       {"NTE|1|||FINI", false},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(mdm().sub("NTE|1|||FIN", c.note).bytes(), hl7v2.Options{})
			if len(in.Refusals) > 0 || in.Flags.PatientMayNotReply != c.want {
				t.Errorf("%v %v", in.Flags.PatientMayNotReply, codes(in.Refusals))
			}
		})
	}
}

// TestRefusalHasItsEstablishment: who sent a profile that the port does not take
// could not find the refusal among its own (found by the audit of issue 2,
// 2026-11-22).
func TestRefusalHasItsEstablishment(t *testing.T) {
	house := gateway.Establishment{FINESSGeo: "990000019"}
	opt := hl7v2.Options{Sender: func(p gateway.Party) (gateway.Establishment, bool) { return house, p.Application == "DPI-EX" }}
	for name, m := range map[string]message{
		"fail/profile": mdm().field("MSH", 21, "2.0^CISIS_CDA_HL7_V2"),
		"fail/type":    mdm().field("MSH", 9, "OUL^R22^OUL_R22"),
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(m.bytes(), opt)
			if len(in.Refusals) != 1 || in.Establishment != house {
				t.Errorf("%v %+v", codes(in.Refusals), in.Establishment)
			}
		})
	}
}

func TestIdentifiers(t *testing.T) {
	cx := func(value, authority, kind string) string { return value + "^^^" + authority + "^" + kind }
	nir, nia := "x&"+string(ins.OIDNIR)+"&ISO", "x&"+string(ins.OIDNIA)+"&ISO"
	cases := map[string]struct {
		pid3, pid32, matricule, oid string
		status                      ins.Status
		attributes                  []string
		local                       int
	}{
		"ok/INS first":         {cx("1", nir, "INS") + "~" + cx("9", "CH&1.2&ISO", "PI"), "VALI", "1", string(ins.OIDNIR), ins.Qualified, nil, 1},
		"ok/INS last":          {cx("9", "CH", "PI") + "~" + cx("1", nir, "INS"), "VALI", "1", string(ins.OIDNIR), ins.Qualified, nil, 1},
		"ok/NIR before NIA":    {cx("2", nia, "INS") + "~" + cx("1", nir, "INS"), "VALI", "1", string(ins.OIDNIR), ins.Qualified, nil, 0},
		"ok/NIA after NIR":     {cx("1", nir, "INS") + "~" + cx("2", nia, "INS"), "VALI", "1", string(ins.OIDNIR), ins.Qualified, nil, 0},
		"ok/NIA alone":         {cx("2", nia, "INS"), "VALI", "2", string(ins.OIDNIA), ins.Qualified, nil, 0},
		"ok/same INS twice":    {cx("1", nir, "INS") + "~" + cx("1", nir, "INS"), "VALI", "1", string(ins.OIDNIR), ins.Qualified, nil, 0},
		"ok/provisional":       {cx("1", nir, "INS"), "PROV", "1", string(ins.OIDNIR), ins.Provisional, nil, 0},
		"ok/no status":         {cx("1", nir, "INS"), "", "1", string(ins.OIDNIR), ins.Provisional, nil, 0},
		"ok/doubtful":          {cx("1", nir, "INS"), "VALI~DOUT", "1", string(ins.OIDNIR), ins.Provisional, []string{"DOUT"}, 0},
		"ok/no INS":            {cx("9", "CH", "PI"), "VALI", "", "", ins.Validated, nil, 1},
		"ok/billing number":    {cx("1", nir, "NH"), "VALI", "", "", ins.Validated, nil, 0},
		"ok/deleted INS":       {cx(`""`, nir, "INS"), "VALI", "", "", ins.Validated, nil, 0},
		"ok/bare OID":          {cx("1", string(ins.OIDNIR), "INS"), "VALI", "1", string(ins.OIDNIR), ins.Qualified, nil, 0},
		"ok/retired authority": {cx("1", "x&1.2.250.1.213.1.4.2&ISO", "INS"), "VALI", "1", "1.2.250.1.213.1.4.2", ins.Qualified, nil, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(adt().field("PID", 3, c.pid3).field("PID", 32, c.pid32).bytes(), hl7v2.Options{})
			p := in.Patient
			if len(in.Refusals) > 0 || p.Matricule != c.matricule || string(p.OID) != c.oid || p.Status != c.status ||
				!slices.Equal(p.Attributes, c.attributes) || len(p.Local) != c.local {
				t.Errorf("%+v %v", p, codes(in.Refusals))
			}
		})
	}
}

func TestNamesOfPID(t *testing.T) {
	for name, c := range map[string]struct{ field, want string }{
		"ok/type L second":    {"USED^ZOE^^^^^D~BIRTH^ZOE^ZOE^^^^L", "BIRTH"},
		"ok/no type":          {"BIRTH^ZOE^ZOE", "BIRTH"},
		"ok/one caret more":   {"BIRTH^ZOE^ZOE^^^Mme^^L", "BIRTH"},
		"ok/own surname part": {"BIRTH&de&X^ZOE^ZOE^^^^L", "BIRTH"},
		"ok/escaped":          {`A\T\B\E\^ZOE^ZOE^^^^L`, `A&B\`},
		"ok/no-break space":   {"\u00a0BIRTH \u00a0^ZOE^ZOE^^^^L", "BIRTH"},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(adt().field("PID", 5, c.field).bytes(), hl7v2.Options{})
			if got := in.Patient.Traits.BirthName; got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestRecipients(t *testing.T) {
	prt := func(person, org, device string) string {
		return "PRT||UC||RCT^^participation|" + person + "|||" + org + "||" + device + "|||||^NET^X.400^boite@exemple.mssante.fr"
	}
	for name, c := range map[string]struct {
		segment, kind string
		person, org   dmp.ID
	}{
		"ok/professional":               {prt("810000000001^A^B^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS", "", ""), "professional", dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "810000000001"}, dmp.ID{}},
		"ok/bare RPPS":                  {prt("10000000001^A^B^^^^^^^D^^^RPPS", "", ""), "professional", dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "810000000001"}, dmp.ID{}},
		"ok/bare ADELI":                 {prt("750000001^A^B^^^^^^^D^^^ADELI", "", ""), "professional", dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "0750000001"}, dmp.ID{}},
		"ok/FINESS":                     {prt("", "CH^^^^^&1.2.250.1.71.4.2.2&ISO^FINEJ^^^990000001", ""), "organisation", dmp.ID{}, dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1990000001"}},
		"ok/FINESS with digit, trimmed": {prt("", "CH^^^^^&1.2.250.1.71.4.2.2&ISO^FINEG^^^1990000001 \u00a0", ""), "organisation", dmp.ID{}, dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1990000001"}},
		"ok/unit":                       {prt("", "Cardiologie^^^^^&990000001&N^UF^^^4210", ""), "organisation", dmp.ID{}, dmp.ID{Root: "990000001", Extension: "4210"}},
		"ok/IDNST":                      {prt("", "Cabinet^^^^^^IDNST^^^499700000001", ""), "organisation", dmp.ID{}, dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "499700000001"}},
		"ok/device":                     {prt("", "", "APP-1"), "device", dmp.ID{}, dmp.ID{}},
		"ok/bare address":               {prt("", "", ""), "organisation", dmp.ID{}, dmp.ID{}},
		"ok/patient by type":            {prt(matricule+"^A^B^^^^^^^L^^^INS", "", ""), "patient", dmp.ID{Extension: matricule}, dmp.ID{}},
		"ok/patient by bare OID":        {prt(matricule+"^A^B^^^^^^"+testOID+"^L^^^", "", ""), "patient", dmp.ID{Root: testOID, Extension: matricule}, dmp.ID{}},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(mdm().after("PRT||UC||SB", c.segment).bytes(), hl7v2.Options{})
			if len(in.Refusals) > 0 || len(in.Recipients) != 3 {
				t.Fatal(codes(in.Refusals), in.Recipients)
			}
			r := in.Recipients[0]
			var person dmp.ID
			if r.Person != nil {
				person = r.Person.ID
			}
			if r.Kind != c.kind || person != c.person || r.Org.ID != c.org || r.Address != "boite@exemple.mssante.fr" {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestDocuments(t *testing.T) {
	plain := b64(document)
	inLines := func(end string) string {
		var parts []string
		for b := range slices.Chunk([]byte(plain), 20) {
			parts = append(parts, string(b))
		}
		return strings.Join(parts, end)
	}
	for name, data := range map[string]string{
		"ok/padded":           plain,
		"ok/unpadded":         strings.TrimRight(plain, "="),
		"ok/lines of LF":      inLines("\n"),
		"ok/lines of CRLF":    inLines("\r\n"),
		"ok/escaped breaks":   inLines(`\.br\`),
		"ok/escaped CRLF":     inLines(`\X0D0A\`),
		"ok/blanks":           inLines(" "),
		"ok/break before pad": strings.TrimRight(plain, "=") + "\n" + strings.Repeat("=", 2),
		"ok/trailing blanks":  plain + "  ",
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(mdm().sub(plain, data).bytes(), hl7v2.Options{})
			if len(in.Refusals) > 0 || len(in.Documents) != 1 || string(in.Documents[0].Content) != document {
				t.Fatal(codes(in.Refusals), in.Documents)
			}
			if !in.Flags.ToDMP || in.ReplyTo == "" {
				t.Error("what follows the document was lost")
			}
		})
	}
}

func TestEntityIDs(t *testing.T) {
	replace := mdm().field("MSH", 9, "MDM^T10^MDM_T02").field("ORC", 1, "RO").field("OBX", 11, "C")
	in, _ := hl7v2.Read(replace.field("TXA", 12, "EXT1^Organisation-Y^1.2.3^ISO").field("TXA", 13, "1.2.4^Organisation-Y").bytes(), hl7v2.Options{})
	if len(in.Refusals) > 0 {
		t.Fatal(codes(in.Refusals))
	}
	d := in.Documents[0]
	if *d.ID != (dmp.ID{Root: "1.2.3", Extension: "EXT1"}) || *d.Replaces != (dmp.ID{Root: "1.2.4"}) || in.Action != dmp.Replace {
		t.Errorf("%+v %+v %s", d.ID, d.Replaces, in.Action)
	}
	del := mdm().field("MSH", 9, "MDM^T04^MDM_T02").field("ORC", 1, "CA").field("OBX", 11, "D").field("TXA", 13, "1.2.4")
	if in, _ = hl7v2.Read(del.bytes(), hl7v2.Options{}); in.Documents[0].Replaces != nil || in.Action != dmp.Delete {
		t.Error("a deletion replaces nothing")
	}
}

func TestCharsets(t *testing.T) {
	for name, c := range map[string]struct {
		label, e, euro string // É and € as sent
		want, set      string
		fallback       string
	}{
		"ok/UTF-8":        {"UNICODE UTF-8", "É", "€", "ZOÉ €", "UNICODE UTF-8", ""},
		"ok/8859/15":      {"8859/15", "\xC9", "\xA4", "ZOÉ €", "8859/15", ""},
		"ok/8859/1":       {"8859/1", "\xC9", "\xA4", "ZOÉ ¤", "8859/1", ""},
		"ok/ISO-8859-15":  {"ISO-8859-15", "\xC9", "\xA4", "ZOÉ €", "8859/15", ""},
		"ok/repeated":     {"8859/15~UNICODE UTF-8", "\xC9", "\xA4", "ZOÉ €", "8859/15", ""},
		"ok/none":         {"", "É", "€", "ZOÉ €", "UNICODE UTF-8", ""},
		"ok/none, by set": {"", "\xC9", "\xA4", "ZOÉ €", "8859/15", "8859/15"},
	} {
		t.Run(name, func(t *testing.T) {
			m := adt().field("MSH", 18, c.label).sub("ZOÉ", "ZO"+c.e+" "+c.euro).sub("É", c.e)
			in, _ := hl7v2.Read(m.bytes(), hl7v2.Options{DefaultCharset: c.fallback})
			if len(in.Refusals) > 0 || in.Patient.Traits.FirstGiven != c.want || in.Message.Charset != c.set {
				t.Errorf("%q %s %v", in.Patient.Traits.FirstGiven, in.Message.Charset, codes(in.Refusals))
			}
		})
	}
}

func TestLineEnds(t *testing.T) {
	want, _ := hl7v2.Read(oru().bytes(), hl7v2.Options{})
	for name, end := range map[string]string{"ok/LF": "\n", "ok/CRLF": "\r\n", "ok/LFCR": "\n\r", "ok/blank lines": "\r\r\n"} {
		t.Run(name, func(t *testing.T) {
			raw := bytes.ReplaceAll(oru().bytes(), []byte("\r"), []byte(end))
			for _, raw := range [][]byte{raw, bytes.TrimRight(raw, "\r\n"), append([]byte("\xEF\xBB\xBF\r\n"), raw...)} {
				in, _ := hl7v2.Read(raw, hl7v2.Options{})
				if len(in.Refusals) > 0 {
					t.Fatal(codes(in.Refusals))
				}
				in.Raw = want.Raw
				if !reflect.DeepEqual(in, want) {
					t.Errorf("%+v", in)
				}
			}
		})
	}
}

// TestBounds: what a hostile sender can make us hold is bounded.
func TestBounds(t *testing.T) {
	segments := append(mdm(), slices.Repeat(message{"ZZZ"}, 5001)...)
	if in, _ := hl7v2.Read(segments.bytes(), hl7v2.Options{}); !slices.Equal(codes(in.Refusals), []string{"HL7-TOO-MANY-SEGMENTS@"}) {
		t.Error(codes(in.Refusals))
	}
	ids := mdm().field("PID", 3, strings.Repeat("9^^^CH^PI~", 100_000))
	if in, _ := hl7v2.Read(ids.bytes(), hl7v2.Options{}); !slices.Contains(codes(in.Refusals), "HL7-FIELD-REPEATED@PID^1^3") || len(in.Patient.Local) > 64 {
		t.Error(codes(in.Refusals), len(in.Patient.Local))
	}
	unknown := mdm()
	for range 1000 {
		unknown = append(unknown, flagOBX("13", "CWE", "X", "Y"))
	}
	if in, _ := hl7v2.Read(unknown.bytes(), hl7v2.Options{}); len(in.Warnings) > 100 {
		t.Error(len(in.Warnings), "warnings")
	}
}

func TestRefusalsSayNothingOfThePatient(t *testing.T) {
	m := mdm().field("PID", 7, "TESTEUR").field("PID", 8, "TESTEUR").field("PV1", 2, "TESTEUR").
		flag("DESTDMP", "TESTEUR").sub("lea.morel@exemple.mssante.fr", "TESTEUR "+matricule)
	in, _ := hl7v2.Read(m.bytes(), hl7v2.Options{})
	if len(in.Refusals) < 4 {
		t.Fatal(codes(in.Refusals))
	}
	for _, err := range in.Refusals {
		if strings.Contains(err.Error(), "TESTEUR") || strings.Contains(err.Error(), matricule) {
			t.Error(err)
		}
	}
}
