"""Training, shared by the two pipelines of the paper.

Read in this order: `settings` (configs, from files and from the command line), `surrogates` (how
gradients pass a structure), `module` (losses, steps and scores, as Lightning calls them),
`checkpoints` and `runs` (a run, resumed where it was killed), `prediction` (what a model makes of
files), `analysis` (what two runs are compared by), `experiments` and `report` (many runs, their
tables), `study` and `record` (many runs, recorded one by one), `command_line`.
"""
