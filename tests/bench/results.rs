//! What a section measured: samples, in tables and curves, and how they stand to the targets.
//!
//! Nothing here knows how a figure was got; the report and the plots know nothing but what is here.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// Repeated measurements of one quantity, in the order in which they were made. Never empty. A ratio to nothing is not
/// finite, and meets no target.
#[derive(Clone, Debug)]
pub struct Samples {
    unit: &'static str,
    values: Vec<f64>,
}

impl Samples {
    /// Panics where nothing was measured: a section says so in words ([`Cell::Said`]).
    pub fn new(unit: &'static str, values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "no sample in {unit}");
        Self { unit, values }
    }

    /// One measurement.
    pub fn one(unit: &'static str, value: f64) -> Self {
        Self::new(unit, vec![value])
    }

    pub fn unit(&self) -> &'static str {
        self.unit
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
    }

    pub fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// No more than the first ones.
    pub fn first(&self, count: usize) -> Self {
        Self::new(self.unit, self.values[..count.min(self.values.len())].to_vec())
    }

    /// Sample by sample: both must come from the same rounds, which is what makes a ratio hold on a machine whose
    /// speed changes.
    pub fn over(&self, other: &Self) -> Self {
        self.paired(other, "×", |one, other| one / other)
    }

    /// The same for differences.
    pub fn minus(&self, other: &Self) -> Self {
        self.paired(other, self.unit, |one, other| one - other)
    }

    fn paired(&self, other: &Self, unit: &'static str, of: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.values.len(), other.values.len(), "samples of the same rounds");
        Self::new(unit, self.values.iter().zip(&other.values).map(|(one, other)| of(*one, *other)).collect())
    }
}

impl fmt::Display for Samples {
    /// `12.3 (11.9 to 14.0)`, without the unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&figure(self.median()))?;
        if self.values.len() > 1 {
            write!(f, " ({} to {})", figure(self.min()), figure(self.max()))?;
        }
        Ok(())
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut samples = serializer.serialize_struct("Samples", 5)?;
        samples.serialize_field("unit", self.unit)?;
        samples.serialize_field("median", &self.median())?;
        samples.serialize_field("min", &self.min())?;
        samples.serialize_field("max", &self.max())?;
        samples.serialize_field("samples", &self.values)?;
        samples.end()
    }
}

/// Three digits that count, or all digits of a large number in groups of three.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "—".to_owned();
    }
    let size = value.abs();
    let is_whole = value.fract() == 0.0;
    if size < 999.5 {
        let decimals = match size {
            _ if is_whole => 0,
            ..0.0995 => 4,
            ..9.995 => 2,
            9.995..99.95 => 1,
            _ => 0,
        };
        return format!("{value:.decimals$}");
    }
    let digits = format!("{size:.0}");
    let mut grouped = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// One cell of a table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Shown with its unit where the column's title does not name one.
    Measured(Samples),
    /// Why there is no figure, or what cannot be said by one.
    Said(String),
}

impl From<Samples> for Cell {
    fn from(samples: Samples) -> Self {
        Self::Measured(samples)
    }
}

/// Not measured, and why.
impl From<Result<Samples, String>> for Cell {
    fn from(result: Result<Samples, String>) -> Self {
        result.map_or_else(Self::Said, Self::Measured)
    }
}

/// Figures side by side.
#[derive(Debug, Serialize)]
pub struct Table {
    /// One line.
    pub title: String,
    /// Titles of all columns, that of the rows' names first.
    pub columns: Vec<String>,
    /// A row's name, and as many cells as there are columns after the first.
    pub rows: Vec<(String, Vec<Cell>)>,
}

impl Table {
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, name: impl Into<String>, cells: Vec<Cell>) {
        assert_eq!(cells.len() + 1, self.columns.len(), "a row of {}", self.title);
        self.rows.push((name.into(), cells));
    }
}

/// An axis of a plot.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    /// With its unit.
    pub label: String,
    /// Decades at equal distances; otherwise the axis begins at zero.
    pub logarithmic: bool,
}

impl Axis {
    pub fn logarithmic(label: &str) -> Self {
        Self { label: label.to_owned(), logarithmic: true }
    }

    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), logarithmic: false }
    }
}

