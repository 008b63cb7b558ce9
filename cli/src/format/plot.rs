//! A result as a bar chart: one panel for each number, one bar for each group, whiskers for 95 % intervals.

use anyhow::{anyhow, bail};
use dispers_sql::decode::{Table, Value};
use plotters::prelude::*;

use super::short;

/// Width of the drawing, in pixels.
const WIDTH: u32 = 900;
const PANEL: u32 = 360;
/// Largest number of panels. A drawing with more could not be read.
const MOST: usize = 12;

/// A bar.
struct Bar {
    label: String,
    value: f64,
    interval: Option<(f64, f64)>,
}

/// Draws a result as SVG.
pub(super) fn draw(table: &Table) -> anyhow::Result<String> {
    let numeric = (0..table.columns.len()).filter(|column| {
        let mut values = table.rows.iter().map(|row| &row[*column]);
        !table.keys.contains(column) && values.any(|value: &Value| value.number().is_some())
    });
    let panels: Vec<usize> = numeric.take(MOST).collect();
    if panels.is_empty() {
        bail!("there is nothing to draw: no group with a number was released");
    }
    let mut drawing = String::new();
    {
        let size = (WIDTH, PANEL * panels.len() as u32);
        let root = SVGBackend::with_string(&mut drawing, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        for (area, column) in root.split_evenly((panels.len(), 1)).iter().zip(&panels) {
            let bars = bars(table, *column);
            let ends = bars.iter().flat_map(|bar| {
                let (low, high) = bar.interval.unwrap_or((bar.value, bar.value));
                [bar.value, low, high]
                    .into_iter()
                    .filter(|end| end.is_finite())
            });
            // The axis always includes 0, or bars would not be proportional to values.
            let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), end| {
                (low.min(end), high.max(end))
            });
            // A panel without height would have no scale.
            let high = if high > low { high } else { low + 1.0 };
            let room = (high - low) * 0.05;
            let low = if low < 0.0 { low - room } else { 0.0 };
            let places = (0..bars.len()).into_segmented();
            let mut chart = ChartBuilder::on(area)
                .caption(&table.columns[*column], ("sans-serif", 18))
                .margin(12)
                .x_label_area_size(42)
                .y_label_area_size(70)
                .build_cartesian_2d(places, low..high + room)
                .map_err(failed)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .x_labels(bars.len())
                .x_label_formatter(&|place| match place {
                    SegmentValue::CenterOf(bar) => bars
                        .get(*bar)
                        .map_or(String::new(), |bar| bar.label.clone()),
                    _ => String::new(),
                })
                .draw()
                .map_err(failed)?;
            let shapes = bars.iter().enumerate().map(|(place, bar)| {
                let ends = [
                    (SegmentValue::Exact(place), 0.0),
                    (SegmentValue::Exact(place + 1), bar.value),
                ];
                let mut shape = Rectangle::new(ends, RGBColor(66, 113, 174).filled());
                shape.set_margin(0, 0, 8, 8);
                shape
            });
            chart.draw_series(shapes).map_err(failed)?;
            let whiskers = bars.iter().enumerate().filter_map(|(place, bar)| {
                let (from, to) = bar.interval?;
                // Noise may take an end of an interval far out of the panel.
                let (from, to) = (from.clamp(low, high + room), to.clamp(low, high + room));
                let ends = [from, to].map(|end| (SegmentValue::CenterOf(place), end));
                Some(PathElement::new(ends, BLACK.stroke_width(2)))
            });
            chart.draw_series(whiskers).map_err(failed)?;
        }
        root.present().map_err(failed)?;
    }
    // The bars show released groups only, so a reader of the file must be told of the others.
    if !table.suppressed_groups.is_empty() {
        let words = format!(
            "<desc>{} groups are suppressed: fewer people than the minimum cohort in each</desc>\n</svg>",
            table.suppressed_groups.len()
        );
        if let Some(end) = drawing.rfind("</svg>") {
            drawing.replace_range(end..end + "</svg>".len(), &words);
        }
    }
    Ok(drawing)
}

// The backend's error types depend on what is drawn, so any error is taken.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the result: {error}")
}

fn bars(table: &Table, column: usize) -> Vec<Bar> {
    let rows = table.rows.iter().enumerate();
    let bars = rows.filter_map(|(place, row)| {
        let keys: Vec<String> = table.keys.iter().map(|key| short(&row[*key])).collect();
        Some(Bar {
            label: keys.join(", "),
            // A group whose number was withheld has no bar.
            value: row[column].number()?,
            interval: table.intervals.get(place).and_then(|row| row[column]),
        })
    });
    bars.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row =
            |key: &str, count| vec![Value::Text(key.into()), Value::Integer(count), Value::Null];
        Table {
            columns: ["<key>", "n & m", "none"].map(str::to_owned).into(),
            rows: vec![
                row("<script>alert(1)</script>", 12),
                row("b", 30),
                row("c", 7),
            ],
            keys: vec![0],
            intervals: vec![vec![None, Some((9.0, 15.0)), None]; 3],
            suppressed_groups: vec![Vec::new()],
            ..Table::default()
        }
    }

    #[test]
    fn each_group_has_a_bar_and_a_whisker_and_no_text_is_markup() {
        let drawing = draw(&table()).unwrap();
        assert_eq!(drawing.matches("fill=\"#4271AE\"").count(), 3);
        assert_eq!(drawing.matches("stroke-width=\"2\"").count(), 3);
        assert!(drawing.contains("n &amp; m"));
        assert!(drawing.contains("&lt;script&gt;"));
        assert!(!drawing.contains("<script"));
        assert!(drawing.contains("1 groups are suppressed"));
        assert!(!drawing.contains(">none"));
    }

    #[test]
    fn without_a_number_there_is_nothing_to_draw() {
        let mut table = table();
        table.rows.clear();
        assert!(
            draw(&table)
                .unwrap_err()
                .to_string()
                .contains("nothing to draw")
        );
    }
}
