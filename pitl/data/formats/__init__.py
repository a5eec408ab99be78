"""One reader for each format of files, all of which give `Signals`: columns with units and clocks of their own."""
