package sim

import (
	"cmp"
	"maps"
	"strings"

	"github.com/passerelle-sante/passerelle/testdata"
)

// pscStorage is the storage of accounts that sub names.
const pscStorage = "00000000-0000-4000-8000-0000000000aa"

func (p pscPerson) sub() string { return "f:" + pscStorage + ":" + p.NationalID }

func (p pscPerson) otherIDs() []map[string]any {
	return []map[string]any{{"identifiant": p.NationalID, "origine": cmp.Or(p.origin, "RPPS"), "qualite": 1}}
}

// Every leaf of an exercise and of an activity is always there, as a string.
var (
	pscExerciseLeaves = []string{"codeProfession", "codeCategorieProfessionnelle", "codeCiviliteDexercice", "nomDexercice",
		"prenomDexercice", "codeTypeSavoirFaire", "codeSavoirFaire"}
	pscActivityLeaves = []string{"codeModeExercice", "codeSecteurDactivite", "codeSectionPharmacien", "codeRole", "codeGenreActivite",
		"numeroSiretSite", "numeroSirenSite", "numeroFinessSite", "numeroFinessetablissementJuridique", "identifiantTechniqueDeLaStructure",
		"raisonSocialeSite", "enseigneCommercialeSite", "complementDestinataire", "complementPointGeographique", "numeroVoie",
		"indiceRepetitionVoie", "codeTypeDeVoie", "libelleVoie", "mentionDistribution", "bureauCedex", "codePostal", "codeCommune",
		"codePays", "telephone", "telephone2", "telecopie", "adresseEMail", "codeDepartement", "ancienIdentifiantDeLaStructure",
		"autoriteDenregistrement"}
)

func pscLeaves(names []string, values map[string]string) map[string]any {
	m := map[string]any{}
	for _, n := range names {
		m[n] = values[n]
	}
	return m
}

// userinfo is what Pro Santé Connect says of a person.
func (p pscPerson) userinfo() map[string]any {
	claims := map[string]any{"sub": p.sub(), "preferred_username": p.NationalID, "SubjectNameID": p.NationalID,
		"given_name": p.Given, "family_name": p.Family, "email_verified": false, "authMode": p.means, "otherIds": p.otherIDs(),
		"PSI_Locale": "1.2.250.1.213.1.3.1.1", "UITVersion": "1.0", "Mode_Acces_Raison": "", "Acces_Regulation_Medicale": "FAUX",
		"Palier_Authentification": "APPPRIP3^1.2.250.1.213.1.5.1.1.1"}
	if p.kind == "no-pro" {
		return claims
	}
	if p.exercises != nil {
		p.tell(claims)
		return claims
	}
	first := testdata.Establishments()[0]
	claims["codeCivilite"] = p.Prefix
	claims["codeGenreActivite"] = p.genre()
	claims["SubjectRole"] = []string{p.Profession + "^" + roleSystem}
	claims["Secteur_Activite"] = first.Facility + "^1.2.250.1.71.4.2.4"
	claims["SubjectOrganization"] = first.Name
	claims["SubjectOrganizationID"] = "F" + first.FINESSGeo
	houses := testdata.Establishments()[:1]
	if p.ID == testdata.PersonaRadiologist { // two work situations, to choose from
		houses = testdata.Establishments()
	}
	var activities []any
	for _, h := range houses {
		activities = append(activities, p.activity(h))
	}
	exercise := map[string]string{"codeProfession": p.Profession, "codeCategorieProfessionnelle": "C", "codeCiviliteDexercice": p.Suffix,
		"nomDexercice": p.Family, "prenomDexercice": p.Given}
	if p.kind == "student" {
		exercise["codeCategorieProfessionnelle"] = "E"
	}
	if _, speciality, ok := strings.Cut(p.Specialty, "/"); ok {
		exercise["codeTypeSavoirFaire"], exercise["codeSavoirFaire"] = "S", speciality
	}
	e := pscLeaves(pscExerciseLeaves, exercise)
	e["activities"] = activities
	claims["SubjectRefPro"] = map[string]any{"codeCivilite": p.Prefix, "exercices": []any{e}}
	return claims
}

// tell says the exercises of a person who has their own. What stands beside
// SubjectRefPro is of the first activity, and "" when there is none.
func (p pscPerson) tell(claims map[string]any) {
	list := []any{}
	first := map[string]string{}
	for i, own := range p.exercises {
		leaves := maps.Clone(own.leaves)
		leaves["codeProfession"], leaves["nomDexercice"], leaves["prenomDexercice"] = p.Profession, p.Family, p.Given
		if p.kind == "student" {
			leaves["codeCategorieProfessionnelle"] = "E"
		}
		activities := []any{}
		for j, a := range own.activities {
			a = maps.Clone(a)
			if p.kind == "non-care" {
				a["codeGenreActivite"] = "GENR04"
			}
			if i+j == 0 {
				first = a
			}
			activities = append(activities, pscLeaves(pscActivityLeaves, a))
		}
		e := pscLeaves(pscExerciseLeaves, leaves)
		e["activities"] = activities
		list = append(list, e)
	}
	claims["codeCivilite"], claims["codeGenreActivite"] = p.Prefix, first["codeGenreActivite"]
	claims["SubjectOrganization"], claims["SubjectOrganizationID"] = first["raisonSocialeSite"], first["identifiantTechniqueDeLaStructure"]
	claims["Secteur_Activite"], claims["SubjectRole"] = "", []string{}
	if len(p.exercises) > 0 {
		claims["Secteur_Activite"] = first["codeSecteurDactivite"] + "^1.2.250.1.71.4.2.4"
		claims["SubjectRole"] = []string{p.Profession + "^" + roleSystem}
	}
	claims["SubjectRefPro"] = map[string]any{"codeCivilite": p.Prefix, "exercices": list}
}

func (p pscPerson) genre() string {
	if p.kind == "non-care" {
		return "GENR04"
	}
	return "GENR01"
}

func (p pscPerson) activity(h testdata.Establishment) map[string]any {
	a := map[string]string{"codeModeExercice": "S", "codeSecteurDactivite": h.Facility, "codeGenreActivite": p.genre(),
		"numeroFinessSite": h.FINESSGeo, "numeroFinessetablissementJuridique": h.FINESSEJ,
		"identifiantTechniqueDeLaStructure": "F" + h.FINESSGeo, "ancienIdentifiantDeLaStructure": "1" + h.FINESSGeo,
		"raisonSocialeSite": h.Name, "libelleVoie": h.Street, "codePostal": h.PostCode, "telephone": h.Phone,
		"autoriteDenregistrement": map[string]string{"10": "CNOM/CNOM/ARS", "21": "CNOPP/CNOPP/CNOPP", "60": "ARS/ARS/ARS"}[p.Profession]}
	switch {
	case p.kind == "student":
		a["codeRole"] = "FON-48"
	case p.Profession == "21":
		a["codeSectionPharmacien"] = "H"
	}
	return pscLeaves(pscActivityLeaves, a)
}
