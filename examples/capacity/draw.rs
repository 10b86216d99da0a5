//! The drawing: for each number of slots a row, in it the waiting runs, the slots in use and the waits, hour by hour.

use std::fmt::Write;

use crate::simulate::{Hour, Week};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 118.0;
const PANEL: f64 = 300.0;
const GAP: f64 = 54.0;
const TOP: f64 = 96.0;
const ROW: f64 = 132.0;
const HEIGHT: f64 = 96.0;

/// Both axes of amounts are logarithmic, so that a queue of three and one of three thousand are seen in one drawing.
struct Axis {
    marks: Vec<(f64, String)>,
    most: f64,
    /// What counts as nothing: everything below is drawn at the bottom.
    least: f64,
}

impl Axis {
    fn waiting(weeks: &[Week]) -> Self {
        let most = greatest(weeks, |hour| Some(hour.queued)).max(10.0);
        let marks = [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0];
        let marks = marks.into_iter().filter(|mark| *mark <= most * 3.0);
        Self {
            marks: marks.map(|mark| (mark, mark.to_string())).collect(),
            most,
            least: 0.1,
        }
    }

    fn waits(weeks: &[Week]) -> Self {
        let most = greatest(weeks, |hour| hour.wait(0.95)).max(60.0);
        let marks = [
            (1.0, "1 s"),
            (10.0, "10 s"),
            (60.0, "1 min"),
            (600.0, "10 min"),
            (3600.0, "1 h"),
            (6.0 * 3600.0, "6 h"),
            (48.0 * 3600.0, "2 d"),
        ];
        let marks = marks.into_iter().filter(|(mark, _)| *mark <= most);
        Self {
            marks: marks.map(|(mark, label)| (mark, label.to_owned())).collect(),
            most,
            least: 1.0,
        }
    }

    /// From 0 at the bottom to 1 at the top.
    fn place(&self, value: f64) -> f64 {
        (value.max(self.least) / self.least).ln() / (self.most.max(self.least * 10.0) / self.least).ln()
    }
}

fn greatest(weeks: &[Week], of: impl Fn(&Hour) -> Option<f64>) -> f64 {
    let values = weeks.iter().flat_map(|week| &week.hours).filter_map(of);
    values.fold(0.0, f64::max)
}

