package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fill draws a value for everything in v.
func fill(t *rapid.T, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *Figure:
		if *x = Unknown; rapid.Bool().Draw(t, "known") {
			*x = Figure(rapid.Int64Range(-1e12, 1e12).Draw(t, "figure")) / 1000
			if math.Abs(float64(*x)) >= 1000 {
				*x = Figure(math.Round(float64(*x)))
			}
		}
		return
	case *Histogram:
		if *x = (Histogram{}); rapid.Bool().Draw(t, "kept") {
			*x = NewHistogram()
			for _, d := range rapid.SliceOfN(rapid.Int64Range(0, int64(longest)), 0, 20).Draw(t, "durations") {
				x.Record(d)
			}
		}
		return
	case *time.Time:
		*x = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), 0).UTC()
		return
	}
	switch v.Kind() { //nolint:exhaustive // a report has no others
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(0, 1<<52).Draw(t, "int"))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		n := rapid.IntRange(1, 2).Draw(t, "length") // none comes back as nil
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(t, e)
		v.SetMapIndex(reflect.ValueOf(rapid.String().Draw(t, "key")), e)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("a report holds a %s: say here how to draw one", v.Type())
	}
}

// written is a report's JSON.
func written(t interface{ Fatal(...any) }, r *Report) string {
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReportSurvivesJSON: what is read is what was written, histograms too.
func TestReportSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New("x", 0)
		fill(t, reflect.ValueOf(r).Elem())
		r.Scenario = "some"
		text := written(t, r)
		back, err := Read(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if again := written(t, back); again != text {
			t.Fatalf("%s\nbecame\n%s", text, again)
		}
		if r.Latency.Histogram.IsZero() != back.Latency.Histogram.IsZero() ||
			!r.Latency.Histogram.IsZero() && !r.Latency.Histogram.h.Equals(back.Latency.Histogram.h) {
			t.Fatal("the histogram is another")
		}
	})
}

func TestReadRefusesWhatIsNoReport(t *testing.T) {
	wide := NewHistogram()
	text, err := wide.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{}", "[]", "null", `{"scenario":5}`, `{"scenario":"x","latency_us":{"histogram":"nonsense"}}`, `{"scenario":"x","lost":-1}`,
		fmt.Sprintf(`{"scenario":"x","latency_us":{"histogram":"%s"}}`, text[:len(text)-8]),
		`{"scenario":"x","notes":[` + strings.Repeat(`"a",`, maxList) + `"a"]}`,
		`{"scenario":"x","storm":` + strings.Repeat("[", 20_000),
	} {
		if r, err := Read(strings.NewReader(bad)); !errors.Is(err, ErrNoReport) {
			t.Errorf("%.60q: %+v, %v", bad, r, err)
		}
	}
	if _, err := Read(io.MultiReader(strings.NewReader(`{"scenario":"`), strings.NewReader(strings.Repeat("x", maxFile)), strings.NewReader(`"}`))); !errors.Is(err, ErrNoReport) {
		t.Errorf("a long one: %v", err)
	}
}

func TestReadKnowsOlderReports(t *testing.T) {
	r, err := Read(strings.NewReader(`{"scenario":"fanout","latency_us":{"p50":1.5,"count":3},"server_cores":null,"new_in_a_later_version":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Latency.P50 != 1.5 || r.Latency.P75.Known() || r.ServerCores.Known() || r.Delivered.Known() {
		t.Errorf("%+v", r)
	}
}

func TestHistogramsMergeAfterJSON(t *testing.T) {
	a, b := NewHistogram(), NewHistogram()
	for i := range int64(100) {
		a.Record(i * int64(time.Millisecond))
		b.Record((i + 100) * int64(time.Millisecond))
	}
	var back Histogram
	text, err := b.MarshalText()
	if err == nil {
		err = back.UnmarshalText(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	kept := a.Latency()
	a.Merge(back)
	a.Merge(Histogram{})
	if l := a.Latency(); l.Count != 200 || l.P50 < 98e3 || l.P50 > 102e3 || !(l.P75 > l.P50) || !(l.P9999 <= l.Max) || l.Mean < 98e3 || l.Mean > 101e3 {
		t.Errorf("%+v", l)
	}
	if kept.Histogram.Latency().Count != 100 {
		t.Error("a Latency changed when more was counted")
	}
	if (Histogram{}).Latency().P50.Known() {
		t.Error("a histogram of nothing knows something")
	}
}

// FuzzReport reads anything as a report. What is taken can be shown, compared and written in every way, and read again.
func FuzzReport(f *testing.F) {
	for _, r := range []*Report{lively(), New("idle", 5), Repeat([]*Report{fanout(1), fanout(2)})} {
		text, err := r.JSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"scenario":"slow-readers","slow_readers":{"stretches":[{"name":"a"}]},"steps":[{}],"classes":[{}]}`))
	f.Add([]byte(`{"scenario":"publish","latency_us":{"count":-9,"p50":1e300},"series":{"points":[{"t":1e300},{"t":-1e300}],"every_seconds":1e300},"repeats":{"runs":-1}}`))
	f.Add([]byte(`{"scenario":"slow-readers"}`)) // without what the scenario measures
	for _, v := range []string{"-1.7e308", "1.7e308", "5e-324", "-5e-324"} {
		f.Add([]byte(`{"scenario":"fanout","series":{"points":[{"t":1,"delivered_per_second":` + v + `,"p50_us":1.7e308}]}}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		c, err := Compare(0.25, Column{"a", r}, Column{"b", r})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Regressions()) != 0 {
			t.Errorf("a report is worse than itself: %+v", c.Regressions())
		}
		for _, write := range []func(io.Writer) error{r.WriteText, r.WriteHTML, c.WriteText, c.WriteHTML} {
			if err := write(io.Discard); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.JSON(); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(strings.NewReader(written(t, r))); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
