package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// insiPerson is somebody that the teleservice knows. Traits are as it answers
// them.
type insiPerson struct {
	matricule string // 13 and the key, as answered
	oid       string
	former    []insiFormer
	name      string
	list      string
	sex       string
	born      string
	place     string
	oldPlace  string // another code that finds the person
	insured   string // matricule of the person whose insurance covers them; empty for themselves
	noKey     bool   // answered without Cle
	shows     string // what the person is there to try, in French
}

type insiFormer struct{ matricule, oid, from, to string }

const (
	oidNIR  = "1.2.250.1.213.1.4.8"
	oidNIA  = "1.2.250.1.213.1.4.9"
	oidTest = testdata.OIDTest
)

// insiPeople are the people of testdata, those of the published test sets (CNDA,
// ANS, IHE PAM.fr: keys as published, the wrong ones too), and ours for what no
// set tries.
func insiPeople() []insiPerson {
	var out []insiPerson
	covered := testdata.PatientByID(testdata.PatientOpen).Matricule
	for _, p := range testdata.Patients() {
		if p.Matricule == "" {
			continue
		}
		one := insiPerson{matricule: p.Matricule, oid: p.OID, name: p.BirthName, list: p.GivenNames, sex: p.Sex, born: p.BirthDate, place: p.BirthPlace,
			shows: "patient du bac à sable : 00"}
		if p.ID == testdata.PatientChild {
			one.insured, one.shows = covered, "enfant, ayant droit de la première patiente : carte Vitale"
		}
		out = append(out, one)
	}
	return append(out,
		insiPerson{matricule: own("2900163113001"), oid: oidTest, name: "DOUBLON", list: "CAMILLE ANNE", sex: "F", born: "1990-01-15", place: "63113", shows: "02 par CAMILLE, 00 par CAMILLE ANNE"},
		insiPerson{matricule: own("2900138185001"), oid: oidTest, name: "DOUBLON", list: "CAMILLE ZOE", sex: "F", born: "1990-01-15", place: "38185", shows: "02 par CAMILLE, 00 par CAMILLE ZOE"},
		insiPerson{matricule: own("1850563113001"), oid: oidTest, name: "VOISIN", list: "ALIX", sex: "M", born: "1985-05-05", place: "63113", shows: "02 sans lieu, 00 avec"},
		insiPerson{matricule: own("1850538185001"), oid: oidTest, name: "VOISIN", list: "ALIX", sex: "M", born: "1985-05-05", place: "38185", shows: "02 sans lieu, 00 avec"},
		insiPerson{matricule: own("1140263220001"), oid: oidTest, name: "DE VINCI", list: "LEONARDO", sex: "M", born: "2014-02-01", place: "63220", shows: "02 toujours (CNDA)"},
		insiPerson{matricule: own("1140263220002"), oid: oidTest, name: "DE VINCI", list: "LEONARDO", sex: "M", born: "2014-02-01", place: "63220", shows: "02 toujours (CNDA)"},
		insiPerson{matricule: own("2920699212001"), oid: oidTest, former: []insiFormer{{own("7920699212002"), oidNIA, "", ""}},
			name: "ARRIVANT", list: "NIMA", sex: "F", born: "1992-06-20", place: "99212", shows: "NIA devenu NIR : l'ancien est dans l'historique"},
		insiPerson{matricule: own("2505099352001"), oid: oidTest, name: "LUNAIRE", list: "AMINA", sex: "F", born: "1950-00-00", place: "99352", shows: "date de naissance incomplète"},
		insiPerson{matricule: own("1700151215001"), oid: oidTest, name: "SANS-CLE", list: "PAUL", sex: "M", born: "1970-01-01", place: "51215", noKey: true, shows: "réponse sans clé"},

		insiPerson{matricule: "236066322083656", oid: oidNIR, name: "TCHITCHI", list: "CATARINA BELLA", sex: "F", born: "1936-06-21", place: "63220", shows: "01 par OLA, 00 par CATARINA (CNDA)"},
		insiPerson{matricule: "297022A02077878", oid: oidNIR, name: "ADRTROIS", list: "DOMINIQUE", sex: "F", born: "1997-02-26", place: "2A020", oldPlace: "20020", shows: "lieu corse d'aucune table (CNDA)"},
		insiPerson{matricule: "160012B02077713", oid: oidNIR, name: "ADRTROIS", list: "TOUSSAINT", sex: "M", born: "1960-01-01", place: "2B020", shows: "2B avant 1976 (CNDA)"},
		insiPerson{matricule: "180032B02040123", oid: oidNIR, former: []insiFormer{{"180032B02040123", oidNIR, "", ""}},
			name: "CORSE", list: "ANTHONY", sex: "M", born: "1980-03-02", place: "2B020", shows: "l'historique répète le matricule actif (CNDA)"},
		insiPerson{matricule: "109076322083489", oid: oidNIR, former: []insiFormer{{"209076322083439", oidNIR, "2019-03-01", "2019-02-28"}, {"209066322012355", oidNIR, "", ""}},
			name: "ECETINSI", list: "PIERRE-ALAIN MURIEL FLORIANT", sex: "M", born: "2009-07-14", place: "63220", shows: "deux anciens matricules, dates inversées (CNDA)"},
		insiPerson{matricule: "109076322088835", oid: oidNIA, name: "PROVISOIRE", list: "MATRICULE", sex: "M", born: "2009-07-01", place: "63220", shows: "NIA (CNDA)"},
		insiPerson{matricule: "110086322083060", oid: oidNIR, name: "NESSI", list: "MICHELANGELO ANTHONY", sex: "M", born: "2010-08-07", place: "63220", shows: "00 (CNDA)"},
		insiPerson{matricule: "277076322082910", oid: oidTest, name: "NESSI", list: "RUTH ISABELLE", sex: "F", born: "1977-07-14", place: "63220", shows: "00 (ANS)"},
		insiPerson{matricule: "181036322045660", oid: oidNIR, former: []insiFormer{{"281036322045610", oidNIR, "", ""}},
			name: "HERMANN", list: "GATIEN", sex: "M", born: "1981-03-24", place: "63220", shows: "clés fausses, telles que publiées (CNDA)"},
		insiPerson{matricule: "260058815400233", oid: oidNIR, name: "DARK", list: "JEANNE MARIE CECILE", sex: "F", born: "1960-05-30", place: "88154", shows: "00 (PAM.fr)"},
		insiPerson{matricule: "275126322074974", oid: oidNIR, name: "ADRUN", list: "ZOE", sex: "F", born: "1975-12-31", place: "63220", shows: "00 (CNDA)"},
	)
}

