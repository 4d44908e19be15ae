//! The figures of a run as a table, and its course as a plot.

use super::judge::{Trend, kills};
use super::sample::Sample;
use super::trouble::{Event, What};
use crate::place::Machine;
use crate::table::markdown;
use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;
use std::time::Duration;

/// In pixels.
const SIZE: (u32, u32) = (960, 900);
const FONT: &str = "sans-serif";
const UPGRADE: RGBColor = RGBColor(0, 114, 178);
const KILL: RGBColor = RGBColor(213, 94, 0);
const COLOURS: [RGBColor; 2] = [RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Everything that is told of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) length: Duration,
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) samples: Vec<Sample>,
    pub(crate) events: Vec<Event>,
    pub(crate) trends: Vec<Trend>,
    /// What was done, in rows of a name and a number.
    pub(crate) traffic: Vec<(&'static str, u64)>,
    pub(crate) complaints: Vec<String>,
}

/// The text between the markers of docs/reliability.md.
pub(crate) fn table(run: &Run) -> String {
    let count = |is: fn(&What) -> bool| run.events.iter().filter(|event| is(&event.what)).count();
    let reloads = count(|what| *what == What::Reload);
    let upgrades = count(|what| *what == What::Upgrade);
    let kills = kills(&run.events, |_| true);
    let mut text = format!(
        "{}.\n{}; {:.0} minutes with {reloads} reloads, {kills} processes killed, {upgrades} upgrades.\n\n",
        run.machine.words(),
        run.date,
        run.length.as_secs_f64() / 60.0
    );
    let rows = run.traffic.iter().map(|(name, number)| vec![(*name).to_owned(), number.to_string()]);
    text += &markdown(&["traffic and what became of it", "number"], rows.collect());
    text.push('\n');
    let number =
        |value: f64, unit: &str| format!("{value:.1} {unit}").replace(".0 ", " ").trim_end().to_owned();
    let rows = run.trends.iter().map(|trend| {
        let values = [trend.first, trend.last, trend.highest].map(|value| number(value, trend.unit));
        std::iter::once(trend.name.to_owned()).chain(values).collect()
    });
    text += &markdown(&["median of a second", "first quarter", "last quarter", "highest"], rows.collect());
    let verdict = if run.complaints.is_empty() { "nothing".to_owned() } else { run.complaints.join("; ") };
    text += &format!("\nWhat was found wrong: {verdict}.\n");
    text
}

/// One panel: its title, and lines of minutes and values.
type Panel = (&'static str, Vec<(&'static str, Vec<(f64, f64)>)>);

fn panels(samples: &[Sample]) -> Vec<Panel> {
    let line = |name: &'static str, value: fn(&Sample) -> Option<f64>| {
        let points = samples.iter().filter_map(|sample| Some((sample.at / 60.0, value(sample)?)));
        (name, points.collect::<Vec<_>>())
    };
    vec![
        (
            "memory, MiB",
            vec![line("all processes", |s| Some(s.memory_mib)), line("main", |s| Some(s.main_memory_mib))],
        ),
        (
            "descriptors of main, processes without TCP clients'",
            vec![
                line("descriptors", |s| Some(crate::tree::count(s.main_descriptors as u64))),
                line("processes", |s| Some(crate::tree::count(s.processes as u64))),
            ],
        ),
        (
            "DHCP answer, ms (a second's p50 and p99)",
            vec![line("p99", |s| s.dhcp_p99), line("p50", |s| s.dhcp_p50)],
        ),
        ("files, MiB", vec![line("leases", |s| Some(s.leases_mib)), line("log", |s| Some(s.log_mib))]),
    ]
}

/// Draws the run's course: kills as short marks at the bottom, upgrades as lines.
pub(crate) fn draw(path: &Path, run: &Run) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = area.fill(&WHITE).map_err(|error| error.to_string()).and_then(|()| {
        let panels = panels(&run.samples);
        let places = area.split_evenly((panels.len(), 1));
        panels.into_iter().zip(places).try_for_each(|(panel, place)| draw_panel(&place, panel, run))
    });
    drawn
        .and_then(|()| area.present().map_err(|error| error.to_string()))
        .map_err(|error| anyhow!("could not draw \"{}\": {error}", path.display()))
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: Panel, run: &Run) -> Result<(), String> {
    let (title, lines) = panel;
    let minutes = run.length.as_secs_f64() / 60.0;
    let values = lines.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let high = values.fold(1.0, f64::max) * 1.1;
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 16))
        .margin(8)
        .x_label_area_size(26)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..minutes, 0.0..high)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.1))
        .x_labels(16)
        .y_labels(5)
        .label_style((FONT, 12))
        .draw()
        .map_err(|error| failed(&error))?;
    for event in &run.events {
        let at = event.at.as_secs_f64() / 60.0;
        let (top, colour) = match event.what {
            What::Upgrade => (high, UPGRADE.mix(0.5)),
            What::Kill(_) => (high * 0.06, KILL.mix(1.0)),
            What::Reload | What::Failed(_) => continue,
        };
        chart
            .draw_series(std::iter::once(PathElement::new([(at, 0.0), (at, top)], colour)))
            .map_err(|error| failed(&error))?;
    }
    for ((name, points), colour) in lines.into_iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(1)))
            .map_err(|error| failed(&error))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 12))
        .draw()
        .map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_told_and_drawn() {
        let sample = |at: u32| Sample {
            at: f64::from(at),
            memory_mib: 40.0,
            dhcp_p99: Some(2.0),
            ..Sample::default()
        };
        let samples: Vec<Sample> = (1..=600).map(sample).collect();
        let at = Duration::from_secs(60);
        let run = Run {
            length: Duration::from_mins(10),
            date: "1 May 2026".to_owned(),
            machine: Machine::default(),
            trends: super::super::judge::trends(&samples),
            samples,
            events: vec![
                Event { at, what: What::Upgrade },
                Event { at, what: What::Kill("udp".to_owned()) },
                Event { at, what: What::Reload },
            ],
            traffic: vec![("ACKs", 7)],
            complaints: Vec::new(),
        };
        let text = table(&run);
        assert!(text.contains("10 minutes with 1 reloads, 1 processes killed, 1 upgrades"), "{text}");
        assert!(text.contains("| ACKs | 7 |") && text.contains("What was found wrong: nothing."), "{text}");
        assert!(text.contains("| memory of all processes | 40 MiB | 40 MiB | 40 MiB |"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("soak.svg");
        draw(&path, &run).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.contains("memory, MiB") && svg.contains("all processes"));
    }
}
