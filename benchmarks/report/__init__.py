"""Benchmark records become one HTML page, and PNGs. All data is measured, none predicted.

data      groups records by what they timed and where, computes their figures, judges changes
text      writes numbers, names and tables
svg       has matplotlib's settings, and makes SVG and PNG of figures
drawing   draws what charts share, charts the four charts
page      says which charts and tables there are; page.html and style.css are its templates
output    makes all of it, and writes files
"""
