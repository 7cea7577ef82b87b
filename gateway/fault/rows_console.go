package fault

// consoleRows are the refusals of gateway/console. A person reads them; no
// message meets them.
var consoleRows = []Row{
	identity("CONSOLE-ACCESS", 403, "forbidden",
		"Votre identifiant n'est pas autorisé à ouvrir la console de la passerelle.", "Your identifier is not allowed to open the console of the gateway.",
		"Demandez à l'exploitant d'ajouter votre identifiant national et vos établissements à console.allowed.", "Ask the operator to add your national identifier and your establishments to console.allowed."),
	door("CONSOLE-SEARCH", 400, "value",
		"Un critère de recherche est illisible.", "A search criterion cannot be read.",
		"Corrigez le critère signalé : état et établissement se choisissent dans leur liste, une date s'écrit AAAA-MM-JJ.", "Correct the criterion that is named: state and establishment are chosen from their lists, a date is written YYYY-MM-DD."),
	identity("CONSOLE-DECIDE", 403, "forbidden",
		"Vous pouvez consulter les messages, pas décider de leur sort.", "You may read the messages, not decide what becomes of them.",
		"Demandez à l'exploitant d'ajouter « decide: true » à votre ligne de console.allowed.", "Ask the operator to add decide: true to your line of console.allowed."),
	identity("CONSOLE-FORM", 403, "security",
		"Ce formulaire ne vient pas de cette page, ou la session a changé depuis son affichage.", "This form does not come from this page, or the session changed since it was shown.",
		"Rien n'a été fait. Revenez au message, rouvrez la page, puis envoyez de nouveau le formulaire.", "Nothing was done. Go back to the message, open the page again, then send the form again."),
	door("CONSOLE-NO-PDF", 404, "not-found",
		"Ce document ne contient pas de PDF.", "This document holds no PDF.",
		"Consultez le document à l'écran : son texte y est affiché.", "Read the document on the screen: its text is shown there."),
}
