package dmp

import "strings"

// Facts of ASS_X04 (document type to class, CI-SIS, 2025-10-28, 138 rows) and
// of ASS_X16 (the same for the DMP, 2024-09-27, 109 rows: a strict subset that
// maps no code otherwise). JDV_J66, the types allowed on the DMP, is the source
// column of ASS_X16, whose own text says so; no list of J66 was published to us.

// TypeTables names the versions of the tables that [ClassOf] and
// [TypeAllowedOnDMP] answer from.
const TypeTables = "ASS_X04 20251028, ASS_X16/JDV_J66 20240927"

// classOfTypes is one line a class: the types allowed on the DMP, then those
// that only the CI-SIS knows.
var classOfTypes = []struct{ class, onDMP, elsewhere string }{
	{"10",
		"11488-4 11490-0 11502-2 11505-5 11506-3 11526-1 15507-7 15508-5 28617-9 28653-4 29274-8 34112-3 " +
			"34120-6 34749-2 34794-8 34874-8 34875-5 47420-5 51969-4 59283-2 60568-3 67851-6 70004-7 75482-0 " +
			"75492-9 75496-0 77436-4 78513-9 78601-2 83981-1 85208-7 89233-1 93024-8 96349-6 BIL_AUTO DOCPAT03 " +
			"DOCPAT05 DOCPAT06",
		"100967-9 10213-7 11493-4 11528-7 24611-6 27899-4 29554-3 34876-3 39256-3 46241-6 68814-3 75497-8 " +
			"97694-4"},
	{"11",
		"18761-7 34133-9 34842-5 56445-0 57055-6 57057-2 57075-4 60280-5 60591-5 68599-0 68817-6 74207-2 " +
			"78341-5 78489-2 80820-4 83836-7 83901-9 88348-8 89235-6 DOCPAT01 DOCPAT08 SYNTH",
		"83963-9 EXPORT_DUI"},
	{"31",
		"18748-4 52040-3 DOCPAT04 IMG-KOS",
		""},
	{"42",
		"55115-0 57828-6 57832-8 57833-6 61357-0 75468-9 DOCPAT02 PRESC-AAT PRESC-BIO PRESC-INF PRESC-KINE " +
			"PRESC-ORTHOPHO PRESC-ORTHOPTIE PRESC-PEDI",
		"29551-9 52063-5 52521-2"},
	{"43",
		"60593-1 DISP_AUT",
		"29550-1"},
	{"44",
		"18776-5 77604-7 80771-9 80788-3 83869-8 PROT_ALD",
		""},
	{"45",
		"80565-5",
		""},
	{"52",
		"101881-1 11369-6 87273-9 89601-9 96173-0 96874-3 CERT_DECL DOCPAT07",
		""},
	{"60",
		"REMB",
		""},
	{"90",
		"74465-6 EXPPAT_1 EXPPAT_2 EXPPAT_3",
		"DOCPAT10"},
	{"95",
		"59284-0 86531-1 ATTEST-ASS-COMPL ATTEST-DROITS-AM ATTEST-HEBGT ATTEST-RESID AUTORIS-SOINS DOCPAT09",
		"51851-4 56446-8 61358-8 61359-6 ATTEST-VITALE CONTACTS-URGENCE FICHE-CONTACTS PIECE-IDENTITE"},
	{"99",
		"",
		"FEUILLE-DE-STYLE"},
	{"urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1",
		"E1762",
		""},
}

// ClassOf gives the class of a document type: ASS_X16 where the DMP takes the
// type, ASS_X04 elsewhere. The two never disagree.
func ClassOf(typeCode string) (Code, bool) {
	c, ok := classes[typeCode]
	if !ok {
		return Code{}, false
	}
	code := Code{Code: c.class, System: OIDClass, Display: classDisplays[c.class]}
	if c.class == signatureClass {
		code.System = "URN" // TRE_A10 has no OID; CI-SIS writes the word
	}
	return code, true
}

// TypeAllowedOnDMP tells whether the DMP takes a document type (JDV_J66).
func TypeAllowedOnDMP(typeCode string) bool { return classes[typeCode].dmp }

// signatureClass is the class of a detached signature, the only one of TRE_A10.
const signatureClass = "urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1"

// classDisplays are the displays of TRE_A03.
var classDisplays = map[string]string{
	"10": "Compte rendu", "11": "Synthèse", "31": "Imagerie médicale",
	"42": "Prescription", "43": "Dispensation", "44": "Plan de soins, protocole de soins",
	"45": "Traitement administré", "52": "Certificat, déclaration",
	"60": "Données de remboursement", "90": "Autres documents déposés par le patient",
	"95": "Document de gestion", "99": "Document technique",
	signatureClass: "Digital Signature",
}

type classRow struct {
	class string
	dmp   bool
}

var classes = func() map[string]classRow {
	m := map[string]classRow{}
	for _, row := range classOfTypes {
		for t := range words(row.onDMP) {
			m[t] = classRow{row.class, true}
		}
		for t := range words(row.elsewhere) {
			m[t] = classRow{row.class, false}
		}
	}
	return m
}()

// words makes a set of a blank-separated list: the compact form of a value set.
func words(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}