/// Figures over a size. Plotted, and printed as a table.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// Names the SVG file: lower-case letters, digits and dashes.
    pub name: String,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// One line of a [`Curve`].
#[derive(Debug, Serialize)]
pub struct Series {
    pub name: String,
    /// By size, in rising order.
    pub points: Vec<(f64, Cell)>,
}

impl Curve {
    pub fn new(name: &str, title: &str, x: Axis, y: Axis) -> Self {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(allowed), "{name} names a file");
        Self { name: name.to_owned(), title: title.to_owned(), x, y, series: Vec::new() }
    }

    /// Adds a point to the line of that name, which begins where there is none yet.
    pub fn add(&mut self, series: &str, x: f64, y: impl Into<Cell>) {
        let y = y.into();
        match self.series.iter_mut().find(|it| it.name == series) {
            Some(line) => line.points.push((x, y)),
            None => self.series.push(Series { name: series.to_owned(), points: vec![(x, y)] }),
        }
    }

    /// All sizes at which any line has a point.
    pub fn sizes(&self) -> Vec<f64> {
        let mut sizes: Vec<f64> =
            self.series.iter().flat_map(|line| &line.points).map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }
}

/// What the project demands of a ratio.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub fn holds(self, value: f64) -> bool {
        match self {
            // Not a number is neither.
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

/// One row of the table of targets. The median is what counts.
#[derive(Debug, Serialize)]
pub struct Target {
    /// What is held against what.
    pub what: String,
    pub bound: Bound,
    /// Or why there is none.
    pub measured: Cell,
    /// What the project wants shown beside it; may be empty.
    pub beside: String,
}

impl Target {
    pub fn new(what: &str, bound: Bound, measured: impl Into<Cell>, beside: impl Into<String>) -> Self {
        Self { what: what.to_owned(), bound, measured: measured.into(), beside: beside.into() }
    }

    /// None where nothing was measured.
    pub fn is_met(&self) -> Option<bool> {
        match &self.measured {
            Cell::Measured(samples) => Some(self.bound.holds(samples.median())),
            Cell::Said(_) => None,
        }
    }
}

/// All that one section has to say.
#[derive(Debug, Serialize)]
pub struct Section {
    pub name: &'static str,
    /// How it was measured, one list item each: a reader must be able to do it again.
    pub how: Vec<String>,
    pub tables: Vec<Table>,
    pub curves: Vec<Curve>,
    pub targets: Vec<Target>,
}

impl Section {
    pub fn new(name: &'static str, how: &[&str]) -> Self {
        Self {
            name,
            how: how.iter().map(ToString::to_string).collect(),
            tables: Vec::new(),
            curves: Vec::new(),
            targets: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_taken_over_rounds() {
        let one = Samples::new("ns", vec![30.0, 10.0, 20.0, 40.0]);
        assert!((one.median() - 25.0).abs() < 1e-9);
        let ratio = one.over(&Samples::new("ns", vec![15.0, 5.0, 10.0, 10.0]));
        assert_eq!(ratio.values(), [2.0, 2.0, 2.0, 4.0]);
        assert_eq!(ratio.to_string(), "2 (2 to 4)");
    }

    #[test]
    fn figures_have_the_digits_that_count() {
        let shown = [0.0, 0.00331, 0.875, 7.0, 12.345, 99.97, 640.4, 1_234.5, 1_048_576.0].map(figure);
        assert_eq!(shown, ["0", "0.0033", "0.88", "7", "12.3", "100", "640", "1,234", "1,048,576"]);
    }

    #[test]
    fn a_target_is_met_by_its_median() {
        let target = |bound| Target::new("", bound, Samples::new("×", vec![1.0, 2.0, 9.0]), "");
        assert_eq!(target(Bound::AtMost(2.0)).is_met(), Some(true));
        assert_eq!(target(Bound::AtLeast(2.1)).is_met(), Some(false));
        let nothing = Samples::one("ns", 0.0);
        let ratio = Target::new("", Bound::AtMost(2.0), nothing.over(&nothing), "");
        assert_eq!(ratio.is_met(), Some(false));
    }
}
