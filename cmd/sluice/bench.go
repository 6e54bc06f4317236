package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"sluice/internal/load"
)

// runBench puts load on a URL and prints a report. Errors of sessions are in the report, and make the command fail.
func runBench(c call) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var options load.Options
	options.AddFlags(flags)
	isJSON := flags.Bool("json", false, "print the report as JSON")
	if err := c.parse(flags); err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	report, err := load.Run(ctx, options, terminal(c.stderr))
	var wrong load.OptionError
	if errors.As(err, &wrong) {
		return usageError{wrong.Error()}
	}
	if err != nil {
		return err
	}
	if *isJSON {
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.Print(c.stdout)
	}
	if err == nil && report.Errors > 0 {
		err = fmt.Errorf("%d errors", report.Errors)
	}
	return err
}

// terminal returns w if it is a terminal, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return f
		}
	}
	return nil
}
