"""One module per verb, each with one function of that name: tables in, table out.

Scripts and command line call these and nothing else. Rows in = rows out: a structure
that fails keeps its row, with a status and a reason.
"""
