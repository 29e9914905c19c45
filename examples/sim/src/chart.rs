//! The picture of a run: memory by owner over time, and below it when what was decided.

use crate::report::{Mark, Report, Sample};
use std::fmt::Write;
use std::time::Duration;

const WIDTH: f64 = 1120.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 408.0;
/// Height of a row of marks.
const ROW: f64 = 22.0;

/// Colours of both kinds of pages; the first is also what readers without media queries show.
const STYLE: &str = "\
.page{fill:#fcfcfb}text{font:13px sans-serif;fill:#1d2126}.small{font-size:11px;fill:#5b636d}\
.title{font-size:17px;font-weight:bold}.grid{stroke:#d9dcdf}.limit{stroke:#b3261e;stroke-width:1.6;fill:none}\
.fixed{fill:#5f6b7a}.running{fill:#2f7fb8}.idle{fill:#9cc9e6}.requests{fill:#e0a526}.others{fill:#c9ccd1}\
.shrink{stroke:#c98a10}.refuse{stroke:#d05a2b}.never{stroke:#8c1d18}.evict{stroke:#4d8f5a}\
@media(prefers-color-scheme:dark){.page{fill:#16191d}text{fill:#e6e8ea}.small{fill:#9aa3ad}.grid{stroke:#343a41}\
.limit{stroke:#ff7a70}.fixed{fill:#7b8794}.running{fill:#3f97d6}.idle{fill:#1f4f73}.requests{fill:#f0bd4a}\
.others{fill:#474d55}.shrink{stroke:#f0bd4a}.refuse{stroke:#f08a5d}.never{stroke:#ff9c94}.evict{stroke:#7cc48b}}";

/// Owners from the bottom to the top: class, name, bytes.
type Owner = (&'static str, &'static str, fn(&Sample) -> u64);
const OWNERS: [Owner; 5] = [
    ("fixed", "weights and workspace", |sample| sample.fixed),
    ("running", "KV of running requests", |sample| sample.running),
    ("idle", "KV of idle sessions", |sample| sample.idle),
    ("requests", "requests' own", |sample| sample.requests),
    ("others", "others on the machine", |sample| sample.others),
];

/// Rows of marks: class, name, mark.
const ROWS: [(&str, &str, Mark); 4] = [
    ("evict", "evicted", Mark::Evict),
    ("shrink", "shrunk", Mark::Shrink),
    ("refuse", "refused", Mark::Refuse),
    ("never", "never fits", Mark::Never),
];

/// Where things are.
struct Scale {
    end: f64,
    top: f64,
}

impl Scale {
    fn x(&self, at: Duration) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * at.as_secs_f64() / self.end
    }

    fn y(&self, bytes: u64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * bytes as f64 / self.top
    }
}

/// The picture of a run that kept its samples and marks, as SVG.
pub fn draw(report: &Report) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut svg, report);
    svg
}

fn write(svg: &mut String, report: &Report) -> std::fmt::Result {
    let most = report.samples.iter().map(|sample| sample.capacity).max().unwrap_or(1).max(1);
    let scale = Scale { end: report.end.as_secs_f64().max(1e-9), top: most as f64 * 1.02 };
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">"#
    )?;
    writeln!(svg, "<style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>")?;
    head(svg, report)?;
    grid(svg, &scale, report)?;
    areas(svg, &scale, &report.samples)?;
    rows(svg, &scale, report)?;
    writeln!(svg, "</svg>")
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, text: &str) -> std::fmt::Result {
    writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#)
}

