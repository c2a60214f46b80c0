"""Exports: whole answers of a rollup as files, each with a manifest that says whether it is whole."""
