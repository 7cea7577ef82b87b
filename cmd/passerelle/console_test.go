//go:build !nosandbox

package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/testdata"
)

// A person in a real browser: they log in, search, read a timeline, a document
// and the quarantine, decide, and log out.
func TestConsoleInChromium(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.Delivery.First, c.Delivery.Max = time.Minute, time.Minute })
	issuer, err := url.Parse(r.w.info.PSC.Authorization)
	if err != nil {
		t.Fatal(err)
	}
	c := startChromium(t, r.m.HTTPS, issuer.Host)

	me, trois := testdata.Patients()[0], testdata.PatientByID(testdata.PatientTrois)
	ack := r.send(testdata.ORU(testdata.MessageOptions{ControlID: "BIO-2026-1", Document: testdata.CDAOptions{Level: 3, ID: testdata.DocumentID(5001)}}))
	r.ended(field(ack, "MSA", 3))
	ack = r.send(testdata.MDM(testdata.MessageOptions{ControlID: "IMG-2026-2", Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(5002)},
		Recipients: []testdata.Recipient{
			{Address: testdata.Personas()[1].Mailbox, Persona: testdata.Personas()[1]},
			{Address: me.Matricule + "@patient.mssante.fr", Patient: me},
			{Address: "absent@test-ci-sis.mssante.fr", Persona: testdata.Personas()[2]},
		},
		Flags: testdata.Flags{"DESTMSSANTEPS": "Y", "DESTMSSANTEPAT": "Y"}}))
	r.ended(field(ack, "MSA", 3))
	r.send(testdata.MDM(testdata.MessageOptions{ControlID: "REFUS-3", Base64: "PD94!!!!"}))
	other := trois
	other.GivenNames = "DOMINIQUE"
	r.drop(testdata.Letter(testdata.LetterOptions{MessageID: "courrier-quarantaine@test-ci-sis.mssante.fr", To: r.w.info.Operator.GatewayMailbox, Document: testdata.CDAOptions{Patient: other}}))
	waitFor(t, func() bool {
		var page struct{ Submissions []struct{ ID string } }
		r.getJSON(r.client, "https://"+r.m.HTTPS+"/v1/submissions?state=quarantined", &page)
		return len(page.Submissions) == 1
	})

	r.control(http.MethodPut, "/dmp/faults", sim.Trouble{Mode: sim.Down})
	down := field(r.send(testdata.ORU(testdata.MessageOptions{ControlID: "PANNE-4", Document: testdata.CDAOptions{ID: testdata.DocumentID(5004)}})), "MSA", 3)
	waitFor(t, func() bool {
		events, err := r.m.journal.Events(t.Context(), down, 0)
		return err == nil && len(events) > 1
	})

	c.open("http://" + r.m.HTTP + "/") // gateway.http shows the way
	c.sees("Console de la passerelle", "Bac à sable")
	c.shot("accueil")
	c.follow("Se connecter avec Pro Santé Connect")
	c.sees("Pro Santé Connect fictif", testdata.Personas()[0].Name)
	c.follow("Se connecter")

	c.sees("Messages", testdata.Personas()[0].Given, "BIO-2026-1", "IMG-2026-2", "REFUS-3", "Échec partiel", "Refusé à l'entrée", "En quarantaine")
	c.shot("messages")
	c.do(`document.getElementById("control").value = "BIO-2026-1"`)
	c.follow("Rechercher")
	c.sees("BIO-2026-1", "Effacer les critères")
	if shown, err := c.eval(`document.body.innerText`); err != nil || strings.Contains(shown, "IMG-2026-2") {
		t.Errorf("the search is no search: %v", err)
	}
	c.follow("BIO-2026-1")
	c.sees("Chronologie", "Message accepté et conservé durablement.", "Le DMP a répondu : demande exécutée.", "Acquittement renvoyé", "MSA|AA|BIO-2026-1", "Compte rendu (ZAM) acquitté")
	c.shot("chronologie")
	if shown, err := c.eval(`document.documentElement.outerHTML`); err != nil || strings.Contains(shown, me.BirthName) || strings.Contains(shown, me.Matricule) {
		t.Errorf("the timeline tells who the patient is: %v", err)
	}

	c.follow("Ouvrir le document")
	c.sees(me.BirthName, "Copie PDF du document", "Suivi du message")
	c.shot("document-niveau-3")
	if style, err := c.eval(`getComputedStyle(document.querySelector(".cda-card")).borderTopStyle + " " + getComputedStyle(document.body).margin`); err != nil || style != "solid 0px" {
		t.Errorf("the style sheet does not apply: %q %v", style, err)
	}
	c.follow("Messages")
	c.sees("IMG-2026-2")
	c.follow("IMG-2026-2")
	c.sees("Envois", "Messagerie du patient (Mon espace santé)", "absent@test-ci-sis.mssante.fr", "Rapport de remise")
	c.shot("courriels")
	c.follow("Ouvrir le document")
	c.sees(me.BirthName)
	// The PDF of level 1 is inside the page.
	waitFor(t, func() bool {
		n, err := c.eval(`document.querySelectorAll("object.cda-pdf").length`)
		return err == nil && n == "1"
	})
	c.shot("document-niveau-1")

	c.follow("Quarantaine")
	c.sees("courrier-quarantaine@test-ci-sis.mssante.fr", "une personne doit décider")
	c.shot("quarantaine")
	c.follow("Lire le courriel")
	c.sees("Texte seul", "IHE_XDM.zip", "Courriel reçu")
	c.shot("courriel")
	c.follow("English")
	c.sees("Received mail", "Text only", "Attachments (not opened)")
	c.follow("Français")
	c.sees("Courriel reçu")

	// The letter is filed by a person, who compares first.
	c.follow("Suivi du message")
	c.sees("Chronologie", "Écarter un courriel")
	c.shot("courriel-en-quarantaine")
	c.follow("Rattacher à un patient")
	c.sees("La passerelle ne devine jamais", "Diffère : Liste des prénoms")
	c.shot("identites")
	c.follow("Comparer")
	c.sees("Dans le document", "DOMINIQUE MARIE-LOUISE", "Différent")
	c.do(`document.getElementById("why").value = "Second prénom absent du document, identité vérifiée"`)
	c.do(`document.getElementById("confirmed").click()`)
	c.shot("comparaison")
	c.follow("Rattacher à cette identité")
	c.sees("Le courriel est rattaché", "Rattachement décidé", "identité vérifiée", testdata.Personas()[0].NationalID)
	c.shot("rattache")

	// A delivery that is retried is stopped, then begins again and ends.
	c.follow("Messages")
	c.sees("PANNE-4")
	c.follow("PANNE-4")
	c.sees("À envoyer", "Prochain essai")
	c.follow("Arrêter")
	c.sees("Arrêter un envoi", "Dernière erreur")
	c.follow("Arrêter cet envoi") // the browser asks for the reason
	if where, err := c.eval(`location.pathname + " " + document.activeElement.id`); err != nil || !strings.HasSuffix(where, "/stop why") {
		t.Errorf("sent without a reason: %s %v", where, err)
	}
	c.do(`document.getElementById("why").value = "Panne annoncée du DMP"`)
	c.shot("arreter")
	c.follow("Arrêter cet envoi")
	c.sees("L'envoi est arrêté.", "Arrêté par une personne", "Panne annoncée du DMP")
	c.shot("arrete")
	r.control(http.MethodDelete, "/dmp/faults", nil)
	c.follow("Relancer")
	c.sees("Relancer un envoi")
	c.do(`document.getElementById("why").value = "Le DMP répond de nouveau"`)
	c.follow("Relancer cet envoi")
	c.sees("L'envoi est relancé.")
	r.ended(down)
	c.do(`location.reload()`)
	c.sees("Le DMP a répondu : demande exécutée.", "Le DMP répond de nouveau")
	c.shot("relance")
	c.follow("Alertes")
	c.sees("Alarmes en cours", "gateway.certificate", "Valide")
	c.shot("alertes")
	c.do(`location.href = "/console/submissions/inconnu"`)
	c.sees("Demande refusée")
	c.shot("refus")

	c.do(`location.href = "/console/?since=hier"`)
	c.sees("Un critère de recherche est illisible.")
	c.shot("critere-faux")
	c.follow("Se déconnecter")
	c.sees("Se connecter avec Pro Santé Connect")
	c.open("https://" + r.m.HTTPS + "/console/")
	c.sees("Se connecter avec Pro Santé Connect")
	if shown, err := c.eval(`document.body.innerText`); err != nil || strings.Contains(shown, "BIO-2026-1") {
		t.Errorf("logged out, and still in: %v", err)
	}
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestCheckConsole(t *testing.T) {
	r := newRehearsal(t)
	site := r.w.config.Establishments[0].FINESSGeo
	for _, tt := range []struct {
		name   string
		people []ConsolePerson
		noPSC  bool
		want   string // in a problem; empty: none
	}{
		{"ok/one site", []ConsolePerson{{ID: "819990000010", Establishments: []string{site}}}, false, ""},
		{"ok/all sites", []ConsolePerson{{ID: "819990000010", Establishments: []string{"*"}}}, false, ""},
		{"ok/nobody", nil, false, ""},
		{"fail/nobody can log in", nil, true, "console : la console a besoin de Pro Santé Connect"},
		{"fail/no id", []ConsolePerson{{ID: "", Establishments: []string{"*"}}}, false, "console.allowed[0].id"},
		{"fail/id with a blank", []ConsolePerson{{ID: "8199900 00010", Establishments: []string{"*"}}}, false, "console.allowed[0].id"},
		{"fail/twice", []ConsolePerson{{ID: "8", Establishments: []string{"*"}}, {ID: "8", Establishments: []string{site}}}, false, "console.allowed[1].id : déjà déclaré"},
		{"fail/no site", []ConsolePerson{{ID: "8", Establishments: nil}}, false, "console.allowed[0].establishments : indiquez"},
		{"fail/site that nobody declared", []ConsolePerson{{ID: "8", Establishments: []string{site, "000000000"}}}, false, "console.allowed[0].establishments[1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.w.config
			c.Console = &ConsoleConfig{Allowed: tt.people}
			if tt.noPSC {
				c.PSC = nil
			}
			found := strings.Join(c.problems(time.Now()), "\n")
			if (tt.want == "") != (found == "") || !strings.Contains(found, tt.want) {
				t.Errorf("problems: %q, want %q", found, tt.want)
			}
		})
	}
}

// Found by the audit of issue 4, 2026-11-22: the page of warnings did not watch
// the certificates of INSi and of Pro Santé Connect.
func TestCertificatesWatched(t *testing.T) {
	c := Config{INSi: &INSiConfig{Certificate: "absent.pem", CA: "absent.pem"}, PSC: &PSCConfig{Certificate: "absent.pem", CA: "absent.pem"}}
	var names []string
	for _, one := range c.certificates() {
		names = append(names, one.Name)
	}
	if want := []string{"insi.certificate", "insi.ca", "psc.certificate", "psc.ca"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}
