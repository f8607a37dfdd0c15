//! The plots, as inline SVG that takes its colours from the page and tells in words what it shows.

use plotters::prelude::*;
use serde::Serialize;

use crate::analysis::stats::survival::{Time, curve};
use crate::analysis::{CellResult, Rate, Results, Round};
use crate::report::words::{clipped, count, counted, duration, number, one_line};
use crate::report::{story, table};

/// One figure.
#[derive(Debug, Serialize)]
pub(super) struct Plot {
    pub title: &'static str,
    /// What it shows, for those who don't see it.
    pub text: String,
    /// (colour class, name) of each line; empty where the axis names them.
    pub legend: Vec<(usize, String)>,
    /// The drawing without its outer tag; safe, made here.
    pub svg: String,
    pub width: u32,
    pub height: u32,
}

/// Drawing units; the page scales them to its width, so that text stays readable on a phone.
const WIDTH: u32 = 480;
const FONT: (&str, u32) = ("sans-serif", 20);
/// Colours that no figure uses: they are put in so that the page can put its own in their place.
const INK: RGBColor = RGBColor(1, 1, 1);
const FAINT: RGBColor = RGBColor(1, 1, 2);
/// Lines that the style sheet has colours for.
const COLOURS: usize = 6;

fn series_colour(index: usize) -> RGBColor {
    RGBColor(1, 2, u8::try_from(index % COLOURS).unwrap_or_default())
}

/// Every figure for which there is anything to show. Cells beyond what one figure holds are told in the table alone.
pub(super) fn all(results: &Results) -> Result<Vec<Plot>, String> {
    let shown: Vec<&CellResult> = results.cells.iter().filter(|cell| cell.totals.exposures > 0).take(24).collect();
    let mut plots = Vec::new();
    if !shown.is_empty() {
        plots.push(rates(results, &shown)?);
    }
    if shown.iter().any(|cell| cell.first_corruption_s.is_some()) {
        plots.push(first(results, &shown)?);
    }
    if shown.iter().any(|cell| cell.rounds.iter().any(|round| round.end().is_some_and(|end| end.progress.len() > 1))) {
        plots.push(timeline(results, &shown)?);
    }
    Ok(plots)
}

fn name(results: &Results, cell: &CellResult) -> String {
    let several_kernels = results.cells.iter().any(|other| other.spec.kernel != cell.spec.kernel);
    let kernel = if several_kernels { cell.spec.kernel.as_str() } else { "" };
    one_line(&[kernel, &cell.spec.variant, &story::setting(results, cell)].join(" "))
}

