package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench/report"
)

func (p *program) compare() *cli.Command {
	return &cli.Command{
		Name: "compare", Usage: "put reports of one scenario side by side", ArgsUsage: "A.json B.json [C.json ...]",
		Description: "Every figure that any of them knows, with its ratio to the first file's. Marked is what differs by more than the threshold and, of reports\n" +
			"made with --repeat, by more than their spread. What makes them hard to compare (other options, another machine, a limit reached) is told.",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.Float64Flag{Name: "threshold", Usage: "`PERCENT` below which a difference is noise", Value: 100 * report.DefaultThreshold},
			&cli.BoolFlag{Name: "fail-on-regression", Usage: "exit with status 1 if a figure of a later file is worse than the first file's by more than the threshold"},
			&cli.StringFlag{Name: "json", Usage: "write the comparison as JSON to `FILE`, or to standard output for -"},
			&cli.StringFlag{Name: "html", Usage: "write it also as a page with plots to `FILE`"},
		},
		Action: p.runCompare,
	}
}

// maxCompared bounds the columns of a table that people read.
const maxCompared = 16

func (p *program) runCompare(c *cli.Context) error {
	paths, threshold := c.Args().Slice(), c.Float64("threshold")
	switch i := slices.IndexFunc(paths, func(s string) bool { return strings.HasPrefix(s, "-") }); {
	case i >= 0:
		return fmt.Errorf("%w: %s: flags go before the files", errUsage, paths[i])
	case len(paths) < 2 || len(paths) > maxCompared:
		return fmt.Errorf("%w: compare takes 2 to %d reports, as --json writes them", errUsage, maxCompared)
	case !(threshold > 0):
		return fmt.Errorf("%w: --threshold %v: it is more than 0", errUsage, threshold)
	}
	names := columnNames(paths)
	columns := make([]report.Column, len(paths))
	for i, path := range paths {
		r, err := readReport(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		columns[i] = report.Column{Name: names[i], Report: r}
	}
	x, err := report.Compare(threshold/100, columns...)
	if errors.Is(err, report.ErrScenarios) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return err
	}
	if err := p.writePage(c.String("html"), x.WriteHTML); err != nil {
		return err
	}
	if err := p.report(c.String("json"), x); err != nil {
		return err
	}
	if c.Bool("fail-on-regression") && len(x.Regressions()) > 0 {
		return errWorse
	}
	return nil
}

func readReport(path string) (*report.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return report.Read(f)
}

// columnNames are the files' names without directory and .json, or the whole paths if that makes two the same.
func columnNames(paths []string) []string {
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(path), ".json")
		if slices.Contains(names[:i], names[i]) {
			return paths
		}
	}
	return names
}