// own is a matricule of ours with its key.
func own(body string) string {
	key, _ := ins.Key(body)
	return fmt.Sprintf("%s%02d", body, key)
}

// insiMagic are birth names that make the teleservice fail.
var insiMagic = map[string]string{
	"PANNE TECHNIQUE": "insi_102", "PANNE SERVICE": "desir_1020", "PANNE LOGICIEL": "desir_550", "PANNE DROITS": "desir_560",
	"PANNE INCONNUE": "insi_999", "PANNE ILLISIBLE": "html", "PANNE VIDE": "count", "PANNE LENTE": "slow",
}

func insiMagicNames() []string { return slices.Sorted(maps.Keys(insiMagic)) }

// matches is the search by traits: everything that is sent must agree.
func (q *insiSans) matches(p insiPerson) bool {
	given := strings.Join(q.Given, " ")
	return q.Name == p.name && q.Sex == p.sex && q.Born == p.born &&
		(given == p.list || strings.HasPrefix(p.list, given+" ")) &&
		(q.Place == "" || q.Place == p.place || q.Place == p.oldPlace)
}

// matches is the search by carte Vitale: by the number of the person when the
// card gives it, else by who insures them.
func (q *insiVitale) matches(p insiPerson) bool {
	insured := p.insured
	if insured == "" {
		insured = p.matricule
	}
	if q.Name != "" && q.Name != p.name || q.Born != p.born || q.Rank != "" && q.Rank != "1" {
		return false
	}
	if q.Individual.Number != "" && q.Individual.Number != p.matricule[:13] {
		return false
	}
	return (q.Individual.Number != "" || q.Insured.Number != "") && (q.Insured.Number == "" || q.Insured.Number == insured[:13])
}

// agrees is the unit verification: matricule, OID and traits.
func (q *insiVerify) agrees(p insiPerson) bool {
	list := strings.Join(append(slices.Clone(q.Traits.Given), q.Traits.List...), " ")
	return q.INS.ID.Number+q.INS.ID.Key == p.matricule && q.INS.OID == p.oid && q.Traits.Name == p.name && q.Traits.Sex == p.sex && q.Traits.Born == p.born &&
		list == p.list && (q.Traits.Place == "" || q.Traits.Place == p.place)
}
