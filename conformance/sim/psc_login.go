package sim

import (
	"cmp"
	"html/template"
	"net/http"
	"net/url"
	"slices"
)

// authorize takes an authorization request. What concerns the client itself is
// told on a page, and never by a redirection to an address that is not known.
func (p *PSC) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.page(w, http.StatusBadRequest, pscPage{Error: "La requête est illisible."})
		return
	}
	for name, values := range q {
		if len(values) != 1 {
			p.page(w, http.StatusBadRequest, pscPage{Error: "Paramètre répété : " + name + "."})
			return
		}
	}
	p.mu.Lock()
	client, known := p.clients[q.Get("client_id")]
	p.mu.Unlock()
	switch {
	case !known:
		p.page(w, http.StatusBadRequest, pscPage{Error: "client_id inconnu de ce Pro Santé Connect fictif."})
		return
	case !slices.Contains(client.RedirectURIs, q.Get("redirect_uri")):
		p.page(w, http.StatusBadRequest, pscPage{Error: "redirect_uri n'est pas enregistré, à l'octet près, pour ce client."})
		return
	}
	req := pscRequest{client: client.ID, redirect: q.Get("redirect_uri"), state: q.Get("state"), nonce: q.Get("nonce"),
		challenge: q.Get("code_challenge"), expires: p.cfg.Clock().Add(pscPageLife)}
	refuse := func(code, text string) {
		p.redirect(w, r, req, url.Values{"error": {code}, "error_description": {pscASCII.Replace("Bac à sable : " + text)}})
	}
	switch scope := splitScope(q.Get("scope")); {
	case q.Get("response_type") == "":
		refuse("invalid_request", "response_type manque")
	case q.Get("response_type") != "code":
		refuse("unsupported_response_type", "seul response_type=code est pris en charge")
	case !slices.Contains(scope, "openid"):
		refuse("invalid_scope", "le scope openid est obligatoire")
	case q.Get("acr_values") != "eidas1":
		refuse("invalid_request", "acr_values=eidas1 est obligatoire")
	case req.challenge == "" && q.Has("code_challenge_method"):
		refuse("invalid_request", "code_challenge manque")
	case req.challenge != "" && q.Get("code_challenge_method") != "S256":
		refuse("invalid_request", "code_challenge_method=S256 attendu")
	case req.challenge != "" && len(req.challenge) != 43:
		refuse("invalid_request", "code_challenge n'est pas un SHA-256 en base64url")
	case q.Get("prompt") == "none":
		refuse("login_required", "une connexion est nécessaire")
	default:
		if who, ok := pscPersonBy(q.Get("login_hint")); ok && q.Get("login_hint") == who.NationalID {
			who.means = "CARD"
			p.grantCode(w, r, req, who)
			return
		}
		id, err := p.text(24)
		if err != nil {
			refuse("server_error", "tirage au sort impossible")
			return
		}
		p.mu.Lock()
		p.tidy()
		p.pages[id] = req
		p.mu.Unlock()
		p.page(w, http.StatusOK, pscPage{Client: client.ID, Request: id, Personas: pscPeople(), Unknown: q.Get("login_hint") != ""})
	}
}

// choose takes what was chosen on the page.
func (p *PSC) choose(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		p.page(w, http.StatusBadRequest, pscPage{Error: "Le formulaire est illisible."})
		return
	}
	id := r.PostForm.Get("request")
	p.mu.Lock()
	req, ok := p.pages[id]
	delete(p.pages, id)
	p.mu.Unlock()
	if !ok || p.cfg.Clock().After(req.expires) {
		p.page(w, http.StatusBadRequest, pscPage{Error: "Cette page a expiré ou a déjà servi : recommencez depuis votre logiciel."})
		return
	}
	who, known := pscPersonBy(r.PostForm.Get("persona"))
	means, outcome := r.PostForm.Get("means"), r.PostForm.Get("outcome")
	if !known || (means != "CARD" && means != "MOBILE") || !slices.Contains([]string{"", "refuse", "timeout", "no-pro", "student", "non-care"}, outcome) {
		p.page(w, http.StatusBadRequest, pscPage{Error: "Choix inconnu : recommencez depuis votre logiciel."})
		return
	}
	switch outcome {
	case "refuse":
		p.redirect(w, r, req, url.Values{"error": {"access_denied"}, "error_description": {"Bac a sable : refus demande sur la page"}})
		return
	case "timeout":
		p.redirect(w, r, req, url.Values{"error": {"temporarily_unavailable"}, "error_description": {"authentication_expired"}})
		return
	}
	who.means, who.kind = means, cmp.Or(outcome, who.kind)
	p.grantCode(w, r, req, who)
}

func (p *PSC) grantCode(w http.ResponseWriter, r *http.Request, req pscRequest, who pscPerson) {
	code, err1 := p.text(32)
	session, err2 := p.begin(req.client, req.nonce, who)
	if err1 != nil || err2 != nil {
		p.redirect(w, r, req, url.Values{"error": {"server_error"}})
		return
	}
	req.expires = p.cfg.Clock().Add(pscCodeLife)
	p.mu.Lock()
	p.codes[code] = &pscCode{pscRequest: req, session: session}
	p.mu.Unlock()
	p.redirect(w, r, req, url.Values{"code": {code}, "session_state": {session}})
}