fn head(svg: &mut String, report: &Report) -> std::fmt::Result {
    let Report { seed, requests, accepted, shrunk, delayed, never, evictions, .. } = report;
    text(svg, LEFT, 28.0, "title", "start", "Memory by owner, and what the guard decided")?;
    let line = format!(
        "seed {seed}: {requests} requests, {accepted} accepted, {shrunk} shrunk, {delayed} refused for a while, {never} \
         never fit, {evictions} evictions"
    );
    text(svg, LEFT, 47.0, "small", "start", &line)?;
    let mut x = LEFT;
    for (class, name, _) in OWNERS {
        writeln!(svg, r#"<rect class="{class}" x="{x:.1}" y="62" width="14" height="14"/>"#)?;
        text(svg, x + 20.0, 74.0, "small", "start", name)?;
        x += 44.0 + 6.2 * name.len() as f64;
    }
    writeln!(svg, r#"<path class="limit" d="M{x:.1} 69h14"/>"#)?;
    text(svg, x + 20.0, 74.0, "small", "start", "may be leased or in use")
}

fn grid(svg: &mut String, scale: &Scale, report: &Report) -> std::fmt::Result {
    let step = round(scale.top / f64::from(1 << 20) / 5.0);
    let mut mib = 0.0;
    while mib * f64::from(1 << 20) <= scale.top {
        let y = scale.y((mib * f64::from(1 << 20)) as u64);
        writeln!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/>"#, WIDTH - RIGHT)?;
        text(svg, LEFT - 8.0, y + 4.0, "small", "end", &format!("{mib} MiB"))?;
        mib += step;
    }
    let step = round(report.end.as_secs_f64() / 10.0);
    let mut seconds = 0.0;
    while seconds <= report.end.as_secs_f64() {
        let x = scale.x(Duration::from_secs_f64(seconds));
        writeln!(svg, r#"<path class="grid" d="M{x:.1} {BOTTOM}v5"/>"#)?;
        text(svg, x, BOTTOM + 18.0, "small", "middle", &format!("{seconds} s"))?;
        seconds += step;
    }
    Ok(())
}

/// The largest of 1, 2 and 5 with any power of ten that is not above a number.
fn round(number: f64) -> f64 {
    let power = 10_f64.powf(number.max(1e-3).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|digit| digit * power).find(|&step| step <= number).unwrap_or(power)
}

fn areas(svg: &mut String, scale: &Scale, samples: &[Sample]) -> std::fmt::Result {
    let mut below = vec![0_u64; samples.len()];
    for (class, _, bytes) in OWNERS {
        write!(svg, r#"<path class="{class}" d=""#)?;
        for (at, sample) in samples.iter().enumerate() {
            let top = below[at].saturating_add(bytes(sample));
            write!(svg, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, scale.x(sample.at), scale.y(top))?;
        }
        for (at, sample) in samples.iter().enumerate().rev() {
            write!(svg, "L{:.1} {:.1}", scale.x(sample.at), scale.y(below[at]))?;
            below[at] = below[at].saturating_add(bytes(sample));
        }
        writeln!(svg, r#"Z"/>"#)?;
    }
    write!(svg, r#"<path class="limit" d=""#)?;
    for (at, sample) in samples.iter().enumerate() {
        let (x, y) = (scale.x(sample.at), scale.y(sample.limit));
        if at == 0 { write!(svg, "M{x:.1} {y:.1}")? } else { write!(svg, "H{x:.1}V{y:.1}")? }
    }
    writeln!(svg, r#""/>"#)
}

fn rows(svg: &mut String, scale: &Scale, report: &Report) -> std::fmt::Result {
    for (row, (class, name, kind)) in ROWS.into_iter().enumerate() {
        let y = BOTTOM + 42.0 + ROW * row as f64;
        text(svg, LEFT - 8.0, y + 4.0, "small", "end", name)?;
        writeln!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/>"#, WIDTH - RIGHT)?;
        write!(svg, r#"<path class="{class}" d=""#)?;
        // One tick per half pixel is all that can be seen.
        let mut last = f64::NEG_INFINITY;
        for &(at, _) in report.marks.iter().filter(|(_, mark)| *mark == kind) {
            let x = (scale.x(at) * 2.0).round() / 2.0;
            if x > last {
                write!(svg, "M{x:.1} {:.1}v14", y - 7.0)?;
                last = x;
            }
        }
        writeln!(svg, r#""/>"#)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let rounded = [0.9, 1.0, 3.7, 7.0, 42.0, 500.0].map(round);
        assert_eq!(rounded.map(|step| (step * 10.0).round()), [5.0, 10.0, 20.0, 50.0, 200.0, 5000.0]);
    }
}
