"""The chart, an SVG: each cell of plimsoll as a multiple of the best peer of that weight width."""

from html import escape

LEFT, BAR, WIDTH, ROW, TOP = 250, 560, 1000, 22, 56
COLOURS = {True: "#2a7f62", False: "#c0562f", None: "#5b6f8a"}
STYLE = (
    "text{font:13px sans-serif;fill:#1a1a1a}.small{font-size:11px;fill:#555}.title{font-size:16px;font-weight:bold}"
    "line{stroke:#999}.one{stroke:#1a1a1a;stroke-width:1.5}.peer{stroke:#1a1a1a;stroke-width:2}"
)


def text(x, y, content, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x, top, bottom, kind=""):
    return f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" class="{kind}"/>'


def mark(row):
    """Where the target lies in multiples of the best peer."""
    return row.target * row.ratio / row.target_ratio


def row_shapes(row, y, scale):
    """A bar, marks of the other peers, the target and the numbers of one row."""
    colour = COLOURS[row.met]
    parts = [
        text(LEFT - 8, y + 15, f"{row.cell}  {row.weights}", anchor="end"),
        f'<rect x="{LEFT}" y="{y + 4}" width="{row.ratio * scale:.1f}" height="{ROW - 8}" fill="{colour}"/>',
    ]
    for name, speed in row.others.items():
        if name != row.peer:
            parts.append(line(LEFT + speed / row.peer_speed * scale, y + 7, y + ROW - 7))
    if row.target_ratio:
        parts.append(line(LEFT + mark(row) * scale, y + 1, y + ROW - 1, "peer"))
    numbers = f"{row.ratio:.2f} × {row.peer} ({row.speed:.0f} / {row.peer_speed:.0f} tokens/s)"
    parts.append(text(LEFT + BAR + 10, y + 15, numbers, "small"))
    return parts


def svg(rows, caption):
    """Rows without a peer are left out: there is nothing to be a multiple of."""
    rows = [row for row in rows if row.ratio is not None]
    shapes = list(dict.fromkeys(row.shape for row in rows))
    most = max([row.ratio for row in rows] + [mark(row) for row in rows if row.target_ratio], default=1)
    scale = BAR / max(most, 1)
    parts, y = [text(10, 24, "plimsoll as a multiple of the best peer", "title"), text(10, 43, caption, "small")], TOP
    for shape in shapes:
        parts.append(text(10, y + 18, shape, "title"))
        top = y = y + 28
        for row in (row for row in rows if row.shape == shape):
            parts += row_shapes(row, y, scale)
            y += ROW
        parts.append(line(LEFT + scale, top, y, "one"))
        y += 14
    parts.append(text(10, y + 12, "line at 1: the best peer; black mark: target; grey marks: the other peers", "small"))
    size = f'width="{WIDTH + 120}" height="{y + 24}" viewBox="0 0 {WIDTH + 120} {y + 24}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )
