// Vault's own key/value engine, version 2, behind a small HTTP door: for tests that must not talk to an imitation.
//
// The engine, with its versions and its check-and-set, is the one that Vault runs. The door stands for Vault's
// core: it knows one token, given in its environment, and keeps everything in memory.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

type door struct {
	engine  logical.Backend
	storage logical.Storage
	token   string
}

func main() {
	ctx, storage := context.Background(), &logical.InmemStorage{}
	engine, err := kv.Factory(ctx, &logical.BackendConfig{
		StorageView: storage,
		System:      &logical.StaticSystemView{ReplicationStateVal: consts.ReplicationUnknown},
		BackendUUID: "engine",
		Config:      map[string]string{"version": "2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := engine.Initialize(ctx, &logical.InitializationRequest{Storage: storage}); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], &door{engine, storage, os.Getenv("KV_TOKEN")}))
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, known := strings.CutPrefix(r.URL.Path, "/v1/secret/")
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Vault-Token")), []byte(d.token)) != 1 {
		fail(w, http.StatusForbidden, "permission denied")
		return
	}
	if !known {
		fail(w, http.StatusNotFound, "no handler for route")
		return
	}
	request := &logical.Request{Path: path, Storage: d.storage, Data: map[string]interface{}{}}
	for name, values := range r.URL.Query() {
		request.Data[name] = values[0]
	}
	_ = json.NewDecoder(r.Body).Decode(&request.Data)
	switch {
	case r.Method == "LIST" || request.Data["list"] == "true":
		request.Operation = logical.ListOperation
		request.Path = strings.TrimSuffix(path, "/") + "/"
	case r.Method == http.MethodGet:
		request.Operation = logical.ReadOperation
	case r.Method == http.MethodDelete:
		request.Operation = logical.DeleteOperation
	default:
		request.Operation = logical.UpdateOperation
		if checked, exists, err := d.engine.HandleExistenceCheck(r.Context(), request); err == nil && checked && !exists {
			request.Operation = logical.CreateOperation
		}
	}
	answer(w, r, d, request)
}

func answer(w http.ResponseWriter, r *http.Request, d *door, request *logical.Request) {
	response, err := d.engine.HandleRequest(r.Context(), request)
	if status, err := logical.RespondErrorCommon(request, response, err); status != 0 || err != nil {
		message := ""
		if err != nil {
			message = err.Error()
		}
		fail(w, max(status, http.StatusBadRequest), message)
		return
	}
	if response == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if status, raw := response.Data[logical.HTTPStatusCode]; raw {
		w.WriteHeader(status.(int))
		if body, text := response.Data[logical.HTTPRawBody].(string); text {
			_, _ = w.Write([]byte(body))
		}
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]interface{}{"request_id": "1", "data": response.Data})
}

func fail(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {message}})
}
