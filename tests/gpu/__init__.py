"""Everything that a GPU is needed for, in one command: `make gpu`."""
