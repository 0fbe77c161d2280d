//! The report of one run: Markdown for people, JSON for programs, one SVG a curve.
//!
//! A report holds what one run measured, nothing else: figures of two runs are not to be compared line by line.

use crate::{
    machine::Machine,
    plot,
    results::{Cell, Curve, Section, Table, Target},
};
use serde::Serialize;
use std::{
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// One run.
#[derive(Serialize)]
pub struct Report {
    /// UTC, RFC 3339.
    pub began: String,
    /// UTC, RFC 3339.
    pub ended: String,
    /// Few iterations: no figure of it counts.
    pub quick: bool,
    pub machine: Machine,
    pub sections: Vec<Section>,
    /// Sections that stopped in the middle, with what they said.
    pub failed: Vec<(String, String)>,
}

impl Report {
    /// `2026-01-31T0945Z`: names the files.
    fn stamp(&self) -> String {
        self.began[..16].replace(':', "") + "Z"
    }

    /// Writes `latest.md`, a dated JSON, and a directory of that date with a plot for each curve. Returns the first.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
        let stamp = self.stamp();
        fs::create_dir_all(dir.join(&stamp))?;
        let mut drawn = Vec::new();
        for curve in self.sections.iter().flat_map(|section| &section.curves) {
            if plot::draw(curve, &dir.join(&stamp).join(format!("{}.svg", curve.name)))? {
                drawn.push(curve.name.as_str());
            }
        }
        if drawn.is_empty() {
            fs::remove_dir(dir.join(&stamp))?;
        }
        fs::write(dir.join(format!("{stamp}.json")), serde_json::to_string_pretty(self)? + "\n")?;
        let latest = dir.join("latest.md");
        fs::write(&latest, self.markdown(&stamp, &drawn)?)?;
        Ok(latest)
    }

    fn markdown(&self, stamp: &str, drawn: &[&str]) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let names: Vec<&str> = self.sections.iter().map(|section| section.name).collect();
        writeln!(text, "# Benchmarks\n")?;
        writeln!(
            text,
            "`cargo xtask bench {}`, from {} to {}. All samples: [{stamp}.json]({stamp}.json).\n",
            names.join(" "),
            self.began,
            self.ended
        )?;
        if self.quick {
            writeln!(text, "**A quick run: it shows that everything runs; no figure of it counts.**\n")?;
        }
        list(&mut text, &self.machine.items())?;
        writeln!(
            text,
            "\nFigures are medians with (least to most). Ratios and differences are taken round by round, \
             from samples that were made by turns, and then their median."
        )?;
        targets(&mut text, &self.sections)?;
        for section in &self.sections {
            writeln!(text, "\n## {}\n", section.name)?;
            list(&mut text, &section.how)?;
            section.tables.iter().try_for_each(|it| table(&mut text, it))?;
            for it in &section.curves {
                writeln!(text, "\n### {}\n", it.title)?;
                if drawn.contains(&it.name.as_str()) {
                    writeln!(text, "![{}]({stamp}/{}.svg)\n", it.title, it.name)?;
                }
                curve(&mut text, it)?;
            }
        }
        for (name, said) in &self.failed {
            writeln!(text, "\n## {name}\n\nStopped in the middle: {}", one_line(said))?;
        }
        Ok(text)
    }
}

/// Prints a section's tables, curves and targets as they will stand in the report.
pub fn show(section: &Section) -> String {
    let mut text = String::new();
    let written = section
        .tables
        .iter()
        .try_for_each(|it| table(&mut text, it))
        .and_then(|()| {
            section.curves.iter().try_for_each(|it| {
                writeln!(text, "\n### {}\n", it.title)?;
                curve(&mut text, it)
            })
        })
        .and_then(|()| targets(&mut text, std::slice::from_ref(section)));
    debug_assert!(written.is_ok(), "a string takes everything");
    text
}

fn list(text: &mut String, items: &[String]) -> std::fmt::Result {
    items.iter().try_for_each(|item| writeln!(text, "* {item}"))
}

