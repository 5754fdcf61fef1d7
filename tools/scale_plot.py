#!/usr/bin/env python3
"""Cost per synapse against the number of synapses, as SVG.

usage: cargo bench --bench sparse -- --scale | tools/scale_plot.py > benches/scale.svg
Reads `synapses,kernel,ns_per_synapse` from standard input; other lines are passed over.
"""
import math
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 70, 150, 40, 55
COLOURS = ["#1b6ca8", "#c2571a", "#3b8132"]
TICKS = [0.5, 1, 2, 5, 10, 20]

series = {}
for line in sys.stdin:
    parts = line.strip().split(",")
    if len(parts) == 3 and parts[0].isdigit():
        series.setdefault(parts[1], []).append((int(parts[0]), float(parts[2])))
if not series:
    sys.exit("no lines `synapses,kernel,ns_per_synapse` on standard input")


def x(synapses):
    return LEFT + (math.log10(synapses) - 4) / 4 * (WIDTH - LEFT - RIGHT)


def y(ns):
    low, high = math.log10(TICKS[0]), math.log10(TICKS[-1])
    return HEIGHT - BOTTOM - (math.log10(ns) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def text(at_x, at_y, words, anchor="middle", more=""):
    print(f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" {more}>{words}</text>')


print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">')
print(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
text((LEFT + WIDTH - RIGHT) / 2, 22, "Cost per synapse, one thread, density 5 %, batch 32", more='font-size="14"')
for exponent in range(4, 9):
    at = x(10**exponent)
    print(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
    text(at, HEIGHT - BOTTOM + 18, f'10<tspan dy="-5" font-size="9">{exponent}</tspan>')
for tick in TICKS:
    print(f'<line x1="{LEFT}" y1="{y(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{y(tick):.1f}" stroke="#ddd"/>')
    text(LEFT - 8, y(tick) + 4, f"{tick:g}", "end")
text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "synapses")
text(18, (TOP + HEIGHT - BOTTOM) / 2, "ns per synapse and batch", more=f'transform="rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})"')
ends = []
for colour, (kernel, points) in zip(COLOURS, series.items()):
    path = " ".join(f"{x(s):.1f},{y(ns):.1f}" for s, ns in points)
    print(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for s, ns in points:
        print(f'<circle cx="{x(s):.1f}" cy="{y(ns):.1f}" r="3" fill="{colour}"/>')
    ends.append([y(points[-1][1]), colour, kernel, x(points[-1][0])])
# Labels behind the last points, kept apart.
ends.sort()
for above, below in zip(ends, ends[1:]):
    below[0] = max(below[0], above[0] + 15)
for at, colour, kernel, end in ends:
    text(end + 8, at + 4, kernel, "start", f'fill="{colour}"')
print("</svg>")