/// Draws the weeks.
pub fn svg(weeks: &[Week], answer: &str, target: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * weeks.len() as f64 + 34.0;
    let mut out = String::new();
    // Writing to a `String` cannot fail; the results below are dropped for that reason.
    let _ = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="12">
<style>
  .paper {{ fill: #ffffff }} text {{ fill: #1b2430 }} .soft {{ fill: #5b6776 }} .grid {{ stroke: #e3e8ed }}
  .area {{ fill: #cfe3f2 }} .line {{ fill: none; stroke: #1f6fa8; stroke-width: 1.4 }} .thin {{ fill: none; stroke: #1f6fa8; stroke-width: 1; opacity: .55 }}
  .most {{ stroke: #b3372b; stroke-width: 1.2 }} .target {{ stroke: #8a5a00; stroke-dasharray: 4 3 }} .day {{ fill: #f3f5f7 }} .red {{ fill: #b3372b }} .brown {{ fill: #8a5a00 }}
  @media (prefers-color-scheme: dark) {{
    .paper {{ fill: #14181d }} text {{ fill: #e6ebf1 }} .soft {{ fill: #98a5b3 }} .grid {{ stroke: #2b343f }} .area {{ fill: #23445c }}
    .line, .thin {{ stroke: #6cb4e6 }} .most {{ stroke: #f08b7f }} .target {{ stroke: #e2b35c }} .day {{ fill: #1a2027 }} .red {{ fill: #f08b7f }} .brown {{ fill: #e2b35c }}
  }}
</style>
<rect class="paper" width="{WIDTH}" height="{height}"/>
<text x="24" y="34" font-size="18" font-weight="600">{}</text>
"#,
        escaped(answer)
    );
    let heads = [
        ("runs waiting, mean of the hour", ""),
        ("slots in use, mean of the hour", ""),
        ("wait: half (thin) and 95 of 100", " · dashed: the target"),
    ];
    for (column, (head, more)) in (0_u8..).zip(heads) {
        let x = left(column);
        let _ = writeln!(
            out,
            r#"<text x="{x}" y="72">{head}<tspan class="brown">{more}</tspan></text>"#
        );
    }
    let (waiting, waits) = (Axis::waiting(weeks), Axis::waits(weeks));
    let mut top = TOP;
    for week in weeks {
        row(&mut out, week, top, &waiting, &waits, target);
        top += ROW;
    }
    days(&mut out, weeks.first().map_or(0, |week| week.hours.len()), top);
    out.push_str("</svg>\n");
    out
}

fn row(out: &mut String, week: &Week, top: f64, waiting: &Axis, waits: &Axis, target: f64) {
    let slots = if week.slots == 1 { "slot" } else { "slots" };
    let _ = writeln!(
        out,
        r#"<text x="24" y="{:.0}" font-size="20" font-weight="600">{}</text><text x="24" y="{:.0}">{slots}</text>
<text class="soft" x="24" y="{:.0}">{:.0} % in use</text>"#,
        top + 30.0,
        week.slots,
        top + 46.0,
        top + 66.0,
        100.0 * week.busy()
    );
    let panel = |out: &mut String, column: u8| {
        let (x, hours) = (left(column), week.hours.len());
        for day in (0..hours).step_by(48) {
            let from = x + at(day, hours);
            let _ = writeln!(
                out,
                r#"<rect class="day" x="{from:.1}" y="{top}" width="{:.1}" height="{HEIGHT}"/>"#,
                at((day + 24).min(hours), hours) - at(day, hours)
            );
        }
    };
    let grid = |out: &mut String, column: u8, place: f64, label: &str| {
        let (x, y) = (left(column), top + HEIGHT * (1.0 - place));
        let _ = writeln!(
            out,
            r#"<line class="grid" x1="{x}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="soft" font-size="10" text-anchor="end" x="{:.1}" y="{:.1}">{label}</text>"#,
            x + PANEL,
            x - 5.0,
            y + 3.5
        );
    };
    let place = |value: f64| value.clamp(0.0, 1.0);

    panel(out, 0);
    for (mark, label) in &waiting.marks {
        if waiting.place(*mark) <= 1.0 {
            grid(out, 0, waiting.place(*mark), label);
        }
    }
    let queued = |hour: &Hour| Some(place(waiting.place(hour.queued)));
    curve(out, week, 0, top, "area", queued);
    curve(out, week, 0, top, "line", queued);

    panel(out, 1);
    let slots = f64::from(week.slots);
    let used = |hour: &Hour| Some(place(hour.processing / slots * 0.92));
    grid(out, 1, 0.0, "0");
    curve(out, week, 1, top, "area", used);
    curve(out, week, 1, top, "line", used);
    let (x, y) = (left(1), top + HEIGHT * 0.08);
    let _ = writeln!(
        out,
        r#"<line class="most" x1="{x}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="red" font-size="10" text-anchor="end" x="{:.1}" y="{:.1}">{}</text>"#,
        x + PANEL,
        x - 5.0,
        y + 3.5,
        week.slots
    );

    panel(out, 2);
    for (mark, label) in &waits.marks {
        if waits.place(*mark) <= 1.0 {
            grid(out, 2, waits.place(*mark), label);
        }
    }
    curve(out, week, 2, top, "thin", |hour| {
        Some(place(waits.place(hour.wait(0.5)?)))
    });
    curve(out, week, 2, top, "line", |hour| {
        Some(place(waits.place(hour.wait(0.95)?)))
    });
    let (x, y) = (left(2), top + HEIGHT * (1.0 - place(waits.place(target))));
    let _ = writeln!(
        out,
        r#"<line class="target" x1="{x}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#,
        x + PANEL
    );
}

/// A curve or an area over the hours; hours without a value are passed over.
fn curve(
    out: &mut String,
    week: &Week,
    column: u8,
    top: f64,
    class: &str,
    of: impl Fn(&Hour) -> Option<f64>,
) {
    let hours = week.hours.len();
    let mut path = String::new();
    let mut ends = None;
    for (number, hour) in week.hours.iter().enumerate() {
        if let Some(value) = of(hour) {
            let x = left(column) + f64::midpoint(at(number, hours), at(number + 1, hours));
            let _ = write!(
                path,
                "{}{x:.1} {:.1}",
                if path.is_empty() { 'M' } else { 'L' },
                top + HEIGHT * (1.0 - value)
            );
            ends = Some(ends.map_or((x, x), |(first, _)| (first, x)));
        }
    }
    if let Some((first, last)) = ends {
        if class == "area" {
            let bottom = top + HEIGHT;
            let _ = write!(path, "L{last:.1} {bottom:.1}L{first:.1} {bottom:.1}Z");
        }
        let _ = writeln!(out, r#"<path class="{class}" d="{path}"/>"#);
    }
}

/// The days' names under the last row.
fn days(out: &mut String, hours: usize, top: f64) {
    const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let y = top - ROW + HEIGHT + 16.0;
    // At most as many names as there is room for.
    let every = (hours / 24).div_ceil(7).max(1);
    for column in 0..3 {
        for day in (0..hours / 24).step_by(every) {
            let _ = writeln!(
                out,
                r#"<text class="soft" font-size="10" text-anchor="middle" x="{:.1}" y="{y:.1}">{}</text>"#,
                left(column) + at(day * 24 + 12, hours),
                NAMES[day % 7]
            );
        }
    }
}

fn left(column: u8) -> f64 {
    LEFT + 34.0 + f64::from(column) * (PANEL + GAP)
}

#[expect(clippy::cast_precision_loss, reason = "hours of a month")]
fn at(hour: usize, hours: usize) -> f64 {
    PANEL * hour as f64 / hours.max(1) as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