/// Corruptions per exposure with exact 95 % intervals, on a logarithmic axis; nothing seen is a bar up to the limit.
fn rates(results: &Results, cells: &[&CellResult]) -> Result<Plot, String> {
    let rows: Vec<(String, Rate)> = cells.iter().map(|cell| (name(results, cell), Rate::of(cell))).collect();
    let bounds = rows.iter().filter_map(|(_, rate)| rate.interval95);
    let smallest = bounds.clone().map(|it| if it.low > 0.0 { it.low } else { it.high }).fold(f64::INFINITY, f64::min);
    let largest = bounds.map(|it| it.high).fold(0.0, f64::max).max(smallest);
    let low = 10f64.powf((smallest.log10() - 0.3).floor());
    let high = 10f64.powf(largest.log10().ceil()).max(low * 10.0);
    let height = u32::try_from(rows.len()).unwrap_or(u32::MAX).saturating_mul(56).saturating_add(78);
    let drawn = draw(height, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .margin_left(24)
            .margin_right(24)
            .x_label_area_size(54)
            .build_cartesian_2d((low..high).log_scale(), 0.0..rows.len() as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(5)
            .x_label_formatter(&|value| number(*value))
            .x_desc("corruptions per exposure")
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(FONT.into_font().color(&INK))
            .axis_desc_style(FONT.into_font().color(&INK))
            .draw()?;
        for (index, (name, rate)) in rows.iter().enumerate() {
            let colour = series_colour(index);
            // From the top down, in plan order.
            let level = rows.len() as f64 - index as f64 - 0.68;
            let Some(interval) = rate.interval95 else { continue };
            let from = if interval.low > 0.0 { interval.low } else { low };
            chart
                .draw_series([PathElement::new(vec![(from, level), (interval.high, level)], colour.stroke_width(4))])?;
            let ends = if interval.low > 0.0 { vec![from, interval.high] } else { vec![interval.high] };
            chart
                .draw_series(ends.into_iter().map(|end| {
                    PathElement::new(vec![(end, level - 0.1), (end, level + 0.1)], colour.stroke_width(2))
                }))?;
            if let Some(value) = rate.per_exposure.filter(|&value| value > 0.0) {
                chart.draw_series([Circle::new((value, level), 5, colour.filled())])?;
            }
            let label = format!("{}: {}", clipped(name, 22), table::rate(rate));
            chart.draw_series([Text::new(label, (low * 1.02, level + 0.5), FONT.into_font().color(&INK))])?;
        }
        Ok(())
    })?;
    let told: Vec<String> = rows.iter().map(|(name, rate)| format!("{name} {}", table::rate(rate))).collect();
    Ok(Plot {
        title: "Corruptions per exposure",
        text: format!("Rate and exact 95 % interval on a logarithmic axis: {}.", told.join("; ")),
        legend: Vec::new(),
        svg: drawn,
        width: WIDTH,
        height,
    })
}

/// Share of rounds that had seen a corruption by then (one minus Kaplan–Meier), on a logarithmic time axis.
fn first(results: &Results, cells: &[&CellResult]) -> Result<Plot, String> {
    let series: Vec<(usize, String, Vec<Time>)> = cells
        .iter()
        .enumerate()
        .map(|(index, cell)| (index, name(results, cell), times(cell)))
        .filter(|(_, _, times)| !times.is_empty())
        .collect();
    let all =
        || series.iter().flat_map(|(_, _, times)| times).map(|time| time.seconds).filter(|&seconds| seconds > 0.0);
    let low = 10f64.powf(all().fold(f64::INFINITY, f64::min).log10().floor());
    let high = (all().fold(0.0, f64::max) * 1.1).max(low * 10.0);
    let height = 280;
    let drawn = draw(height, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .margin_right(20)
            .x_label_area_size(54)
            .y_label_area_size(64)
            .build_cartesian_2d((low..high).log_scale(), -0.02f64..1.02)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|value| duration(*value))
            .y_label_formatter(&|value| format!("{:.0} %", value * 100.0))
            .x_desc("racing time")
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(FONT.into_font().color(&INK))
            .axis_desc_style(FONT.into_font().color(&INK))
            .draw()?;
        for (index, _, times) in &series {
            let colour = series_colour(*index);
            let end = times.iter().map(|time| time.seconds).fold(low, f64::max);
            chart.draw_series([PathElement::new(steps(times, low, end), colour.stroke_width(3))])?;
            let events = times.iter().filter(|time| time.event);
            let share =
                |seconds: f64| 1.0 - curve(times).iter().rev().find(|step| step.0 <= seconds).map_or(1.0, |it| it.1);
            chart
                .draw_series(events.map(|time| Circle::new((time.seconds, share(time.seconds)), 4, colour.filled())))?;
        }
        Ok(())
    })?;
    let told: Vec<String> = cells
        .iter()
        .map(|cell| match (cell.first_corruption_s, cell.median_first_corruption_s) {
            (Some(first), Some(median)) => {
                format!("{}: earliest {}, median {}", name(results, cell), duration(first), duration(median))
            }
            (Some(first), None) => {
                format!("{}: earliest {}, in fewer than half of the rounds", name(results, cell), duration(first))
            }
            (None, _) => format!("{}: none in {}", name(results, cell), duration(cell.seconds)),
        })
        .collect();
    Ok(Plot {
        title: "Time to the first corruption",
        text: format!("Share of rounds that had seen one, over the racing time of a round. {}.", told.join("; ")),
        legend: series.into_iter().map(|(index, name, _)| (index % COLOURS, name)).collect(),
        svg: drawn,
        width: WIDTH,
        height,
    })
}

