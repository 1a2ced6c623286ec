package metric

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Holders count who measures under the same labels. At a reload two server blocks do for a
// while, and the one that ends must not take the other's metrics away.
type Holders struct {
	vecs []*prometheus.GaugeVec

	mu sync.Mutex
	by map[string]int // under mu; by the values of the labels
}

// NewHolders returns the holders of some metrics, which have the same labels.
func NewHolders(vecs ...*prometheus.GaugeVec) *Holders {
	return &Holders{vecs: vecs, by: map[string]int{}}
}

// Hold counts one more holder of what has these values of the labels.
func (h *Holders) Hold(values ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by[strings.Join(values, "\x00")]++
}

// Release counts one holder less. The last one takes the metrics with it.
func (h *Holders) Release(values ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := strings.Join(values, "\x00")
	if h.by[key]--; h.by[key] > 0 {
		return
	}
	delete(h.by, key)
	for _, vec := range h.vecs {
		vec.DeleteLabelValues(values...)
	}
}
