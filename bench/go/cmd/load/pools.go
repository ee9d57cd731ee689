package main

import (
	"fmt"
	"sync"
	"time"

	"mustreach/measure"
)

// pools are what is open, by the name that the bench has given it.
type pools[P any] struct {
	mu  sync.Mutex
	all map[string]P
}

func (p *pools[P]) put(name string, pool P) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[string]P{}
	}
	p.all[name] = pool
}

func (p *pools[P]) get(name string) (P, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool, ok := p.all[name]
	if !ok {
		return pool, fmt.Errorf("%s is not open", name)
	}
	return pool, nil
}

func (p *pools[P]) take(name string) (P, error) {
	pool, err := p.get(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, name)
	return pool, err
}

var (
	openPools pools[*receivers]
	rawPools  pools[*rawReceivers]
)

type named struct {
	Name string `json:"name"`
}

type opened struct {
	Seconds   float64             `json:"seconds"`
	LatencyMs measure.Percentiles `json:"latencyMs"`
}

func openPool(a openArgs) (any, error) {
	start := time.Now()
	pool, latencies, err := openReceivers(a)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(start).Seconds()
	pool.latencies.Take()
	openPools.put(a.Name, pool)
	return opened{seconds, latencies}, nil
}

func closePool(a named) (any, error) {
	pool, err := openPools.take(a.Name)
	if err != nil {
		return nil, err
	}
	pool.close()
	return nil, pool.problem()
}

type pushArgs struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Send  sendArgs `json:"send"`
}

// push sends one online push after the other, each when the last receiver has had the one before.
func push(a pushArgs) (any, error) {
	pool, err := openPools.get(a.Name)
	if err != nil {
		return nil, err
	}
	s, err := openSender(a.Send.Address, 1, "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	pace := measure.Pace{InFlight: 1, Calls: a.Count}
	outcome, err := measure.Drive(pace, func(n int, due time.Time) error {
		reached := pool.expect(int64(len(pool.all)))
		if err := s.sendOne(a.Send, n, due); err != nil {
			return err
		}
		return pool.wait(reached)
	})
	outcome.LatencyMs = pool.latencies.Take()
	return outcome, err
}

type reachArgs struct {
	Name string   `json:"name"`
	Send sendArgs `json:"send"`
}

type reached struct {
	Sends     measure.Outcome     `json:"sends"`
	LatencyMs measure.Percentiles `json:"latencyMs"`
}

// reach sends stored notifications to the receivers at a pace; latencies are from when a send was due to its arrival.
func reach(a reachArgs) (any, error) {
	pool, err := openPools.get(a.Name)
	if err != nil {
		return nil, err
	}
	// All of them, also when the machine stands still for a while: as many are waited for.
	a.Send.Pace.Calls, a.Send.Pace.Seconds = int(a.Send.Pace.Rate*a.Send.Pace.Seconds), 0
	arrived := pool.expect(int64(a.Send.Pace.Calls))
	answer, err := send(a.Send)
	if err != nil {
		return nil, err
	}
	sends := answer.(measure.Outcome)
	// What was not taken is not waited for: the pass has failed, and says why.
	if sends.Errors > 0 {
		return reached{sends, pool.latencies.Take()}, pool.problem()
	}
	if err := pool.wait(arrived); err != nil {
		return nil, err
	}
	pool.acks.Wait()
	return reached{sends, pool.latencies.Take()}, pool.problem()
}
