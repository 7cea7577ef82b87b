package store

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// maxVersions bounds the versions of one answer; the total is told.
const maxVersions = 200

// version is one row of a document's history, as its reader sees it.
type version struct {
	number   int
	updated  int64
	resource []byte
}

// versions reads the history of a document that the caller may read now, newest
// first; only is one version, or 0.
func (x *exchange) versions(ctx context.Context, only int) (list []version, total int, err error) {
	h, err := x.readable(ctx)
	if err != nil {
		return nil, 0, err
	}
	err = x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		list = nil
		v, err := x.viewer(ctx, tx, h.patient)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT version, updated, resource FROM document_history
			WHERE patient = ? AND id = ? AND (version = ? OR ? = 0) ORDER BY version DESC LIMIT ?`, h.patient, h.id, only, only, maxVersions)
		if err != nil {
			return err
		}
		for rows.Next() {
			var one version
			if err := rows.Scan(&one.number, &one.updated, &one.resource); err != nil {
				rows.Close()
				return err
			}
			list = append(list, one)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		for i := range list {
			was := *h
			was.resource = list[i].resource
			if list[i].resource, err = x.s.shown(ctx, tx, &was, v); err != nil {
				return err
			}
		}
		return nil
	})
	return list, h.version, err
}

// readVersion reads one version of a DocumentReference: where the location of a
// deposit leads.
func (x *exchange) readVersion(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(x.r.PathValue("version"))
	if err != nil || number < 1 {
		return nil, refuse(FaultNotFound)
	}
	list, _, err := x.versions(ctx, number)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, refuse(FaultNotFound)
	}
	return &reply{status: http.StatusOK, etag: etag(list[0].number), modified: list[0].updated, body: list[0].resource}, nil
}

// readHistory lists the versions of a DocumentReference.
func (x *exchange) readHistory(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	list, total, err := x.versions(ctx, 0)
	if err != nil {
		return nil, err
	}
	b := fhir.Bundle{ResourceType: "Bundle", Type: "history", Total: &total}
	for _, v := range list {
		request, status := fhir.Request{Method: http.MethodPatch, URL: "DocumentReference/" + x.id()}, "200 OK"
		if v.number == 1 {
			request, status = fhir.Request{Method: http.MethodPost, URL: "DocumentReference"}, "201 Created"
		}
		b.Entry = append(b.Entry, fhir.Entry{FullURL: x.s.base.String() + "/DocumentReference/" + x.id(), Resource: json.RawMessage(v.resource),
			Request: &request, Response: &fhir.Response{Status: status, Etag: etag(v.number), LastModified: instant(v.updated)}})
	}
	body, err := fhir.Marshal(b)
	return &reply{status: http.StatusOK, body: body}, err
}
