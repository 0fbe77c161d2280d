//! Draws a curve as SVG.

use crate::results::{Cell, Curve, Samples, figure};
use plotters::prelude::*;
use std::{error::Error, ops::Range, path::Path};

const SIZE: (u32, u32) = (1_100, 520);
/// The names of the lines are beside the plot.
const NAMES: i32 = 300;
/// Told apart by most eyes (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    BLACK,
];
const FONT: (&str, i32) = ("sans-serif", 15);

/// Writes the file. A curve without any figure has none: `false`.
pub fn draw(curve: &Curve, file: &Path) -> Result<bool, Box<dyn Error>> {
    let measured: Vec<(f64, &Samples)> =
        curve.series.iter().flat_map(|line| &line.points).filter_map(measured).collect();
    if measured.is_empty() {
        return Ok(false);
    }
    let scale = |logarithmic: bool, value: f64| if logarithmic { value.max(1e-9).log10() } else { value };
    let x = |value| scale(curve.x.logarithmic, value);
    let y = |value| scale(curve.y.logarithmic, value);
    let xs = span(measured.iter().map(|(size, _)| x(*size)), curve.x.logarithmic);
    let ys = span(
        measured.iter().flat_map(|(_, samples)| [y(samples.min()), y(samples.max())]),
        curve.y.logarithmic,
    );
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(&curve.title, ("sans-serif", 20))
        .margin(16)
        .margin_right(NAMES)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(xs.clone(), ys.clone())?;
    let label = |logarithmic: bool, value: f64| tick(if logarithmic { 10_f64.powf(value) } else { value });
    chart
        .configure_mesh()
        .x_desc(&curve.x.label)
        .y_desc(&curve.y.label)
        .x_labels(ticks(&xs, curve.x.logarithmic))
        .y_labels(ticks(&ys, curve.y.logarithmic))
        .x_label_formatter(&|value| label(curve.x.logarithmic, *value))
        .y_label_formatter(&|value| label(curve.y.logarithmic, *value))
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (at, line) in curve.series.iter().enumerate() {
        let color = COLORS[at % COLORS.len()];
        let points: Vec<_> = line.points.iter().filter_map(measured_owned).collect();
        let medians = points.iter().map(|(size, samples)| (x(*size), y(samples.median())));
        chart.draw_series(LineSeries::new(medians, color.stroke_width(2)))?;
        let (left, top) = (SIZE.0 as i32 - NAMES + 16, 56 + 22 * at as i32);
        root.draw(&PathElement::new([(left, top), (left + 18, top)], color.stroke_width(2)))?;
        root.draw(&Text::new(line.name.clone(), (left + 26, top - 8), FONT))?;
        let extent = |(size, samples): &(f64, Samples)| {
            PathElement::new([(x(*size), y(samples.min())), (x(*size), y(samples.max()))], color)
        };
        chart.draw_series(points.iter().map(extent))?;
        chart.draw_series(
            points
                .iter()
                .map(|(size, samples)| Circle::new((x(*size), y(samples.median())), 3, color.filled())),
        )?;
    }
    root.present()?;
    Ok(true)
}

fn measured(point: &(f64, Cell)) -> Option<(f64, &Samples)> {
    match &point.1 {
        Cell::Measured(samples) if samples.values().iter().all(|value| value.is_finite()) => {
            Some((point.0, samples))
        }
        _ => None,
    }
}

fn measured_owned(point: &(f64, Cell)) -> Option<(f64, Samples)> {
    measured(point).map(|(size, samples)| (size, samples.clone()))
}

/// What an axis shows: whole decades, or from zero.
fn span(values: impl Iterator<Item = f64>, logarithmic: bool) -> Range<f64> {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if logarithmic {
        let (low, high) = (low.floor(), high.ceil());
        return low..if high > low { high } else { low + 1.0 };
    }
    0.0_f64.min(low)..if high > 0.0 { high * 1.05 } else { 1.0 }
}

fn ticks(span: &Range<f64>, logarithmic: bool) -> usize {
    if logarithmic { (span.end - span.start) as usize + 1 } else { 8 }
}

/// `10`, `1k`, `2.5M`
fn tick(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 999_999.0 => (value / 1e6, "M"),
        size if size >= 999.9 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let rounded = (value * 100.0).round() / 100.0;
    format!("{}{unit}", figure(rounded).trim_end_matches(".00"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Axis;

    #[test]
    fn a_curve_becomes_an_image_with_its_lines_named() {
        let mut curve =
            Curve::new("test", "A title", Axis::logarithmic("prefixes"), Axis::linear("ns/packet"));
        for (size, took) in [(10.0, 20.0), (1e3, 60.0), (1e6, 1_000.0)] {
            curve.add("ours", size, Samples::new("ns", vec![took, took * 1.1]));
        }
        curve.add("theirs", 10.0, Cell::Said("cannot".to_owned()));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(draw(&curve, file.path()).unwrap());
        let image = std::fs::read_to_string(file.path()).unwrap();
        for word in ["<svg", "A title", "prefixes", "ns/packet", "ours", "1k", "1M"] {
            assert!(image.contains(word), "no {word} in the image");
        }
        curve.series.remove(0);
        assert!(!draw(&curve, file.path()).unwrap(), "nothing was measured");
    }
}
