//! Step lists, and how they are drawn.

use super::{Action, Diagram, DiagramError, Placed, Wrong, grid, order, point, words};

/// A column is at least so wide: short names would stand too close to each other to be read as columns.
const COLUMN_MIN: usize = 12;
/// Blanks between columns, and before a point.
const GAP: usize = 2;

/// One step of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    /// Thread.
    pub thread: String,
    /// The words of the cell.
    pub text: String,
    /// It is a point of the kernel, whatever it looks like.
    pub point: bool,
}

/// Reads a list of steps. Threads get their columns in the order in which they appear.
///
/// # Errors
///
/// Everything that is wrong with it, by step and character of its text.
pub fn parse_steps(list: &[StepLine]) -> Result<Diagram, Vec<DiagramError>> {
    let mut errors = Vec::new();
    let mut threads: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for (row, line) in list.iter().enumerate() {
        let thread = threads.iter().position(|thread| *thread == line.thread).unwrap_or_else(|| {
            threads.push(line.thread.clone());
            threads.len() - 1
        });
        let text = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut read = if line.point { point::point(&text).map(Action::Reach) } else { words::read(&text, false) };
        if let Err(c) = grid::thread_name(&line.thread) {
            let message = format!("the thread's name '{}' has {c:?} in it", line.thread);
            read = Err(Wrong::new(0, 1, message, "letters, digits, `_`, `-` and `.` are allowed"));
        }
        if line.thread.is_empty() {
            read = Err(Wrong::new(0, 1, "the thread's name is empty", ""));
        }
        let action = read.map_err(|wrong| errors.push(wrong.of(&text, row, 0)));
        steps.push(Placed { thread, action: action.ok(), text, row, column: 0 });
    }
    if steps.is_empty() {
        let hint = Some("such as `- victim: read page`".to_owned());
        let message = "the diagram has no step".to_owned();
        return Err(vec![DiagramError { row: 0, column: 0, length: 1, message, hint }]);
    }
    order::check(&threads, &steps, &mut errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(errors);
    }
    let drawing = draw(&threads, &steps);
    Ok(order::diagram(threads, steps, drawing, |row| row + 2))
}

/// The steps in columns, under names and a ruler.
fn draw(threads: &[String], steps: &[Placed]) -> Vec<String> {
    let cell = |step: &Placed| match step.action {
        Some(Action::Reach(_)) => format!("{:GAP$}{}", "", step.text),
        _ => step.text.clone(),
    };
    let width = |index: usize| {
        let cells = steps.iter().filter(|step| step.thread == index).map(|step| cell(step).chars().count());
        let name = threads[index].chars().count();
        cells.chain([name]).max().unwrap_or_default().max(COLUMN_MIN - GAP) + GAP
    };
    let widths: Vec<usize> = (0..threads.len()).map(width).collect();
    let row = |texts: Vec<String>| {
        let padded = texts.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        padded.collect::<String>().trim_end().to_owned()
    };
    let rulers = threads.iter().map(|name| "-".repeat(name.chars().count())).collect();
    let mut drawing = vec![row(threads.to_vec()), row(rulers)];
    for step in steps {
        let texts = (0..threads.len()).map(|index| if index == step.thread { cell(step) } else { ".".to_owned() });
        drawing.push(row(texts.collect()));
    }
    drawing
}
