"""One reader per file format, each giving a `pitl.recording.Recording`."""
