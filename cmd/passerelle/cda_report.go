package main

import (
	"bytes"
	"html/template"
	"os"
)

// reportPage is the HTML report of `cda check`: one file, no script, nothing
// fetched.
var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"summary": func(v cdaVerdict) string { return v.summary() },
	"where":   func(f cdaFinding) string { return f.where() },
	"count":   count,
}).Parse(`<!DOCTYPE html>
<html lang="fr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Contrôle de documents CDA</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;color:#1b1b1b;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
td,th{border:1px solid #bbb;padding:.3rem .5rem;text-align:left;vertical-align:top}
th{background:#eee}code{font-size:.9em;overflow-wrap:anywhere}
.bad{color:#a40000}.good{color:#0a6b2d}
</style>
</head>
<body>
<h1>Contrôle de documents CDA</h1>
<p>{{count (len .Files) "document"}}, <strong class="{{if .Wrong}}bad{{else}}good{{end}}">{{.Wrong}} en erreur</strong>.
Jeu de règles : <code>{{.RuleSet}}</code></p>
{{range .Files}}<h2>{{.File}}</h2>
<p class="{{if .OK}}good{{else}}bad{{end}}">{{summary .}}</p>
{{if .Findings}}<table>
<tr><th>Gravité</th><th>Code</th><th>Constat et remède</th><th>Où</th></tr>
{{range .Findings}}<tr><td class="{{if ne .Level "avertissement"}}bad{{end}}">{{.Level}}</td><td><code>{{.Code}}</code><br>{{.Rule}}</td><td>{{.Text}}<br>→ {{.Fix}}</td><td><code>{{where .}}</code></td></tr>
{{end}}</table>
{{end}}{{end}}</body>
</html>
`))

func writeReport(name string, r cdaReport) error {
	var b bytes.Buffer
	if err := reportPage.Execute(&b, r); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}
