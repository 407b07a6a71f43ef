"""Training, shared by the two pipelines of the paper.

Read in this order: `settings` and `config_files` (configs, from the command line and from files),
`surrogates` (how gradients pass a structure), `module` (losses, steps and scores, as Lightning
calls them), `processes` and `callbacks` (what a run keeps), `runs` (a run from its start to its
result), `answers` and `prediction` (what a model makes of sentences and of files), `analysis` (what
two runs are compared by), `experiments` and `report` (many runs, their tables), `command_line`.
"""
