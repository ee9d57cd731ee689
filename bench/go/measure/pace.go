package measure

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Pace says how calls are made: at a rate, whatever becomes of earlier ones (open loop), or so many in flight (closed
// loop); until there were so many, or for so long, whichever comes first.
type Pace struct {
	// Rate in calls a second; 0 for a closed loop.
	Rate     float64 `json:"rate"`
	InFlight int     `json:"inFlight"`
	Calls    int     `json:"calls"`
	Seconds  float64 `json:"seconds"`
	// WindowSeconds is how long a part is of which the outcome tells apart; 0: of none.
	WindowSeconds float64 `json:"windowSeconds"`
}

// Outcome of calls. The latencies are those of calls that were answered well.
type Outcome struct {
	Calls      int         `json:"calls"`
	Errors     int         `json:"errors"`
	FirstError string      `json:"firstError,omitempty"`
	Seconds    float64     `json:"seconds"`
	LatencyMs  Percentiles `json:"latencyMs,omitzero"`
	Windows    []Window    `json:"windows,omitempty"`
}

// Window is what has ended in a part of the time.
type Window struct {
	Answered  int         `json:"answered"`
	Errors    int         `json:"errors"`
	LatencyMs Percentiles `json:"latencyMs,omitzero"`
}

// windows are the calls by when they have ended.
type windows struct {
	mu  sync.Mutex
	all []*window
}

type window struct {
	errors    int
	answered  int
	latencies Latencies
}

func (w *windows) at(index int) *window {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.all) <= index {
		w.all = append(w.all, &window{})
	}
	return w.all[index]
}

func (w *windows) add(index int, took time.Duration, err error) {
	one := w.at(index)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		one.errors++
		return
	}
	one.answered++
	one.latencies.Add(took)
}

func (w *windows) take() []Window {
	var taken []Window
	for _, one := range w.all {
		taken = append(taken, Window{one.answered, one.errors, one.latencies.Take()})
	}
	return taken
}

// More calls under way than this are no load any more but a backlog: the run fails.
const maxUnderWay = 50_000

// Drive makes calls at a pace. A call is given its number and the moment at which it was due, from which its latency
// counts: a call that had to wait for its turn was as slow for who wanted it.
func Drive(pace Pace, call func(n int, due time.Time) error) (Outcome, error) {
	run := driving{pace: pace, call: call, start: time.Now()}
	if pace.Rate > 0 {
		if err := run.open(); err != nil {
			return Outcome{}, err
		}
	} else {
		run.closed()
	}
	outcome := Outcome{
		Calls: int(run.done.Load()), Errors: int(run.failed.Load()), Seconds: time.Since(run.start).Seconds(),
		LatencyMs: run.latencies.Take(), Windows: run.windows.take(),
	}
	if first := run.first.Load(); first != nil {
		outcome.FirstError = (*first).Error()
	}
	return outcome, nil
}

type driving struct {
	pace      Pace
	call      func(n int, due time.Time) error
	start     time.Time
	next      atomic.Int64
	done      atomic.Int64
	failed    atomic.Int64
	first     atomic.Pointer[error]
	latencies Latencies
	windows   windows
}

func (d *driving) isOver(n int) bool {
	return (d.pace.Calls > 0 && n >= d.pace.Calls) ||
		(d.pace.Seconds > 0 && time.Since(d.start).Seconds() >= d.pace.Seconds)
}

func (d *driving) one(n int, due time.Time) []time.Duration {
	defer d.done.Add(1)
	err := d.call(n, due)
	if d.pace.WindowSeconds > 0 {
		d.windows.add(int(time.Since(d.start).Seconds()/d.pace.WindowSeconds), time.Since(due), err)
	}
	if err != nil {
		d.failed.Add(1)
		d.first.CompareAndSwap(nil, &err)
		return nil
	}
	return []time.Duration{time.Since(due)}
}

func (d *driving) closed() {
	var workers sync.WaitGroup
	for range max(1, d.pace.InFlight) {
		workers.Go(func() {
			var took []time.Duration
			for {
				n := int(d.next.Add(1)) - 1
				if d.isOver(n) {
					break
				}
				took = append(took, d.one(n, time.Now())...)
			}
			d.latencies.Add(took...)
		})
	}
	workers.Wait()
}

func (d *driving) open() error {
	var calls sync.WaitGroup
	for n := 0; !d.isOver(n); n++ {
		due := d.start.Add(time.Duration(float64(n) / d.pace.Rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		if underWay := n - int(d.done.Load()); underWay > maxUnderWay {
			return fmt.Errorf("%d calls under way at %.0f a second", underWay, d.pace.Rate)
		}
		calls.Go(func() { d.latencies.Add(d.one(n, due)...) })
	}
	calls.Wait()
	return nil
}