fn targets(text: &mut String, sections: &[Section]) -> std::fmt::Result {
    let targets: Vec<&Target> = sections.iter().flat_map(|section| &section.targets).collect();
    if targets.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Targets\n")?;
    writeln!(text, "| what | target | measured | met | beside it |\n|---|---|---|---|---|")?;
    for target in targets {
        let met = match target.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "—",
        };
        writeln!(
            text,
            "| {} | {} | {} | {met} | {} |",
            target.what,
            target.bound,
            cell(&target.measured, true),
            target.beside
        )?;
    }
    Ok(())
}

fn table(text: &mut String, table: &Table) -> std::fmt::Result {
    writeln!(text, "\n### {}\n", table.title)?;
    head(text, &table.columns)?;
    for (name, cells) in &table.rows {
        // A column whose title names the unit need not repeat it.
        let cells: Vec<String> =
            cells.iter().zip(&table.columns[1..]).map(|(it, title)| cell(it, !is_named(it, title))).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

fn is_named(cell: &Cell, title: &str) -> bool {
    matches!(cell, Cell::Measured(samples) if title.ends_with(samples.unit()))
}

fn curve(text: &mut String, curve: &Curve) -> std::fmt::Result {
    let names = curve.series.iter().map(|line| format!("{}, {}", line.name, curve.y.label));
    head(text, &std::iter::once(curve.x.label.clone()).chain(names).collect::<Vec<_>>())?;
    for size in curve.sizes() {
        let at = |points: &[(f64, Cell)]| {
            let found = points.iter().find(|point| point.0.total_cmp(&size).is_eq());
            found.map_or_else(String::new, |(_, it)| cell(it, false))
        };
        let cells: Vec<String> = curve.series.iter().map(|line| at(&line.points)).collect();
        writeln!(text, "| {} | {} |", crate::results::figure(size), cells.join(" | "))?;
    }
    Ok(())
}

fn head(text: &mut String, titles: &[String]) -> std::fmt::Result {
    writeln!(text, "| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()))
}

fn cell(cell: &Cell, with_unit: bool) -> String {
    match cell {
        Cell::Measured(samples) if with_unit => format!("{samples} {}", samples.unit()).trim_end().to_owned(),
        Cell::Measured(samples) => samples.to_string(),
        Cell::Said(words) => one_line(words),
    }
}

/// A table's row is one line, and a bar in it would begin a cell.
fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Axis, Bound, Samples};

    #[test]
    fn a_report_says_what_was_measured_and_what_was_not() {
        let mut section = Section::new("wire", &["by turns"]);
        let mut rates = Table::new("Rates", &["who", "packets, kpps"]);
        rates.row("ours", vec![Samples::new("kpps", vec![2.0, 3.0, 4.0]).into()]);
        rates.row("theirs", vec![Cell::Said("no | such\nprogram".to_owned())]);
        section.tables.push(rates);
        let mut curve = Curve::new("wire-rates", "Rates", Axis::logarithmic("size"), Axis::linear("ns"));
        curve.add("ours", 10.0, Samples::one("ns", 5.0));
        curve.add("theirs", 10.0, Cell::Said("cannot".to_owned()));
        section.curves.push(curve);
        let ratio = Samples::one("×", 2.0);
        section.targets.push(Target::new("ours over theirs", Bound::AtLeast(3.0), ratio, "beside"));
        let report = Report {
            began: "2026-01-31T09:45:10Z".to_owned(),
            ended: "2026-01-31T09:46:10Z".to_owned(),
            quick: true,
            machine: Machine::here(),
            sections: vec![section],
            failed: vec![("flood".to_owned(), "it broke".to_owned())],
        };
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(report.write(dir.path()).unwrap()).unwrap();
        for line in [
            "| ours | 3 (2 to 4) |",
            "| theirs | no \\| such program |",
            "| ours over theirs | ≥ 3 | 2 × | **no** | beside |",
            "![Rates](2026-01-31T0945Z/wire-rates.svg)",
            "| 10 | 5 | cannot |",
            "Stopped in the middle: it broke",
        ] {
            assert!(text.contains(line), "no line {line:?} in {text}");
        }
        let json = fs::read_to_string(dir.path().join("2026-01-31T0945Z.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["sections"][0]["targets"][0]["measured"]["measured"]["median"], 2.0);
        assert!(dir.path().join("2026-01-31T0945Z/wire-rates.svg").exists());
    }
}
