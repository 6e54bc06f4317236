package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// described is openapi.json as a tree.
var described = func() (tree map[string]any) {
	if err := json.Unmarshal(description, &tree); err != nil {
		panic(err)
	}
	return tree
}()

// templateOf returns the path of the description that fits a path; "": none does.
func templateOf(escaped string) string {
	segments := strings.Split(escaped, "/")
	for template := range described["paths"].(map[string]any) {
		parts := strings.Split(template, "/")
		fits := len(parts) == len(segments)
		for i := 0; fits && i < len(parts); i++ {
			fits = parts[i] == segments[i] || strings.HasPrefix(parts[i], "{") && segments[i] != ""
		}
		if fits {
			return template
		}
	}
	return ""
}

// checkDescribed holds an answer against the description: its status must be there, and its body as the schema says. What isn't of
// the description (an unknown path, another method) is an error as any.
func checkDescribed(t *testing.T, request *http.Request, answer *http.Response, body []byte) {
	t.Helper()
	if request.Method == http.MethodHead || strings.HasPrefix(request.URL.Path, "/debug/pprof/") && answer.StatusCode == 200 {
		return
	}
	pointer := "#/components/schemas/Error"
	template, method := templateOf(request.URL.EscapedPath()), strings.ToLower(request.Method)
	if operation := find(described, "paths", template, method); operation != nil {
		response := find(operation, "responses", fmt.Sprint(answer.StatusCode))
		if response == nil {
			t.Errorf("%s %s: status %d isn't described", request.Method, request.URL, answer.StatusCode)
			return
		}
		kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
		at := fmt.Sprintf("/paths/%s/%s/responses/%d", escapePointer(template), method, answer.StatusCode)
		if to, isRef := response["$ref"].(string); isRef {
			at = strings.TrimPrefix(to, "#")
			response = find(described, strings.Split(at, "/")[1:]...)
		}
		if find(response, "content", kind) == nil {
			t.Errorf("%s %s: type %q of status %d isn't described", request.Method, request.URL, kind, answer.StatusCode)
			return
		}
		if kind != "application/json" {
			return
		}
		pointer = "#" + at + "/content/" + escapePointer(kind) + "/schema"
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schemaAt(t, pointer).Validate(value)
	}
	if err != nil {
		t.Errorf("%s %s: %d %s: %v", request.Method, request.URL, answer.StatusCode, body, err)
	}
}

// schemaAt compiles the schema at a place of the description.
func schemaAt(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(description))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", tree); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("openapi.json" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// find walks down a tree; nil: there is no such place.
func find(tree map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		tree, _ = tree[key].(map[string]any)
	}
	return tree
}

// escapePointer escapes a key of a JSON pointer (RFC 6901 section 3) in a URL's fragment.
func escapePointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(key)
}

func TestDescriptionHasEveryRouteOfTheAPIAndNoOther(t *testing.T) {
	routes := newRouter()
	(&api{Options: Options{Reload: noReload, Upgrade: new(testGateway).upgrade}}).addTo(routes)
	for pattern, methods := range routes.methods {
		for _, method := range methods {
			if method != http.MethodHead && find(described, "paths", pattern, strings.ToLower(method)) == nil {
				t.Errorf("%s %s isn't described", method, pattern)
			}
		}
	}
	for path := range described["paths"].(map[string]any) {
		if _, isRoute := routes.methods[path]; !isRoute && strings.HasPrefix(path, "/api/") {
			t.Errorf("%s is described and doesn't exist", path)
		}
	}
}
