package conformance

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var _ = register(map[string]check{"psc-acr": checkACR})

// redirection is where a login sends the browser.
type redirection struct {
	status int
	to     *url.URL
	n      int
	err    error
}

// lookLogin begins a login as a browser does, and stops before Pro Santé
// Connect: nobody is known, no code is given.
func (j *run) lookLogin(ctx context.Context) {
	if j.target.Login == "" {
		return
	}
	client := *j.wire.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	j.psc = j.wire.redirect(ctx, &client, "Début d'une connexion par Pro Santé Connect", j.target.Login)
}

func checkACR(j *run, v *judgement) {
	if !v.need(j.psc != nil, "La fiche ne dit pas où commence une connexion par Pro Santé Connect : donnez son adresse dans « login ».") {
		return
	}
	r := j.psc
	v.cite(r.n)
	if !v.need(r.err == nil, "L'adresse où commence une connexion n'a pas répondu.") {
		return
	}
	toPSC := r.to != nil && j.target.PSC.Authorization != "" && strings.HasPrefix(r.to.String(), j.target.PSC.Authorization)
	if !v.that(r.status >= 300 && r.status < 400 && toPSC, "Le navigateur est envoyé vers Pro Santé Connect (statut : %d).", r.status) {
		return
	}
	q := r.to.Query()
	v.that(slices.Equal(q["acr_values"], []string{"eidas1"}), "La demande d'autorisation porte acr_values=eidas1 (reçu : %q).", strings.Join(q["acr_values"], " "))
	v.that(q.Get("response_type") == "code", "La demande attend un code, et non un jeton (response_type=code ; reçu : %q).", q.Get("response_type"))
}
