package measure

import (
	"slices"
	"sync"
	"time"
)

// Latencies collects how long things took.
type Latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

// Percentiles of latencies, in milliseconds.
type Percentiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func (l *Latencies) Add(took ...time.Duration) {
	l.mu.Lock()
	l.all = append(l.all, took...)
	l.mu.Unlock()
}

// Take returns the percentiles of what was collected since the last Take, by nearest rank.
func (l *Latencies) Take() Percentiles {
	l.mu.Lock()
	all := l.all
	l.all = nil
	l.mu.Unlock()
	if len(all) == 0 {
		return Percentiles{}
	}
	slices.Sort(all)
	at := func(q float64) float64 {
		index := max(0, min(len(all)-1, int(q*float64(len(all))+0.999999)-1))
		return float64(all[index]) / float64(time.Millisecond)
	}
	return Percentiles{P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}
