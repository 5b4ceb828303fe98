//! The figures as bars: one group for each row, the median as a bar and the rounds as a whisker, in SVG.
//!
//! Invariant: a bar's length is its share of the largest figure of its group; figures stand beside the bars, so that
//! groups need no axes.

use std::fmt::{self, Write};

use crate::report::{Range, Report};

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 110.0;
const LONGEST: f64 = 520.0;
const BAR: f64 = 16.0;
const TITLE: f64 = 34.0;

/// The report's rows as an SVG image.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut groups = Vec::new();
    for row in &report.rows {
        let bars = row
            .figures
            .iter()
            .filter_map(|(server, runs)| Some((*server, Range::of(runs.iter().map(|run| run.cpu_us).collect())?)));
        groups.push((format!("{}: CPU us/request", row.name), bars.collect::<Vec<_>>()));
    }
    for row in &report.idle {
        let bars = row
            .figures
            .iter()
            .filter_map(|(server, figures)| Some((*server, Range::of(figures.clone())?)));
        groups.push((format!("idle, {}: bytes of RSS", row.name), bars.collect()));
    }
    groups.retain(|(_, bars)| !bars.is_empty());
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write(&mut text, &groups);
    text
}

type Group = (String, Vec<(&'static str, Range)>);

fn write(out: &mut String, groups: &[Group]) -> fmt::Result {
    let height: f64 = groups.iter().map(|(_, bars)| TITLE + BAR * bars.len() as f64).sum();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        height + BAR
    )?;
    let mut y = 0.0;
    for (title, bars) in groups {
        writeln!(
            out,
            "<text x=\"8\" y=\"{:.0}\" font-weight=\"bold\">{title}</text>",
            y + TITLE - 10.0
        )?;
        y += TITLE;
        // A figure at or under zero (RSS that shrank) gets no bar.
        let largest = bars
            .iter()
            .map(|(_, range)| range.high)
            .fold(f64::MIN_POSITIVE, f64::max);
        let length = |figure: f64| (figure / largest).clamp(0.0, 1.0) * LONGEST;
        for (server, Range { low, median, high }) in bars {
            let color = match *server {
                "breakwater" => "#1f6fb2",
                "floor" => "#bbbbbb",
                _ => "#888888",
            };
            let middle = y + BAR / 2.0;
            writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{server}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{color}\"/>\n\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"black\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.0}\">{median:.*}</text>",
                LEFT - 6.0,
                y + BAR - 4.0,
                y + 2.0,
                length(*median),
                BAR - 4.0,
                LEFT + length(*low),
                LEFT + length(*high),
                LEFT + length(*high) + 6.0,
                y + BAR - 4.0,
                if *median < 100.0 { 2 } else { 0 },
            )?;
            y += BAR;
        }
    }
    writeln!(out, "</svg>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_bar_is_the_longest_and_figures_are_written_beside() {
        let range = |median| Range {
            low: median,
            median,
            high: median,
        };
        let group = (
            "hit".to_owned(),
            vec![("breakwater", range(4.0)), ("nginx", range(8.0))],
        );
        let mut text = String::new();
        write(&mut text, &[group]).expect("a String");
        assert!(
            text.contains("width=\"520.0\"") && text.contains("width=\"260.0\""),
            "{text}"
        );
        assert!(text.contains(">4.00</text>") && text.ends_with("</svg>\n"), "{text}");
    }
}
