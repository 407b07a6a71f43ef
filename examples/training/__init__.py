"""Training, shared by the two pipelines of the paper.

Read in this order: `settings` (configs, from files and from the command line), `surrogates` (how
gradients pass a structure), `module` (losses, steps and scores, as Lightning calls them),
`checkpoints` and `runs` (a run, resumed where it was killed), `prediction` (what a model makes of
files), `analysis` (what two runs are compared by), `report` (rows and tables), `experiments` (many
runs and a page), `study` (many runs, recorded one by one), `command_line`.
"""
