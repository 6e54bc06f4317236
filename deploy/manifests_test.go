// Package deploy has the tests of what is deployed by orchestrators and dashboards, against the types of those. It is a module of
// its own, so that the program's has only what the program needs.
package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// A cluster is all that the manifests make, by names.
type cluster struct {
	maps        map[string]*core.ConfigMap
	deployments map[string]*apps.Deployment
	services    map[string]*core.Service
	budgets     map[string]*policy.PodDisruptionBudget
	scalers     map[string]*autoscaling.HorizontalPodAutoscaler
}

// readManifests decodes every document of deploy/kubernetes: an unknown field, one of the wrong case or type, and one that is there
// twice are failures.
func readManifests(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{map[string]*core.ConfigMap{}, map[string]*apps.Deployment{}, map[string]*core.Service{}, map[string]*policy.PodDisruptionBudget{}, map[string]*autoscaling.HorizontalPodAutoscaler{}}
	files, err := filepath.Glob("kubernetes/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			if err := c.add(document); err != nil {
				t.Fatalf("%s: %v in\n%s", file, err, document)
			}
		}
	}
	return c
}

func (c *cluster) add(document []byte) error {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return err
	}
	var head struct {
		APIVersion string
		Kind       string
		Metadata   struct{ Name string }
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return err
	}
	name := head.Metadata.Name
	switch head.APIVersion + " " + head.Kind {
	case "v1 ConfigMap":
		return decode(text, c.maps, name)
	case "apps/v1 Deployment":
		return decode(text, c.deployments, name)
	case "v1 Service":
		return decode(text, c.services, name)
	case "policy/v1 PodDisruptionBudget":
		return decode(text, c.budgets, name)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return decode(text, c.scalers, name)
	}
	return fmt.Errorf("the kind %s of %s is none that is expected here", head.Kind, head.APIVersion)
}

func decode[T any](text []byte, into map[string]*T, name string) error {
	if name == "" || into[name] != nil {
		return fmt.Errorf("the name %q is missing or there twice", name)
	}
	into[name] = new(T)
	problems, err := strict.UnmarshalStrict(text, into[name])
	if len(problems) > 0 {
		return fmt.Errorf("%v", problems)
	}
	return err
}

func TestADecodedManifestHasNoFieldThatKubernetesLacks(t *testing.T) {
	for _, bad := range []string{
		"apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { clusterIp: None }",
		"apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { ports: 80 }",
		"apiVersion: v1\nkind: Service\nmetadata: { name: x, name: y }",
		"apiVersion: v1\nkind: Pod\nmetadata: { name: x }",
	} {
		c := &cluster{services: map[string]*core.Service{}}
		if err := c.add([]byte(bad)); err == nil {
			t.Errorf("no error for\n%s", bad)
		}
	}
}
