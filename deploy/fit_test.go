package deploy

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
)

// A configuration is what is of interest in the ConfigMap's.
type configuration struct {
	Gateway struct {
		Watch       bool
		Drain       string
		DrainDelay  string `toml:"drain_delay"`
		MaxSessions int64  `toml:"max_sessions"`
	}
	Admin struct {
		Address   string
		TokenFile string `toml:"token_file"`
	}
	Listener []struct{ Address string }
	Route    []struct {
		CloseTimeout string `toml:"close_timeout"`
		WriteTimeout string `toml:"write_timeout"`
	}
	Pool []struct {
		Backend   []struct{ Address string }
		Discovery struct{ DNS string }
	}
}

func readConfiguration(t *testing.T, c *cluster) (text string, parsed configuration) {
	t.Helper()
	text = c.maps["sluice"].Data["sluice.toml"]
	if err := toml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return text, parsed
}

// seconds reads a duration of the configuration.
func seconds(t *testing.T, text string) int64 {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return int64(d / time.Second)
}

// The defaults of config.example.toml, which the manifests keep.
const (
	closeTimeout = 5
	writeTimeout = 60
)

func TestAPodHasTheTimeThatItsDrainTakes(t *testing.T) {
	c := readManifests(t)
	_, config := readConfiguration(t, c)
	pod := c.deployments["sluice"].Spec.Template.Spec
	for i, route := range config.Route {
		if route.CloseTimeout+route.WriteTimeout != "" {
			t.Errorf("route %d has timeouts of its own, which aren't counted here", i)
		}
	}
	need := pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds + seconds(t, config.Gateway.DrainDelay) + seconds(t, config.Gateway.Drain) + closeTimeout + writeTimeout
	grace := *pod.TerminationGracePeriodSeconds
	if grace < need+5 {
		t.Errorf("%d s until SIGKILL, and a stop may take %d s", grace, need)
	}
	// Kubernetes counts by drain_delay how soon a load balancer can know.
	probe := pod.Containers[0].ReadinessProbe
	if known := int64(probe.PeriodSeconds*probe.FailureThreshold + probe.TimeoutSeconds); known > seconds(t, config.Gateway.DrainDelay) {
		t.Errorf("readiness is known after %d s, and drain_delay is %s", known, config.Gateway.DrainDelay)
	}
	down := c.scalers["sluice"].Spec.Behavior.ScaleDown.Policies[0]
	if down.Type != autoscaling.PodsScalingPolicy || down.Value != 1 || int64(down.PeriodSeconds) < grace {
		t.Errorf("scaled down by %+v, want one pod at most while another drains for %d s", down, grace)
	}
}

