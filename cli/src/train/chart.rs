//! Chart of the loss of each round.

use anyhow::{anyhow, bail};
use plotters::prelude::*;

use super::file::ModelFile;

/// Draws the loss of each round as SVG.
///
/// # Errors
/// For a model without a loss in any round.
pub(super) fn draw(file: &ModelFile) -> anyhow::Result<String> {
    let points: Vec<(f64, f64)> = file
        .history
        .iter()
        .filter_map(|round| Some((f64::from(round.round), round.loss?)))
        .collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        bail!("there is nothing to draw: this model has no loss in any round");
    };
    // A single round still needs an axis with some length, and equal losses one with some height.
    let (from, to) = (first.0, last.0.max(first.0 + 1.0));
    let losses = points.iter().map(|point| point.1);
    let (low, high) = losses.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), loss| {
        (low.min(loss), high.max(loss))
    });
    let room = ((high - low) * 0.05).max(1e-3);
    let mut drawing = String::new();
    {
        // The backend borrows `drawing` until the end of this block.
        let root = SVGBackend::with_string(&mut drawing, (900, 420)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(format!("{}: loss by round", file.model), ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d(from..to, low - room..high + room)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("round")
            .draw()
            .map_err(failed)?;
        let colour = RGBColor(66, 113, 174);
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
            .map_err(failed)?;
        let dots = points
            .iter()
            .map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots).map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(drawing)
}

// The backend's error types depend on what is drawn, so any error is taken.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the losses: {error}")
}
