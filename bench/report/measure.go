package report

import (
	"reflect"
	"strings"
)

// Measure is one figure of a report, with what is needed to judge it.
type Measure struct {
	Key    string `json:"key"`   // its place in the JSON of a report: slow_readers.stretches[busy].latency_us.p99
	Label  string `json:"label"` // for people
	Unit   string `json:"unit"`  // us, bytes, s, /s, cores, share, or what is counted; may be empty
	Better string `json:"better,omitempty"`
	Value  Figure `json:"value"`
}

// What is better of a figure.
const (
	More = "more"
	Less = "less"
)

// Measures lists every figure of the report, known or not, in the order of its fields.
func (r *Report) Measures() []Measure {
	var list []Measure
	collect(&list, reflect.ValueOf(r).Elem(), "", "")
	return list
}

// collect adds the fields of a struct that have a measure tag.
func collect(list *[]Measure, v reflect.Value, key, label string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, ok := f.Tag.Lookup("measure")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		m := Measure{Key: key + name, Label: label}
		words := strings.Split(tag, ";")
		m.Label += words[0]
		if len(words) == 3 {
			m.Unit, m.Better = words[1], words[2]
		}
		m.add(list, v.Field(i))
	}
}

// titled is an element of a list, which has a name.
type titled interface{ title() string }

// add lists what v holds: one figure, or several.
func (m Measure) add(list *[]Measure, v reflect.Value) {
	switch x := v.Interface().(type) {
	case Figure:
		m.Value = x
		*list = append(*list, m)
		return
	case Latency:
		m.percentiles(list, &x)
		return
	}
	switch v.Kind() { //nolint:exhaustive // no others have a tag
	case reflect.Pointer:
		if !v.IsNil() {
			collect(list, v.Elem(), m.Key+".", m.Label)
		}
	case reflect.Struct:
		collect(list, v, m.Key+".", m.Label)
	case reflect.Slice:
		for i := range v.Len() {
			if e, ok := v.Index(i).Interface().(titled); ok {
				collect(list, v.Index(i), m.Key+"["+e.title()+"].", e.title()+": ")
			}
		}
	case reflect.Int, reflect.Int64:
		m.Value = Figure(v.Int())
		*list = append(*list, m)
	case reflect.Uint64:
		m.Value = Figure(v.Uint())
		*list = append(*list, m)
	}
}

// percentiles lists a distribution: all of it for the report's own, less of others.
func (m Measure) percentiles(list *[]Measure, l *Latency) {
	own := m.Key == "latency_us"
	for _, p := range []struct {
		key, label string
		value      Figure
		own        bool
	}{
		{"p50", "p50", l.P50, false}, {"p75", "p75", l.P75, true}, {"p90", "p90", l.P90, true}, {"p95", "p95", l.P95, true},
		{"p99", "p99", l.P99, false}, {"p999", "p99.9", l.P999, true}, {"p9999", "p99.99", l.P9999, true},
		{"max", "max", l.Max, false}, {"mean", "mean", l.Mean, true},
	} {
		if own || !p.own {
			x := m
			x.Key, x.Label, x.Value = m.Key+"."+p.key, m.Label+" "+p.label, p.value
			*list = append(*list, x)
		}
	}
}
