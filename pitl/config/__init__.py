"""Settings of everything: `schema` has each with its unit and limits, `toml` reads and changes them, `methods` is the
one list of methods. A mistyped key is an error.
"""
