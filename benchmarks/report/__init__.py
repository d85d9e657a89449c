"""One HTML page, and PNGs, of benchmark records. Measured data only; nothing is predicted.

data       which records are of the same thing, setting and machine; what is computed from one
history    records of one thing over time, and which changes are real
charts     what is drawn of them, with matplotlib; drawing has what charts share
tables     the same as numbers; environment says where the records come from
sections   which charts and tables the page has, in which order
page, svg  how they become HTML; style has colours and CSS, words how numbers are written
output     all of it, and files
"""
