package metric

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestHolders holds that metrics are there for as long as anybody measures them.
func TestHolders(t *testing.T) {
	vec := Gauge("test_of_holders", "A metric of this test.", "zone", "secondary")
	h := NewHolders(vec)
	h.Hold("a.", "192.0.2.1")
	vec.WithLabelValues("a.", "192.0.2.1").Set(1)
	vec.WithLabelValues("b.", "192.0.2.1").Set(1)
	h.Hold("a.", "192.0.2.1")
	h.Release("a.", "192.0.2.1")
	if n := count(vec); n != 2 {
		t.Errorf("one of two has let go: %d metrics, want 2", n)
	}
	h.Release("a.", "192.0.2.1")
	if n := count(vec); n != 1 {
		t.Errorf("both have let go: %d metrics, want that of b. only", n)
	}
	h.Hold("a.", "192.0.2.1")
	vec.WithLabelValues("a.", "192.0.2.1").Set(2)
	if n := count(vec); n != 2 {
		t.Errorf("held again: %d metrics, want 2", n)
	}
}

// count returns how many metrics a vector has.
func count(vec *prometheus.GaugeVec) int {
	metrics := make(chan prometheus.Metric, 16)
	vec.Collect(metrics)
	return len(metrics)
}
