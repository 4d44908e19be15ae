//! The plots, as SVG, made from the book: throughput against the window, and cost against the number of leases.

use crate::book::Book;
use crate::dhcp::WINDOWS;
use crate::growth;
use crate::servers::ALL;
use anyhow::anyhow;
use plotters::prelude::*;
use std::path::Path;

/// In pixels: all of it, the plot of it, and where the names of the lines begin.
const SIZE: (u32, u32) = (960, 460);
const PLOT_WIDTH: u32 = 710;
const FIRST_NAME: i32 = 60;
const NAME_HEIGHT: i32 = 22;
const FONT: &str = "sans-serif";
/// Told apart also by who sees red and green alike (Okabe and Ito's palette).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(110, 110, 110),
];

/// One line of a plot.
#[derive(Debug)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Words around the lines.
#[derive(Debug, Clone, Copy)]
struct Frame {
    title: &'static str,
    x: &'static str,
    y: &'static str,
}

/// Draws every plot whose figures the book has.
pub(crate) fn all(book: &Book, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let throughput = Frame { title: "Exchanges per second", x: "exchanges in flight", y: "exchanges/s" };
    draw(&folder.join("throughput.svg"), throughput, &windows(book))?;
    let cost = Frame {
        title: "Cost against leases in the file, of the smallest file's",
        x: "leases in the file",
        y: "times the smallest file's",
    };
    draw(&folder.join("growth.svg"), cost, &costs(book))
}

fn windows(book: &Book) -> Vec<Line> {
    let line = |kind: crate::servers::Kind| {
        let point = |window: &u16| {
            Some((f64::from(*window), book.median(&kind.to_string(), &format!("exchanges_w{window}"))?))
        };
        Line { name: kind.title(), points: WINDOWS.iter().filter_map(point).collect() }
    };
    ALL.into_iter().map(line).collect()
}

fn costs(book: &Book) -> Vec<Line> {
    let smallest = growth::subject(1);
    let line = |(name, measure): (&str, &str)| {
        let point = |size: &u32| {
            Some((f64::from(*size), book.ratio((&growth::subject(*size), measure), (&smallest, measure))?))
        };
        Line { name: name.to_owned(), points: growth::all_sizes().iter().filter_map(point).collect() }
    };
    [
        ("CPU time of an exchange", "cpu_per_10k"),
        ("exchanges/s, window 64", "exchanges_w64"),
        ("start to the first ACK", "first_ack_ms"),
    ]
    .map(line)
    .into()
}

/// Both axes logarithmic, the names of the lines at the right; nothing where there is nothing to draw.
fn draw(path: &Path, frame: Frame, lines: &[Line]) -> anyhow::Result<()> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let Some(((left, right), (low, high))) =
        range(points().map(|(x, _)| x)).zip(range(points().map(|(_, y)| y)))
    else {
        return Ok(());
    };
    let wrong = |error: &dyn std::fmt::Display| anyhow!("could not draw \"{}\": {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| wrong(&error))?;
    let (plot, names) = area.split_horizontally(PLOT_WIDTH);
    let mut chart = ChartBuilder::on(&plot)
        .caption(frame.title, (FONT, 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(78)
        .build_cartesian_2d((left..right * 1.05).log_scale(), (low * 0.7..high * 1.4).log_scale())
        .map_err(|error| wrong(&error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(frame.x)
        .y_desc(frame.y)
        .label_style((FONT, 14))
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .draw()
        .map_err(|error| wrong(&error))?;
    let mut y = FIRST_NAME;
    for (line, colour) in
        lines.iter().zip(COLOURS.into_iter().cycle()).filter(|(line, _)| !line.points.is_empty())
    {
        let stroke = colour.stroke_width(2);
        let series = LineSeries::new(line.points.iter().copied(), stroke).point_size(3);
        chart.draw_series(series).map_err(|error| wrong(&error))?;
        names.draw(&PathElement::new([(0, y), (18, y)], stroke)).map_err(|error| wrong(&error))?;
        let name = Text::new(line.name.as_str(), (26, y - 7), (FONT, 14));
        names.draw(&name).map_err(|error| wrong(&error))?;
        y += NAME_HEIGHT;
    }
    area.present().map_err(|error| wrong(&error))
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let positive = values.filter(|value| *value > 0.0);
    let range = positive.fold(None, |range: Option<(f64, f64)>, value| {
        Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    });
    range.map(|(low, high)| if high > low { (low, high) } else { (low, low * 2.0) })
}

/// `100k`, `1M`. A reference, since that is what a mesh gives its formatter.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn label(value: &f64) -> String {
    match *value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{}", (v * 100.0).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_show_each_server_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::default();
        for (at, window) in WINDOWS.iter().enumerate() {
            let step = f64::from(u8::try_from(at).unwrap()) + 1.0;
            book.add("kea", &format!("exchanges_w{window}"), step * 3000.0);
            book.add("ours-2", &format!("exchanges_w{window}"), step * 9000.0);
        }
        all(&book, folder.path()).unwrap();
        let svg = std::fs::read_to_string(folder.path().join("throughput.svg")).unwrap();
        assert!(svg.contains("Kea, threads, memfile") && svg.contains("echo-daemon, 2 workers"));
        assert!(!svg.contains("dnsmasq"), "what was not measured has no line");
        assert!(!folder.path().join("growth.svg").exists());
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([label(&1e6), label(&1e4), label(&16.0), label(&0.5)], ["1M", "10k", "16", "0.5"]);
    }
}
