package sim

import (
	"slices"

	"github.com/passerelle-sante/passerelle/testdata"
)

// pscPerson is who logged in, by which means, and what is known of them.
type pscPerson struct {
	testdata.Persona
	means string // CARD, MOBILE
	kind  string // "", no-pro, student, non-care

	origin    string        // of the identifier; RPPS when empty
	exercises []pscExercise // nil: one, at the house of the sandbox
}

// pscExercise is one exercise of SubjectRefPro: leaves that are not named are "".
type pscExercise struct {
	leaves     map[string]string
	activities []map[string]string
}

// pscPeople are the professionals that Pro Santé Connect knows: those of the
// sandbox file, then those that exist for what their userinfo looks like. The
// latter have no mailbox and no right on any patient.
func pscPeople() []pscPerson {
	var all []pscPerson
	for _, p := range testdata.Personas() {
		all = append(all, pscPerson{Persona: p})
	}
	hospital, clinic := testdata.Establishments()[0], testdata.Establishments()[1]
	office := map[string]string{"codeModeExercice": "L", "codeSecteurDactivite": "SA07", "codeGenreActivite": "GENR01",
		"identifiantTechniqueDeLaStructure": "R990001", "raisonSocialeSite": "CABINET DES ESSAIS", "codePostal": "63000",
		"autoriteDenregistrement": "CNOM/CNOM/CNOM"}
	at := func(h testdata.Establishment, more ...string) map[string]string {
		a := map[string]string{"codeModeExercice": "S", "codeSecteurDactivite": h.Facility, "codeGenreActivite": "GENR01",
			"numeroFinessSite": h.FINESSGeo, "numeroFinessetablissementJuridique": h.FINESSEJ, "identifiantTechniqueDeLaStructure": "F" + h.FINESSGeo,
			"ancienIdentifiantDeLaStructure": "1" + h.FINESSGeo, "raisonSocialeSite": h.Name, "codePostal": h.PostCode}
		for i := 0; i+1 < len(more); i += 2 {
			a[more[i]] = more[i+1]
		}
		return a
	}
	exercise := func(category string, activities []map[string]string, more ...string) []pscExercise {
		e := pscExercise{leaves: map[string]string{"codeCategorieProfessionnelle": category}, activities: activities}
		for i := 0; i+1 < len(more); i += 2 {
			e.leaves[more[i]] = more[i+1]
		}
		return []pscExercise{e}
	}
	one := func(a map[string]string) []map[string]string { return []map[string]string{a} }
	who := func(id, national, profession, given, family string) testdata.Persona {
		return testdata.Persona{ID: id, NationalID: national, Profession: profession, Name: given + " " + family, Given: given, Family: family}
	}
	return append(all,
		pscPerson{Persona: who("dr-liberal", "819990000077", "10", "Alix", "FABRE"),
			exercises: exercise("C", one(office), "codeTypeSavoirFaire", "S", "codeSavoirFaire", "SM26", "codeCiviliteDexercice", "DR")},
		pscPerson{Persona: who("dr-mixte", "819990000085", "10", "Noé", "GIRAUD"),
			exercises: exercise("C", []map[string]string{office, at(hospital, "autoriteDenregistrement", "CNOM/CNOM/ARS")},
				"codeTypeSavoirFaire", "S", "codeSavoirFaire", "SM04", "codeCiviliteDexercice", "DR")},
		pscPerson{Persona: who("ph-officine", "819990000093", "21", "Lou", "HUBERT"),
			exercises: exercise("C", one(map[string]string{"codeModeExercice": "L", "codeSecteurDactivite": "SA33", "codeSectionPharmacien": "A",
				"codeGenreActivite": "GENR01", "raisonSocialeSite": "PHARMACIE DES ESSAIS", "autoriteDenregistrement": "CNOPP/CNOPP/CNOPP"}))},
		pscPerson{Persona: who("ide-ipa", "819990000101", "60", "Sacha", "IMBERT"),
			exercises: exercise("C", one(at(clinic)), "codeTypeSavoirFaire", "S", "codeSavoirFaire", "SI01")},
		pscPerson{Persona: who("interne", "819990000119", "10", "Maël", "JOLY"),
			exercises: exercise("E", one(at(hospital, "codeRole", "FON-48")))},
		pscPerson{Persona: who("aide-soignante", "3"+hospital.FINESSGeo+"/0001", "99", "Rose", "KLEIN"), origin: "FINESS",
			exercises: exercise("C", one(at(hospital, "codeRole", "313")))},
		pscPerson{Persona: who("psychologue", "819990000127", "93", "Jade", "LEGER"), exercises: exercise("C", one(at(hospital)))},
		pscPerson{Persona: who("adeli", "0639900017", "91", "Éloi", "MARTEL"), origin: "ADELI",
			exercises: exercise("C", one(map[string]string{"codeModeExercice": "L", "codeSecteurDactivite": "SA07", "codeGenreActivite": "GENR01"}))},
		pscPerson{Persona: who("edit", "ANS20260105120000", "10", "Test", "EDITEUR"), origin: "EDIT", exercises: exercise("C", one(office))},
		pscPerson{Persona: who("agent", "599999999900012/agent1", "", "Zoé", "NICOLAS"), origin: "SIRET", kind: "no-pro"},
		pscPerson{Persona: who("radie", "819990000135", "10", "Ugo", "OLIVE"), exercises: []pscExercise{}},
	)
}

// pscPersonBy finds a person by id or national identifier.
func pscPersonBy(id string) (pscPerson, bool) {
	all := pscPeople()
	i := slices.IndexFunc(all, func(p pscPerson) bool { return id != "" && (p.ID == id || p.NationalID == id) })
	if i < 0 {
		return pscPerson{}, false
	}
	return all[i], true
}