func TestTheManifestsFitEachOtherAndTheConfiguration(t *testing.T) {
	c := readManifests(t)
	_, config := readConfiguration(t, c)
	gateway := c.deployments["sluice"]
	pod := gateway.Spec.Template.Spec
	container := pod.Containers[0]

	ports := map[string]string{}
	for _, p := range container.Ports {
		ports[p.Name] = fmt.Sprintf("0.0.0.0:%d", p.ContainerPort)
	}
	if want := map[string]string{"ws": config.Listener[0].Address, "admin": config.Admin.Address}; !reflect.DeepEqual(ports, want) {
		t.Errorf("ports %v, and the gateway listens at %v", ports, want)
	}
	for path, probe := range map[string]*core.Probe{"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe} {
		if probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != "admin" {
			t.Errorf("probe %+v, want GET %s at the port admin", probe.HTTPGet, path)
		}
	}

	mounts := map[string]string{}
	for _, m := range container.VolumeMounts {
		if m.SubPath != "" {
			t.Errorf("the mount %s doesn't follow its map: it has a subPath", m.Name)
		}
		mounts[m.Name] = m.MountPath
	}
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil:
			if want := filepath.Join(mounts[v.Name], "sluice.toml"); !slices.Equal(container.Args, []string{"run", "-config", want}) || c.maps[v.ConfigMap.Name] == nil {
				t.Errorf("args %q, and the configuration is at %s", container.Args, want)
			}
		case v.Secret != nil:
			if want := filepath.Join(mounts[v.Name], "token"); config.Admin.TokenFile != want || v.Secret.SecretName != "sluice-admin" || *v.Secret.DefaultMode != 0o440 {
				t.Errorf("token_file %q, and the token is at %s: %+v", config.Admin.TokenFile, want, v.Secret)
			}
		default:
			t.Errorf("volume %+v", v)
		}
	}
	if !config.Gateway.Watch {
		t.Error("a change of the map isn't taken up")
	}

	for name, s := range c.services {
		of := c.deployments[name].Spec.Template
		isNamed := slices.ContainsFunc(of.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.Name == s.Spec.Ports[0].TargetPort.String() })
		if !reflect.DeepEqual(s.Spec.Selector, of.Labels) || !isNamed {
			t.Errorf("service %s: selector %v and port %v, and the pods have %v and %v", name, s.Spec.Selector, s.Spec.Ports[0], of.Labels, of.Spec.Containers[0].Ports)
		}
	}
	for name, d := range c.deployments {
		if !reflect.DeepEqual(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels) {
			t.Errorf("deployment %s doesn't find its pods", name)
		}
		wantHardened(t, name, &d.Spec.Template.Spec)
	}
	backends := c.services["echo"]
	if backends.Spec.ClusterIP != core.ClusterIPNone || config.Pool[0].Discovery.DNS != "a" ||
		config.Pool[0].Backend[0].Address != fmt.Sprintf("%s:%d", backends.Name, backends.Spec.Ports[0].Port) {
		t.Errorf("the pool %+v isn't found by the headless service %s", config.Pool[0], backends.Name)
	}
	if selector := c.budgets["sluice"].Spec.Selector.MatchLabels; !reflect.DeepEqual(selector, gateway.Spec.Template.Labels) {
		t.Errorf("the disruption budget is for %v", selector)
	}

	scaler := c.scalers["sluice"].Spec
	if gateway.Spec.Replicas != nil {
		t.Error("an apply takes the autoscaler's number of replicas back")
	}
	if ref := scaler.ScaleTargetRef; ref.APIVersion != "apps/v1" || ref.Kind != "Deployment" || ref.Name != gateway.Name {
		t.Errorf("%+v is scaled", ref)
	}
	pods := scaler.Metrics[0].Pods
	if pods.Metric.Name != "sluice_sessions_active" || pods.Target.Type != autoscaling.AverageValueMetricType || pods.Target.AverageValue.Value() >= config.Gateway.MaxSessions {
		t.Errorf("scaled by %+v, want sluice_sessions_active below %d", pods, config.Gateway.MaxSessions)
	}
	var adapter []struct {
		SeriesQuery string `json:"seriesQuery"`
		Resources   struct {
			Overrides map[string]struct{ Resource string }
		}
		MetricsQuery string `json:"metricsQuery"`
	}
	readStrict(t, "prometheus/adapter.yml", &adapter)
	if !strings.HasPrefix(adapter[0].SeriesQuery, pods.Metric.Name+"{") || adapter[0].Resources.Overrides["pod"].Resource != "pod" || adapter[0].Resources.Overrides["namespace"].Resource != "namespace" {
		t.Errorf("prometheus/adapter.yml doesn't give the autoscaler %s: %+v", pods.Metric.Name, adapter)
	}
}

// Types tell nothing of words: these are all that the manifests have of those of which Kubernetes knows only some.
func TestTheManifestsHaveWordsThatKubernetesKnows(t *testing.T) {
	c := readManifests(t)
	gateway, service := c.deployments["sluice"].Spec, c.services["sluice"].Spec
	for _, word := range []struct{ got, want any }{
		{gateway.Strategy.Type, apps.RollingUpdateDeploymentStrategyType},
		{gateway.Template.Spec.TopologySpreadConstraints[0].WhenUnsatisfiable, core.ScheduleAnyway},
		{gateway.Template.Spec.Containers[0].ImagePullPolicy, core.PullIfNotPresent},
		{c.deployments["echo"].Spec.Template.Spec.Containers[0].ImagePullPolicy, core.PullIfNotPresent},
		{service.Type, core.ServiceTypeLoadBalancer},
		{service.ExternalTrafficPolicy, core.ServiceExternalTrafficPolicyLocal},
		{*c.budgets["sluice"].Spec.UnhealthyPodEvictionPolicy, policy.AlwaysAllow},
		{c.scalers["sluice"].Spec.Metrics[0].Type, autoscaling.PodsMetricSourceType},
	} {
		if word.got != word.want {
			t.Errorf("%v, want %v", word.got, word.want)
		}
	}
}

// wantHardened checks what a pod may not do.
func wantHardened(t *testing.T, name string, pod *core.PodSpec) {
	t.Helper()
	s, c := pod.SecurityContext, pod.Containers[0].SecurityContext
	isHardened := *s.RunAsNonRoot && *s.RunAsUser == 65532 && s.SeccompProfile.Type == core.SeccompProfileTypeRuntimeDefault &&
		!*c.AllowPrivilegeEscalation && *c.ReadOnlyRootFilesystem && slices.Equal(c.Capabilities.Drop, []core.Capability{"ALL"}) &&
		!*pod.AutomountServiceAccountToken && pod.Containers[0].Resources.Limits.Memory().Value() > 0
	if !isHardened {
		t.Errorf("the pods of %s may do more than they need: %+v, %+v", name, s, c)
	}
}
