package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"coredns-smimea/internal/harness"
)

// TestGuideKubernetes holds the objects of docs/kubernetes.md against Kubernetes's own types,
// field by field, and serves what they would serve: the Corefile, from directories as the
// kubelet makes them.
func TestGuideKubernetes(t *testing.T) {
	t.Parallel()
	const file = "../docs/kubernetes.md"
	steps := scripts(t, file, 2)
	var config corev1.ConfigMap
	var deployment appsv1.Deployment
	services := map[string]corev1.Service{}
	var ingress networkingv1.Ingress
	for _, text := range strings.Split(blocks(t, file, "yaml", 1)[0], "---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			t.Fatal(err)
		}
		var service corev1.Service
		object, ok := map[string]any{
			"v1 ConfigMap": &config, "apps/v1 Deployment": &deployment, "v1 Service": &service, "networking.k8s.io/v1 Ingress": &ingress,
		}[kind.APIVersion+" "+kind.Kind]
		if !ok {
			t.Errorf("what is %+v?", kind)
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
		services[service.Name] = service
	}

	// What refers to something else refers to something that is there.
	pod := deployment.Spec.Template
	container := pod.Spec.Containers[0]
	mounts, volumes := map[string]string{}, map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range container.VolumeMounts {
		if mounts[m.MountPath] = m.Name; !volumes[m.Name] {
			t.Errorf("no volume %s", m.Name)
		}
	}
	ports := map[string]corev1.ContainerPort{}
	for _, p := range container.Ports {
		ports[p.Name] = p
	}
	for _, name := range []string{"smimea", "smimea-http"} {
		s := services[name]
		for key, value := range s.Spec.Selector {
			if pod.Labels[key] != value || deployment.Spec.Selector.MatchLabels[key] != value {
				t.Errorf("service %s selects %s=%s", name, key, value)
			}
		}
		for _, p := range s.Spec.Ports {
			if target := ports[p.TargetPort.StrVal]; target.Name == "" || target.Protocol != p.Protocol {
				t.Errorf("service %s: port %s leads to %+v", name, p.Name, target)
			}
		}
	}
	if backend := ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service; services[backend.Name].Spec.Ports[0].Name != backend.Port.Name {
		t.Errorf("the ingress leads to %+v", backend)
	}

	// The commands, with a kubectl that does what the kubelet does with a ConfigMap: a link
	// to a link to a directory.
	g := newGuide(t)
	cert{addresses: []string{"hugh@example.com"}}.write(t, g.at("certs/hugh.crt"))
	g.prelude = `
# mount DIRECTORY VERSION: what is in ./new is the next version of a volume.
mount() {
	mkdir -p "$1/..$2"
	mv new/* "$1/..$2/"
	ln -s "..$2" "$1/..new"
	mv -T "$1/..new" "$1/..data"
	for f in "$1"/..data/*; do ln -sf "..data/${f##*/}" "$1/${f##*/}"; done
}
kubectl() {
	mkdir -p new
	case "$*" in
	"create secret generic smimea-key "*)
		for file in "$5" "$6"; do file=${file#--from-file=}; cp "${file#*=}" "new/${file%%=*}"; done
		mount /etc/coredns-smimea/key v1 ;;
	"create configmap smimea-certs --from-file=certs/") cp certs/* new/; mount /etc/coredns-smimea/certs v1 ;;
	"create configmap smimea-certs --from-file=certs/ --dry-run=client -o yaml") echo "kind: ConfigMap" ;;
	"apply -f -") grep -q ConfigMap; cp certs/* new/; mount /etc/coredns-smimea/certs v2 ;;
	*) echo "kubectl $*" >&2; return 1 ;;
	esac
}`
	g.prelude = strings.NewReplacer(g.paths...).Replace(g.prelude)
	g.run(steps[0])
	for _, path := range []string{"/etc/coredns-smimea/key", "/etc/coredns-smimea/certs", "/var/lib/coredns-smimea"} {
		if mounts[path] == "" || !strings.Contains(config.Data["Corefile"], path) {
			t.Errorf("%s is not mounted, or not used", path)
		}
	}
	corefile := config.Data["Corefile"]
	for _, listen := range []string{"0.0.0.0:8080", "0.0.0.0:9153", "0.0.0.0:8181"} {
		corefile = strings.ReplaceAll(corefile, listen, harness.Loopback(freePort(t)))
	}
	s := g.serve(strings.ReplaceAll(corefile, ":1053", ""))
	g.published(s, "hugh", 1)
	m, _ := ask(t, s.addr, question{name: hashOwner("hugh", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true})
	if len(m.Answer) != 2 {
		t.Errorf("not signed:\n%s", m)
	}
	cert{addresses: []string{"mary@example.com"}}.write(t, g.at("certs/mary.crt"))
	g.run(steps[1])
	g.published(s, "mary", 1)
	g.published(s, "hugh", 1)
	if _, err := os.Stat(filepath.Join(g.at("/var/lib/coredns-smimea"), "state")); err != nil {
		t.Error(err)
	}
}