fn times(cell: &CellResult) -> Vec<Time> {
    let rounds = cell.rounds.iter().filter_map(|round| round.seconds().map(|end| (end, round.first_corruption_s())));
    rounds.map(|(end, first)| Time { seconds: first.unwrap_or(end), event: first.is_some() }).collect()
}

/// The step line of one minus the Kaplan–Meier curve.
fn steps(times: &[Time], low: f64, end: f64) -> Vec<(f64, f64)> {
    let mut points = vec![(low, 0.0)];
    let mut level = 0.0;
    for (seconds, surviving) in curve(times) {
        points.push((seconds, level));
        level = 1.0 - surviving;
        points.push((seconds, level));
    }
    points.push((end, level));
    points
}

/// Corruptions so far over the time of each round, a line a round.
fn timeline(results: &Results, cells: &[&CellResult]) -> Result<Plot, String> {
    let lines: Vec<(usize, Vec<(f64, f64)>)> = cells
        .iter()
        .enumerate()
        .flat_map(|(index, cell)| {
            let ends = cell.rounds.iter().filter_map(|round| round.end());
            ends.map(move |end| {
                let points = end.progress.iter().map(|it| (it.elapsed_ns as f64 / 1e9, it.counts.corruptions as f64));
                (index, std::iter::once((0.0, 0.0)).chain(points).collect())
            })
        })
        .collect();
    let top = |part: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|(_, line)| line).map(part).fold(1.0, f64::max);
    let (longest, most) = (top(|point| point.0), top(|point| point.1));
    let height = 280;
    let drawn = draw(height, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .margin_right(20)
            .x_label_area_size(54)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..longest * 1.02, -most * 0.02..most * 1.05)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|value| format!("{} s", number(*value)))
            .y_label_formatter(&|value| number(*value))
            .x_desc("racing time")
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(FONT.into_font().color(&INK))
            .axis_desc_style(FONT.into_font().color(&INK))
            .draw()?;
        for (index, points) in &lines {
            chart.draw_series([PathElement::new(points.clone(), series_colour(*index).stroke_width(2))])?;
        }
        Ok(())
    })?;
    let told: Vec<String> = cells
        .iter()
        .map(|cell| {
            let most = cell.rounds.iter().filter_map(Round::counts).map(|it| it.corruptions);
            match (most.clone().min().unwrap_or(0), most.max().unwrap_or(0)) {
                (_, 0) => format!("{}: none in any round", name(results, cell)),
                (least, most) => format!("{}: {} to {} in a round", name(results, cell), count(least), count(most)),
            }
        })
        .collect();
    let rounds = counted(lines.len() as u64, "round", "rounds");
    Ok(Plot {
        title: "Corruptions over time, a line for each round",
        text: format!("Corruptions so far in each of {rounds}. {}.", told.join("; ")),
        legend: cells.iter().enumerate().map(|(index, cell)| (index % COLOURS, name(results, cell))).collect(),
        svg: drawn,
        width: WIDTH,
        height,
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawing = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws into a string, takes the outer tag off and puts the page's colours in.
fn draw(height: u32, paint: impl FnOnce(&Area<'_>) -> Drawing) -> Result<String, String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        paint(&root).and_then(|()| root.present()).map_err(|error| error.to_string())?;
    }
    let inner = text.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>")).map_or("", |(inner, _)| inner);
    let mut inner = inner.replace("#010101", "var(--ink)").replace("#010102", "var(--faint)");
    for index in 0..COLOURS {
        inner = inner.replace(&format!("#01020{index}"), &format!("var(--c{index})"));
    }
    Ok(inner.trim().to_owned())
}
