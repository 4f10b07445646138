"""Self-contained pages with plots: text in, one HTML document out.

`markup` builds elements and escapes everything, `page` is the shell and its blocks, `plot` draws. No script, no outside
resource, nothing of any one report: those of releases and of drills are both made of it.
"""