// begin makes the session of a person who has just proved who they are.
func (p *PSC) begin(client, nonce string, who pscPerson) (string, error) {
	for _, kind := range []string{"no-pro", "student", "non-care"} {
		if _, ok := p.strike("person-"+kind, ""); ok {
			who.kind = kind
		}
	}
	id, err := p.uuid()
	if err != nil {
		return "", err
	}
	now := p.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy()
	p.sessions[id] = &pscSession{id: id, client: client, nonce: nonce, person: who, started: now, used: now}
	return id, nil
}

// redirect goes back to the client, with state and iss (RFC 9207).
func (p *PSC) redirect(w http.ResponseWriter, r *http.Request, req pscRequest, answer url.Values) {
	if req.state != "" {
		answer.Set("state", req.state)
	}
	answer.Set("iss", p.cfg.Issuer)
	if _, ok := p.strike("callback-iss", ""); ok {
		answer.Set("iss", "https://auth.esw.example/auth/realms/esante-wallet")
	}
	if _, ok := p.strike("callback-state", ""); ok {
		answer.Set("state", "bac-a-sable-autre-state")
	}
	u, err := url.Parse(req.redirect)
	if err != nil {
		p.page(w, http.StatusBadRequest, pscPage{Error: "redirect_uri est illisible."})
		return
	}
	q := u.Query()
	for k, v := range answer {
		q[k] = v
	}
	u.RawQuery = q.Encode()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// pscPage is what the page shows: an error, or the choice of a persona.
type pscPage struct {
	Error, Client, Request string
	Unknown                bool // the login_hint names nobody
	Personas               []pscPerson
	Asked                  []pscAsked // on the devices
}

func (p *PSC) page(w http.ResponseWriter, status int, data pscPage) {
	p.show(w, status, pscTemplate, data)
}

func (p *PSC) show(w http.ResponseWriter, status int, page *template.Template, data pscPage) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = page.Execute(w, data) // a browser that left is not our trouble
}

var pscTemplate = template.Must(template.New("psc").Parse(`<!doctype html>
<html lang="fr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pro Santé Connect fictif – bac à sable</title>
<style>
body{font-family:system-ui,sans-serif;margin:0;background:#f3f5f9;color:#12264a}
main{max-width:40rem;margin:2rem auto;background:#fff;padding:1.5rem 2rem;border-radius:.5rem;border:1px solid #c9d3e6}
.bac{background:#8a1c1c;color:#fff;padding:.6rem 1rem;text-align:center}
fieldset{border:1px solid #c9d3e6;border-radius:.4rem;margin:0 0 1rem}
label{display:block;padding:.35rem 0}
small{color:#44546f}
button{background:#1f4fa3;color:#fff;border:0;border-radius:.3rem;padding:.7rem 1.4rem;font-size:1rem}
</style>
</head>
<body>
<p class="bac">Bac à sable Passerelle : service et personnes fictifs, aucune donnée réelle.</p>
<main>
<h1>Pro Santé Connect fictif</h1>
{{if .Error}}<h2>Demande refusée</h2><p role="alert">{{.Error}}</p>
{{else}}
<p>Le service <strong>{{.Client}}</strong> demande à vous identifier.</p>
{{if .Unknown}}<p role="alert">login_hint ne désigne aucun professionnel du bac à sable : choisissez ci-dessous.</p>{{end}}
<form method="post">
<input type="hidden" name="request" value="{{.Request}}">
<fieldset><legend>Professionnel</legend>
{{range $i, $p := .Personas}}<label><input type="radio" name="persona" value="{{$p.ID}}" required{{if not $i}} checked{{end}}> {{$p.Name}} <small>profession {{$p.Profession}}, identifiant {{$p.NationalID}}</small></label>
{{end}}</fieldset>
<fieldset><legend>Moyen d'identification</legend>
<label><input type="radio" name="means" value="CARD" checked> Carte CPS</label>
<label><input type="radio" name="means" value="MOBILE"> Application e-CPS</label>
</fieldset>
<fieldset><legend>Résultat</legend>
<label><input type="radio" name="outcome" value="" checked> Connexion réussie</label>
<label><input type="radio" name="outcome" value="refuse"> Le professionnel refuse</label>
<label><input type="radio" name="outcome" value="timeout"> Le professionnel ne répond pas à temps</label>
<label><input type="radio" name="outcome" value="no-pro"> Connexion sans données professionnelles</label>
<label><input type="radio" name="outcome" value="student"> Connexion d'un étudiant</label>
<label><input type="radio" name="outcome" value="non-care"> Connexion avec une activité non soignante</label>
</fieldset>
<button type="submit">Se connecter</button>
</form>{{end}}
</main>
</body>
</html>
`))
