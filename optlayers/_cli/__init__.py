"""The command line: `python -m optlayers`."""
