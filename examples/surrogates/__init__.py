"""Which surrogate wins, and where: tasks on which every method gets the same tuning budget.

`python -m examples.surrogates TASK` tunes each method on development data over the same number of
settings, trains the best setting with several seeds, and writes a line of CSV per run;
`python -m examples.surrogates report` makes the page of results from those lines.
"""
