"""Benchmark records become one HTML page, and PNGs. All data is measured, none predicted.

data      groups records by what they timed and where, computes their figures, judges changes
beside    finds what was timed side by side: speed-ups, and the bars that come first
headline  says how fast this project is beside its peers
timeline  makes a history of speed-ups, with change points
links     makes links of commits
text      writes numbers and names; writer the tables
svg       has matplotlib's settings, and makes SVG and PNG of figures
drawing   draws what charts share, charts the four charts
sections  says which charts and tables there are; page.html and style.css are its templates
output    makes all of it, and writes files
"""
