"""Measures of what modkit promises, against a plain C loop and against its peers.

    python -m benchmarks.frame      the frame table: tok/s, frame work, ticks, memory (`make bench`)
    python -m benchmarks.startup    what `import modkit` costs a game
    python -m benchmarks.cancel     how soon a cancelled reply is over, and who notices
    python -m benchmarks.host       what the mod host costs a frame
    python -m benchmarks.drafts     what drafts bring where replies quote, and cost where they do not

Every figure comes from a fresh process that does one thing (benchmarks/cells.py); rounds are interleaved,
so that a machine that drifts drifts for all alike, and figures are medians over the rounds. The models
are generated into out/bench/ at the first run. Needs the `dev` extra and, for the C baseline, a C compiler.
"""
